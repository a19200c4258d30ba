"""PMR: prototypical modal rebalance."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.registry import register
from fuseloom.tasks import Task
from fuseloom.train.generators import undisturbed
from fuseloom.train.remedies._base import Course, Remedy, RemedyCard
from fuseloom.train.remedies._modes import modes_kept
from fuseloom.train.remedies._passage import Passage
from fuseloom.train.remedies._rows import loss_over
from fuseloom.train.remedies._scores import score_ratios
from fuseloom.train.remedies._view import Encoded, ModalityView

__all__ = ["PMR", "Prototypes", "class_sums", "true_class_sum"]


class Prototypes(nn.Module):
    """The mean feature of each class.

    Args:
        num_classes: ``K``.
        dim: Width ``D`` of a feature.

    Example:
        >>> prototypes = Prototypes(2, 1)
        >>> prototypes.refresh(torch.tensor([[6.0, 2.0], [0.0, 0.0]]), momentum=0.2)
        >>> prototypes.known.tolist(), prototypes.similarities(torch.tensor([[1.0]]))[0, 0].item()
        ([True, False], -2.0)
    """

    mean: Tensor
    known: Tensor
    """Which classes have one."""

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_classes, dim))
        self.register_buffer("known", torch.zeros(num_classes, dtype=torch.bool))

    def refresh(self, sums: Tensor, *, momentum: float) -> None:
        """Move to new means, from those that are known; a class without rows stays as it is.

        Args:
            sums: ``[K, D + 1]`` from `class_sums`.
            momentum: Weight of the old mean.
        """
        means, counts = sums[:, :-1] / sums[:, -1:].clamp(min=1), sums[:, -1]
        mixed = torch.where(self.known[:, None], means.lerp(self.mean.to(means), momentum), means)
        self.mean.copy_(torch.where(counts[:, None] > 0, mixed, self.mean.to(mixed)))
        self.known.logical_or_(counts > 0)

    def similarities(self, features: Tensor) -> Tensor:
        """Negative distances ``[B, K]``; those to unknown classes are as far as can be."""
        wide = features.to(torch.promote_types(features.dtype, torch.float32))
        # Not by a matrix product: where a feature is its prototype, the distance is 0 and has no slope.
        exact = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(wide, self.mean.to(wide), compute_mode=exact)
        return (-distances).masked_fill(~self.known, torch.finfo(distances.dtype).min)


def class_sums(features: Tensor, target: Tensor, rows: Tensor, num_classes: int) -> Tensor:
    """Sums of features ``[B, D]`` over the rows of each class and, last, their number: ``[K, D + 1]``.

    Args:
        features: Zero where absent.
        target: Classes ``[B]``.
        rows: Which count, ``[B]``.
        num_classes: ``K``.
    """
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    member = F.one_hot(target, num_classes).to(wide.dtype) * rows[:, None]
    return torch.cat([member.T @ wide, member.sum(0)[:, None]], 1)


def true_class_sum(similarities: Tensor, target: Tensor, rows: Tensor) -> Tensor:
    """The sum over rows of the probability that similarities give the true class, and how many there are.

    Args:
        similarities: ``[B, K]``.
        target: Classes ``[B]``.
        rows: Which count, ``[B]``.
    """
    right = similarities.detach().softmax(-1).gather(1, target[:, None])[:, 0]
    return torch.stack([(right * rows).sum(), rows.sum().to(right.dtype)])


@register("pmr")
class PMR(Remedy):
    r"""Pulls the features of the modality that lags behind towards the prototypes of their classes.

    .. math:: L = \ell(z, y) + \alpha \sum_{m:\, \rho_m < 1} \ell(-\lVert f_m - c_{m,k} \rVert_k, y)

    ``c_{m,k}`` is the mean feature of class ``k``, renewed before each epoch on a part of the training rows;
    ``rho_m`` compares how sure modalities are of the true class by these distances.
    Paper: PMR: Prototypical Modal Rebalance for Multimodal Learning, CVPR 2023.

    Args:
        alpha: Weight of the prototypes' loss.
        momentum: Weight of the old prototypes when new ones are taken.
        share: Of the training rows, for the prototypes; at least as many as a batch has.

    Raises:
        OptionError: alpha is negative, momentum is not in [0, 1) or share not in (0, 1]; or, when an epoch
            begins, there are no training rows to look at.

    Example:
        >>> PMR(alpha=0.5).card.needs
        ('classes', 'encoders', 'training rows')
    """

    card = RemedyCard(
        summary="Pulls the lagging modality's features towards prototypes of their classes.",
        touches=("loss",),
        cost="Distances to K prototypes per modality, and a tenth of an epoch's encoding per epoch",
        needs=("classes", "encoders", "training rows"),
        paper="PMR, CVPR 2023",
        code="https://github.com/fanyunfeng-bit/Modal-Imbalance-PMR",
        differs="Prototypes are means over every tenth training row (of few batches, over more), not over "
        "the first tenth of the batches, as rows may be sorted. A class that has none keeps its old "
        "prototype, or teaches nothing. With more than two modalities all that are behind the mean of their "
        "ratios to the others are pulled.",
    )

    def __init__(self, *, alpha: float = 1.0, momentum: float = 0.2, share: float = 0.1) -> None:
        super().__init__()
        if not alpha >= 0:
            raise OptionError(f"alpha must not be negative, got {alpha}.")
        if not 0 <= momentum < 1:
            raise OptionError(f"momentum must be in [0, 1), got {momentum}.")
        if not 0 < share <= 1:
            raise OptionError(f"share must be in (0, 1], got {share}.")
        self.alpha, self.momentum, self.share = alpha, momentum, share
        self.prototypes = nn.ModuleDict()

    def prepare(self, view: ModalityView, task: Task) -> None:
        """Make room for the prototypes."""
        self.prototypes.update({name: Prototypes(task.num_outputs, dim) for name, dim in view.dims.items()})

    def start_epoch(self, view: ModalityView, course: Course) -> None:
        """Renew the prototypes."""
        if course.train is None:
            raise OptionError(
                "train of the Course must be given for PMR, got None. It is called for the training rows, in "
                "batches, to take prototypes of."
            )
        stride = max(1, min(int(1 / self.share), course.num_steps))
        encoders = [view.encoder(name) for name in view.modalities]
        with torch.no_grad(), undisturbed(), modes_kept(*encoders):
            for encoder in encoders:
                encoder.eval()
            device = next(self.buffers()).device
            parts = (batch.take(slice(None, None, stride)).to(device) for batch in course.train())
            self._refresh([self._class_sums(view.encode(part)) for part in parts])

    def _class_sums(self, encoded: Encoded) -> dict[str, Tensor]:
        target = encoded.batch.target
        assert target is not None
        found = {}
        for name in self.prototypes:
            num_classes = len(self.of(name).known)
            features, rows = encoded.features(name), encoded.present(name)
            found[name] = class_sums(features, target, rows, num_classes)
        return found

    def _refresh(self, parts: list[dict[str, Tensor]]) -> None:
        for name in self.prototypes:
            sums = self.summed(torch.stack([part[name] for part in parts]).sum(0))
            self.of(name).refresh(sums, momentum=self.momentum)

    def of(self, name: str) -> Prototypes:
        """Those of a modality."""
        prototypes = self.prototypes[name]
        assert isinstance(prototypes, Prototypes)
        return prototypes

    def loss(self, seen: Passage) -> Tensor:
        """The model's own and that of the prototypes of modalities that are behind."""
        near = {name: self.of(name).similarities(seen.features(name)) for name in seen.modalities}
        rows = {name: seen.present(name) & self.of(name).known[seen.target] for name in near}
        sums = torch.stack([true_class_sum(near[name], seen.target, rows[name]) for name in near])
        sums = self.summed(sums)
        scores = dict(zip(near, sums[:, 0] / sums[:, 1].clamp(min=1), strict=True))
        loss = seen.loss
        for name, ratio in score_ratios(scores).items():
            loss = loss + self.alpha * (ratio < 1) * loss_over(seen, near[name], rows[name])
        return loss
