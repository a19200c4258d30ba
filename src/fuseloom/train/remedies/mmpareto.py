"""MMPareto: gradients of all modalities together and of each alone, combined so that both losses fall."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.registry import register
from fuseloom.tasks import Task
from fuseloom.train.remedies._base import Remedy, RemedyCard
from fuseloom.train.remedies._min_norm import min_norm_weights
from fuseloom.train.remedies._passage import Passage
from fuseloom.train.remedies._view import ModalityView

__all__ = ["MMPareto", "integrated", "pareto_shares"]


def pareto_shares(joint: Tensor, own: Tensor) -> Tensor:
    """Shares ``[2]`` of two gradients of an encoder, each as one vector.

    Halves where their angle is acute; else those of their shortest mixture, which descends on both losses.

    Example:
        >>> pareto_shares(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0]))
        tensor([0.5000, 0.5000])
        >>> pareto_shares(torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 0.0]))
        tensor([0.3333, 0.6667])
    """
    both = joint @ own
    gram = torch.stack([torch.stack([joint @ joint, both]), torch.stack([both, own @ own])])
    return torch.where(both > 0, 0.5, min_norm_weights(gram))


def integrated(joint: Sequence[Tensor], own: Sequence[Tensor], *, gamma: float) -> list[Tensor]:
    r"""The gradient of each of an encoder's parameters from that of the joint loss and of its own.

    .. math:: g = \gamma \max\Big(1, \frac{\|g^j + g^o\|}{\|h\|}\Big) h, \quad h = 2 k_j g^j + 2 k_o g^o

    The shares ``k`` are of the whole encoder, see `pareto_shares`, the norms of each parameter.

    Args:
        joint: ``g^j``.
        own: ``g^o``.
        gamma: As in `MMPareto`.
    """
    shares = pareto_shares(_flat(joint), _flat(own))
    found = []
    for one, other in zip(joint, own, strict=True):
        mixed = 2 * (shares[0] * one + shares[1] * other)
        norm, whole = mixed.norm(), (one + other).norm()
        longer = whole / norm.clamp(min=torch.finfo(norm.dtype).tiny)
        found.append(gamma * torch.where(norm > 0, longer.clamp(min=1), 1.0) * mixed)
    return found


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


@register("mmpareto")
class MMPareto(Remedy):
    r"""Adds a loss for every modality alone, and keeps it from working against the joint one.

    .. math:: L = \ell(z, y) + \sum_m \ell(h_m(f_m), y)

    The heads ``h_m`` are linear. Each encoder's gradients of the joint loss and of its own are combined by
    `integrated`. The own one is taken by itself, which costs a backward pass through the encoders; the joint
    one is the rest of the gradient, so that it holds all that the model's parts add to the loss.

    Paper: MMPareto: Boosting Multimodal Learning with Innocent Unimodal Assistance, ICML 2024.

    Args:
        gamma: What the combined gradients are multiplied by.

    Raises:
        OptionError: gamma is not positive.

    Example:
        >>> MMPareto().card.touches
        ('gradients', 'loss')
    """

    card = RemedyCard(
        summary="Adds a loss for every modality alone, and combines gradients without conflict.",
        touches=("gradients", "loss"),
        cost="M linear heads; another backward pass through the encoders",
        needs=("encoders",),
        paper="MMPareto, ICML 2024",
        code="https://github.com/GeWu-Lab/MMPareto_ICML2024",
        differs="What no modality's own loss reaches, as the stages behind an exchange, keeps its gradient.",
    )

    def __init__(self, *, gamma: float = 1.5) -> None:
        super().__init__()
        if not gamma > 0:
            raise OptionError(f"gamma must be positive, got {gamma}.")
        self.gamma = gamma
        self.heads = nn.ModuleDict()
        self._own: dict[nn.Parameter, Tensor] = {}

    def prepare(self, view: ModalityView, task: Task) -> None:
        """Build a head per modality."""
        self.heads.update({name: nn.Linear(dim, task.num_outputs) for name, dim in view.dims.items()})

    def loss(self, seen: Passage) -> Tensor:
        """The sum of the losses; the encoders' gradients of the own ones are noted."""
        joint, own = seen.loss, self.own_loss(seen)
        if own.requires_grad:
            self._note(own, seen)
        return joint + own

    def own_loss(self, seen: Passage) -> Tensor:
        """The sum of the modalities' own."""
        alone = [seen.loss_of(self.heads[name](seen.features(name))) for name in seen.modalities]
        return torch.stack(alone).sum()

    def _note(self, own: Tensor, seen: Passage) -> None:
        scale = seen.moment.scale
        parameters = [value for name in seen.modalities for value in seen.view.parameters(name)]
        gradients: Sequence[Tensor | None] = torch.autograd.grad(
            own * scale, parameters, retain_graph=True, allow_unused=True
        )
        reached = {
            parameter: gradient.to(torch.promote_types(gradient.dtype, torch.float32)) / scale
            for parameter, gradient in zip(parameters, gradients, strict=True)
            if gradient is not None
        }
        # A loop that accumulates batches may divide their losses: what arrives here says by how much.
        own.register_hook(partial(self._add, reached, scale))  # type: ignore[no-untyped-call]

    def _add(self, gradients: dict[nn.Parameter, Tensor], scale: float, arrived: Tensor) -> None:
        for parameter, gradient in gradients.items():
            part = gradient * (arrived / scale)
            self._own[parameter] = self._own[parameter] + part if parameter in self._own else part

    @torch.no_grad()
    def before_step(self, view: ModalityView) -> None:
        """Combine the encoders' gradients."""
        own = self._take()
        for name in view.modalities:
            reached = {
                value: value.grad
                for value in view.parameters(name)
                if value in own and value.grad is not None
            }
            if reached:
                alone = [own[parameter] for parameter in reached]
                rest = [gradient - mine for gradient, mine in zip(reached.values(), alone, strict=True)]
                combined = integrated(rest, alone, gamma=self.gamma)
                for gradient, new in zip(reached.values(), combined, strict=True):
                    gradient.copy_(new)

    def _take(self) -> dict[nn.Parameter, Tensor]:
        """Gradients of the own losses since the last step, as means over the processes."""
        found, self._own = self._own, {}
        if not found:
            return {}
        gradients = list(found.values())
        total = self.summed(_flat([*gradients, gradients[0].new_ones(1)]))
        means = torch.split(total[:-1] / total[-1], [gradient.numel() for gradient in gradients])
        return {parameter: mean.view_as(parameter) for parameter, mean in zip(found, means, strict=True)}
