"""G-Blend: gradient blending, by how well each branch generalises when it is trained alone."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.registry import register
from fuseloom.tasks import Task
from fuseloom.train.generators import undisturbed
from fuseloom.train.remedies._base import Course, Remedy, RemedyCard
from fuseloom.train.remedies._modes import modes_kept
from fuseloom.train.remedies._passage import Moment, Passage
from fuseloom.train.remedies._processes import average_gradients
from fuseloom.train.remedies._rows import loss_over
from fuseloom.train.remedies._view import ModalityView
from fuseloom.types import Batch

__all__ = ["GBlend", "Trial", "blend_weights", "blended_loss", "run_trial"]

_ALL = "all modalities"
_NONE = 1e-8
"""Squared overfitting below which a branch counts as having none."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Losses of a branch that was trained alone, behind the first epoch and behind the last."""

    train: tuple[float, float]
    """While the epoch's batches were learnt from."""
    valid: tuple[float, float]

    @property
    def growth(self) -> float:
        """Of the validation loss; of a branch that generalises it is negative."""
        return self.valid[1] - self.valid[0]

    @property
    def overfitting(self) -> float:
        """Growth of the gap between the losses."""
        return (self.valid[1] - self.train[1]) - (self.valid[0] - self.train[0])


def blend_weights(
    trials: Mapping[str, Trial], *, even: float = 0.0, absolute: bool = False
) -> dict[str, float]:
    r"""Branch -> its weight in the loss; they add up to 1.

    .. math:: w_b \propto \max(-\Delta V_b, 0) / O_b^2

    ``Delta V`` is the growth of the validation loss, ``O`` the overfitting. Where no branch generalises, all
    weigh the same.

    Args:
        trials: Branch -> its trial.
        even: Share of the weight that is spread evenly over the branches.
        absolute: Reward growth of the validation loss as much as its decline, as a popular toolkit does.

    Example:
        >>> good, bad = Trial(train=(2, 1), valid=(2.0, 1.5)), Trial(train=(2, 0), valid=(2.0, 2.5))
        >>> blend_weights({"audio": good, "text": bad})
        {'audio': 1.0, 'text': 0.0}
    """
    ratios = {}
    for name, trial in trials.items():
        gain = abs(trial.growth) if absolute else -trial.growth
        # A trial whose losses are no numbers has no part: comparisons with NaN are false.
        ratios[name] = max(0.0, gain) / max(_NONE, trial.overfitting**2)
    total = sum(ratios.values())
    same = 1 / len(ratios)
    if total == 0 or not math.isfinite(total):
        return dict.fromkeys(ratios, same)
    return {name: (1 - even) * ratio / total + even * same for name, ratio in ratios.items()}


def blended_loss(losses: Mapping[str, Tensor], weights: Iterable[Tensor]) -> Tensor:
    """The sum of the branches' losses, each times its weight."""
    return torch.stack([w * loss for w, loss in zip(weights, losses.values(), strict=True)]).sum()


