"""MLA: multimodal learning with alternating unimodal adaptation."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.nn import masked_softmax
from fuseloom.registry import register
from fuseloom.tasks import Task
from fuseloom.train.remedies._base import Remedy, RemedyCard
from fuseloom.train.remedies._passage import Passage
from fuseloom.train.remedies._rows import loss_over
from fuseloom.train.remedies._shared_head import shared_head
from fuseloom.train.remedies._view import ModalityView

__all__ = ["MLA", "gating_weights", "next_projection", "projected"]


def next_projection(projection: Tensor, mean: Tensor, *, decay: float, by_entry: bool = False) -> Tensor:
    r"""The projection ``[D, D]`` away from what was learnt, after features with a mean ``[D]`` too.

    .. math:: k = P \bar f, \quad P' = P - \frac{k k^\top}{\lambda + k^\top \bar f}, \quad
        P \leftarrow P' / \lVert P' \rVert_F

    Args:
        projection: ``P``.
        mean: ``f``.
        decay: ``lambda``.
        by_entry: Divide entry by entry by ``lambda`` plus the outer product of ``k`` and ``f``, as the
            official code does, which is no recursive least squares.
    """
    gain = projection @ mean
    known = torch.outer(gain, mean) if by_entry else gain @ mean
    left = projection - torch.outer(gain, gain) / (decay + known)
    size: Tensor = left.norm()
    return left / size.clamp(min=torch.finfo(left.dtype).tiny)


def projected(gradient: Tensor, projection: Tensor, *, add: bool = False) -> Tensor:
    """A gradient ``[K, D]`` of the head without what the projection takes away.

    Args:
        gradient: As it is.
        projection: From `next_projection`.
        add: Add what is left to the gradient instead, as a popular toolkit does.
    """
    left = gradient @ projection.T
    return gradient + left if add else left


def gating_weights(outputs: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Modality -> weight ``[B]`` of its outputs: the softmax, over those present, of negative entropies.

    Example:
        >>> outputs = {"a": torch.tensor([[9.0, -9.0]]), "v": torch.tensor([[0.0, 0.0]])}
        >>> weights = gating_weights(outputs, {name: torch.tensor([True]) for name in outputs})
        >>> {name: round(weight.item(), 3) for name, weight in weights.items()}
        {'a': 0.667, 'v': 0.333}
    """
    certain = []
    for value in outputs.values():
        logs = value.to(torch.promote_types(value.dtype, torch.float32)).log_softmax(-1)
        certain.append((logs.exp() * logs).sum(-1))
    there = torch.stack([present[name] for name in outputs], -1)
    weights = masked_softmax(torch.stack(certain, -1), there)  # [B, M]
    return dict(zip(outputs, weights.unbind(-1), strict=True))


@register("mla")
class MLA(Remedy):
    r"""Trains modalities in turn through one head, whose steps spare what the modality before has learnt.

    .. math:: L_m = \ell(h(f_m), y), \quad \nabla_W \leftarrow \nabla_W P^\top

    ``P`` is that of `next_projection`. What joins the modalities in the model has no part: predictions are
    the head's outputs of each modality, weighted by `gating_weights`.
    Paper: Multimodal Representation Learning by Alternating Unimodal Adaptation, CVPR 2024.

    Args:
        decay: ``lambda`` at the first batch of an epoch; its square at the last.

    Raises:
        OptionError: decay is not in (0, 1).
        ModalityError: features of several widths, when it meets the model.

    Example:
        >>> MLA().card.touches
        ('gradients', 'order', 'outputs')
    """

    projection: Tensor
    steps: Tensor

    card = RemedyCard(
        summary="Trains modalities in turn through one head, with projected gradients.",
        touches=("gradients", "order", "outputs"),
        cost="A step per modality; a head and a D by D matrix",
        needs=("classes", "encoders", "equal widths"),
        paper="MLA, CVPR 2024",
        code="https://github.com/Cecile-hi/Multimodal-Learning-with-Alternating-Unimodal-Adaptation",
        differs="The projection divides by the number k f of recursive least squares, the official code by "
        "the entries of an outer product (by_entry of next_projection). Each row has gating weights of its "
        "own; officially those of a row depend on the batch that it is predicted with.",
    )

    def __init__(self, *, decay: float = 0.1) -> None:
        super().__init__()
        if not 0 < decay < 1:
            raise OptionError(f"decay must be in (0, 1), got {decay}.")
        self.decay = decay
        self._decay_now = decay
        self._seen: Tensor | None = None

    def prepare(self, view: ModalityView, task: Task) -> None:
        """Build the head and its projection; a batch is stepped on once per modality."""
        self.head = shared_head(view, task, who="MLA")
        self.phases = view.modalities
        self.register_buffer("projection", torch.eye(self.head.in_features))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def loss(self, seen: Passage) -> Tensor:
        """That of one modality alone."""
        features, rows = seen.features(seen.moment.phase), seen.present(seen.moment.phase)
        self._note(features.detach(), rows)
        self._decay_now = self.decay ** (1 + seen.moment.step / seen.moment.num_steps)
        return loss_over(seen, self.head(features), rows)

    def _note(self, features: Tensor, rows: Tensor) -> None:
        """Add to the sum of features, and to the number of rows behind it."""
        total = (features * rows[:, None]).sum(0, dtype=self.projection.dtype)
        total = torch.cat([total, rows.sum(dtype=total.dtype)[None]])
        self._seen = total if self._seen is None else self._seen + total

    @torch.no_grad()
    def before_step(self, view: ModalityView) -> None:
        """Project the gradient of the head's weight, from the second step on."""
        gradient = self.head.weight.grad
        assert self._seen is not None
        assert gradient is not None
        total, self._seen = self.summed(self._seen), None
        mean = total[:-1] / total[-1].clamp(min=1)
        # Chosen on the device, so that no step waits for it.
        begun = self.steps > 0
        new = next_projection(self.projection, mean, decay=self._decay_now)
        self.projection.copy_(torch.where(begun, new, self.projection))
        left = projected(gradient.to(new.dtype), self.projection)
        gradient.copy_(torch.where(begun, left.to(gradient.dtype), gradient))
        self.steps += 1

    def predict(self, seen: Passage) -> Tensor:
        """Each modality's outputs, weighted by how certain they are."""
        outputs = {name: self.head(seen.features(name)) for name in seen.modalities}
        weights = gating_weights(outputs, {name: seen.present(name) for name in outputs})
        return torch.stack([weights[name][:, None] * value for name, value in outputs.items()]).sum(0)