def run_trial(
    loss_of: Callable[[Batch], Tensor],
    parameters: list[nn.Parameter],
    module: nn.Module,
    course: Course,
    *,
    epochs: int,
    share_gradients: Callable[[], None] = lambda: None,
    sums: bool = False,
) -> Trial:
    """Train a branch for some epochs; nothing is put back.

    Args:
        loss_of: The branch's loss of a batch.
        parameters: What it learns.
        module: Put into training and evaluation mode.
        course: Gives rows and the optimiser.
        epochs: How many.
        share_gradients: Called before each step.
        sums: Add losses up over batches instead of taking their mean over rows, as a popular toolkit does;
            then overfitting depends on how many batches of either kind there are.
    """
    assert course.train is not None
    assert course.valid is not None
    assert course.optimizer is not None
    optimizer = course.optimizer(parameters)

    def learn(batch: Batch) -> Tensor:
        optimizer.zero_grad(set_to_none=False)  # in place: gradients may be views
        loss = loss_of(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        share_gradients()
        optimizer.step()
        return loss

    found = []
    for _ in range(epochs):
        module.train()
        learnt = [(learn(batch).detach(), len(batch)) for batch in course.train()]
        module.eval()
        with torch.no_grad():
            held = [(loss_of(batch), len(batch)) for batch in course.valid()]
        found.append((_total(learnt, sums=sums), _total(held, sums=sums)))
    return Trial(train=(found[0][0], found[-1][0]), valid=(found[0][1], found[-1][1]))


def _total(losses: list[tuple[Tensor, int]], *, sums: bool) -> float:
    """Mean over rows, or the sum over batches."""
    values = torch.stack([loss for loss, _ in losses]).cpu().double()
    counts = torch.tensor([count for _, count in losses], dtype=values.dtype)
    return float(values.sum() if sums else (values * counts).sum() / counts.sum())


@contextmanager
def _put_back(module: nn.Module) -> Iterator[None]:
    """Whatever is learnt inside, behind it the module is as it was, its gradients are zero or none."""
    values = [*module.parameters(), *module.buffers()]
    kept = [value.detach().clone() for value in values]
    bare = [parameter for parameter in module.parameters() if parameter.grad is None]
    with undisturbed(), modes_kept(module):
        try:
            yield
        finally:
            with torch.no_grad():
                for value, old in zip(values, kept, strict=True):
                    value.copy_(old)
                for parameter in module.parameters():
                    if parameter.grad is not None:
                        parameter.grad.zero_()
            for parameter in bare:
                parameter.grad = None


@register("gblend")
class GBlend(Remedy):
    r"""Weighs the losses of all branches by how well each generalises when it is trained alone.

    .. math:: L = w \, \ell(z, y) + \sum_m w_m \ell(h_m(f_m), y)

    The branches are each modality with a linear head of its own, and the whole model. The weights are those
    of `blend_weights`, from trials before every few epochs, whose weights are put back afterwards.
    Paper: What Makes Training Multi-Modal Classification Networks Hard?, CVPR 2020, arXiv:1905.12681.

    Args:
        super_epoch: Epochs of a trial, and between trials.
        even: Share of the weight that all branches get alike, so that the model's own outputs are learnt
            even where they do not generalise at first.

    Raises:
        OptionError: super_epoch is below 2 or even not in [0, 1]; or, when a trial is to begin, there are no
            training or validation rows or no optimiser.

    Example:
        >>> GBlend().card.needs
        ('encoders', 'training rows', 'validation rows')
    """

    weights: Tensor
    """Of the modalities in order, and of all together."""

    card = RemedyCard(
        summary="Weighs the losses of modalities and model by how well each generalises alone.",
        touches=("loss",),
        cost="M linear heads, and M + 1 trainings besides the run's own",
        needs=("encoders", "training rows", "validation rows"),
        paper="What Makes Training Multi-Modal Classification Networks Hard?, CVPR 2020",
        code="https://github.com/GeWu-Lab/BalanceBenchmark",
        differs="Losses before a trial are those behind its first epoch, as in BalanceBenchmark, but means "
        "over rows, where that toolkit compares sums over unequal numbers of batches. A branch whose "
        "validation loss rises gets no weight but its even share (even=0 for none).",
    )

    def __init__(self, *, super_epoch: int = 10, even: float = 0.1) -> None:
        super().__init__()
        if not 0 <= even <= 1:
            raise OptionError(f"even must be in [0, 1], got {even}.")
        if not super_epoch >= 2:
            raise OptionError(f"super_epoch must be 2 or more, to see losses change, got {super_epoch}.")
        self.super_epoch, self.even = super_epoch, even
        self.heads = nn.ModuleDict()

    def prepare(self, view: ModalityView, task: Task) -> None:
        """Build a head per modality; all branches weigh the same until a trial."""
        self.task = task
        self.heads.update({name: nn.Linear(dim, task.num_outputs) for name, dim in view.dims.items()})
        branches = len(self.heads) + 1
        self.register_buffer("weights", torch.full((branches,), 1 / branches))

    def start_epoch(self, view: ModalityView, course: Course) -> None:
        """Try the branches out, before every few epochs."""
        if course.epoch % self.super_epoch:
            return
        for name in ("train", "valid", "optimizer"):
            if getattr(course, name) is None:
                raise OptionError(
                    f"{name} of the Course must be given for GBlend, got None. Branches are trained on "
                    "training rows and rated on validation rows."
                )
        trials = {name: self._trial(view, course, name) for name in (*view.modalities, _ALL)}
        found = blend_weights(trials, even=self.even)
        self.weights.copy_(torch.tensor([found[name] for name in trials]))

    def _trial(self, view: ModalityView, course: Course, branch: str) -> Trial:
        whole = nn.ModuleList([view.model, self.heads])
        learner = view.model if branch == _ALL else nn.ModuleList([view.encoder(branch), self.heads[branch]])
        parameters = [value for value in learner.parameters() if value.requires_grad]
        group = self.group

        def share() -> None:
            if group is not None:
                average_gradients(parameters, group)

        def loss_of(batch: Batch) -> Tensor:
            moment = Moment(epoch=course.epoch, num_steps=course.num_steps)
            return self._loss_of(Passage(view, batch, self.task, moment), branch)

        with _put_back(whole):
            trial = run_trial(
                loss_of, parameters, whole, course, epochs=self.super_epoch, share_gradients=share
            )
        return self._of_all(trial)

    def _of_all(self, trial: Trial) -> Trial:
        """Losses summed over processes, so that all of them find the same weights."""
        losses = self.summed(self.weights.new_tensor([*trial.train, *trial.valid])).tolist()
        return Trial(train=(losses[0], losses[1]), valid=(losses[2], losses[3]))

    def _loss_of(self, seen: Passage, branch: str) -> Tensor:
        if branch == _ALL:
            return seen.loss
        return loss_over(seen, self.heads[branch](seen.features(branch)), seen.present(branch))

    def loss(self, seen: Passage) -> Tensor:
        """The blend."""
        losses = {branch: self._loss_of(seen, branch) for branch in (*seen.modalities, _ALL)}
        return blended_loss(losses, self.weights)
