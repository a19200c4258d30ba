"""Which modality a training step serves: shares of the gradient, and where modalities conflict."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import torch
from torch import Tensor, nn

from fuseloom.diagnose.observing import observed
from fuseloom.diagnose.reliance import hide
from fuseloom.diagnose.resampling import known_target
from fuseloom.errors import DataError, OptionError
from fuseloom.metrics.gradients import Gradient, gradient_cosine, gradient_norm, gradient_shares
from fuseloom.metrics.interval import Interval
from fuseloom.tasks import Task
from fuseloom.train.step import training_loss
from fuseloom.types import Batch

__all__ = [
    "Conflict",
    "GradientCourse",
    "GradientRecorder",
    "Gradients",
    "encoder_parameters",
    "gradients",
]

Groups = Mapping[str, Sequence[nn.Parameter]]

_BOUNDS = {"norm": (0.0, np.inf), "share": (0.0, 1.0), "fused": (-1.0, 1.0), "conflict": (-1.0, 1.0)}


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """How the gradients that two modalities ask for stand to each other."""

    first: str
    second: str
    cosine: Interval | None
    """1 where both ask for the same step, below 0 where a step for one undoes the other; None where one asks
    for none in any part of the rows."""


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """Gradients of the training loss on some rows, without dropout.

    Numbers are means over parts of the rows; intervals are over parts, after Student, and there are none
    where all rows are one part.
    """

    model: str
    rows: int
    parts: int
    """Into how many parts the rows are divided; the smaller a part, the more of its gradient is noise."""
    norms: dict[str, Interval]
    """Modality -> norm of the gradient of the loss of all modalities, by the parameters of its encoder that
    are trained and that no other has."""
    shares: dict[str, Interval]
    """Modality -> its share of the sum of these norms; empty where none is above zero."""
    untrained: tuple[str, ...]
    """Modalities whose encoder has no such parameter: they have no norm and no share."""
    with_fused: dict[str, Interval]
    """Modality -> cosine, on the parameters of its encoder, between the gradient of the loss with this
    modality alone and that of the loss of all. Missing where one of the two is zero."""
    conflicts: tuple[Conflict, ...]
    """Of each pair of modalities, on the parameters that are no encoder's own: between the gradients of the
    loss with the one alone and with the other alone. Empty where there is no such parameter."""


@dataclass(frozen=True, kw_only=True)
class GradientCourse:
    """How gradients went over the epochs of a training; or one look at a model as it stands."""

    model: str
    learnt_from: bool
    """Whether gradients were taken on rows of the training; otherwise on some it should not have seen."""
    epochs: tuple[int, ...]
    """After which epochs, from 1; empty for one look at a model as it stands."""
    kept: int | None
    """The epoch whose weights were kept; None where it is not among them."""
    gradients: tuple[Gradients, ...]
    """For each of these epochs, or of the one look."""
    note: str = ""
    """What a reader should know of how it was made; empty where there is nothing."""


def encoder_parameters(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Modality -> parameters that are its encoder's own, of a model with ``encoders`` by modality.

    Args:
        model: Such as a `FusionModel`.

    Raises:
        OptionError: the model has no ``encoders``.

    Example:
        >>> from fuseloom import create
        >>> from fuseloom.encoders.embedding import EmbeddingEncoder
        >>> from fuseloom.heads import LinearHead
        >>> from fuseloom.models.fusion import FusionModel
        >>> encoders = {name: EmbeddingEncoder(3, dim=4) for name in ("text", "image")}
        >>> model = FusionModel(encoders, create("sum", dict.fromkeys(encoders, 4)), LinearHead(4, 2))
        >>> {name: len(own) > 0 for name, own in encoder_parameters(model).items()}
        {'text': True, 'image': True}
    """
    encoders = getattr(model, "encoders", None)
    if not isinstance(encoders, nn.ModuleDict):
        raise OptionError(
            f"model must have encoders by modality, got {type(model).__name__}. Pass groups, modality -> "
            "parameters."
        )
    return {name: list(encoder.parameters()) for name, encoder in encoders.items()}


def gradients(
    module: nn.Module,
    rows: Batch,
    task: Task,
    *,
    model: str,
    groups: Groups | None = None,
    part_size: int = 64,
) -> Gradients:
    """Gradients on parts of some rows, in evaluation mode; ``.grad`` and all else stays as it was.

    The loss of a modality alone is the model's own, with all others masked.

    Args:
        module: Called with inputs, masks and a trace.
        rows: Rows with their target, in an order that does not matter.
        task: Gives the loss.
        model: Name for the result.
        groups: Modality -> parameters of its own; by default those of its encoder. All others are shared, and
            so is what stands in several groups.
        part_size: Rows of a part, such as those of a training step.

    Raises:
        DataError: the rows have no target, or there are none.
        OptionError: the model has no encoders by modality and no groups are given, or they name others than
            the modalities of the rows.
    """
    known_target(rows)
    if not len(rows):
        raise DataError("rows must be at least one, got none. Give some training rows.")
    own = encoder_parameters(module) if groups is None else groups
    if own.keys() != rows.inputs.keys():
        raise OptionError(f"groups must name the modalities {sorted(rows.inputs)}, got {sorted(own)}.")
    pieces = list(_parts(rows, part_size))
    trained, places, shared = _places(module, own)
    with observed(module), torch.enable_grad():
        seen = [_part(module, one, task, trained=trained, places=places, shared=shared) for one in pieces]
    found = {key: _mean([one[key] for one in seen], *_BOUNDS[key[0]]) for key in seen[0]}
    pairs = [key for key in found if key[0] == "conflict"]
    return Gradients(
        model=model,
        rows=len(rows),
        parts=len(pieces),
        norms=_of("norm", found),
        shares=_of("share", found),
        untrained=tuple(name for name, group in places.items() if not group),
        with_fused=_of("fused", found),
        conflicts=tuple(Conflict(first=key[1], second=key[2], cosine=found[key]) for key in pairs),
    )


class GradientRecorder:
    """Keeps what `gradients` says after each epoch: ``fit(..., after_epoch=GradientRecorder(...))``.

    It holds rows and a task, no model, and leaves no hook. In a loop of one's own it is called with the
    model where an epoch ends.

    Args:
        rows: The same training rows each time, so that epochs can be compared.
        task: Gives the loss; with balanced classes what `fuseloom.train.fit.weighted_task` gives.
        model: Name for the results.
        groups: Modality -> name of a part, or of a parameter, that is its own; by default its encoder.
        part_size: Rows of a part.

    Example:
        >>> from fuseloom.tasks.classification import Classification
        >>> rows = Batch(inputs={"text": torch.zeros(4, 3)}, target=torch.tensor([0, 1, 1, 0]))
        >>> recorder = GradientRecorder(rows, Classification(["no", "yes"]), model="mine")
        >>> recorder.history
        []
    """

    def __init__(
        self,
        rows: Batch,
        task: Task,
        *,
        model: str,
        groups: Mapping[str, str] | None = None,
        part_size: int = 64,
    ) -> None:
        self.rows, self.task, self.model = rows, task, model
        self.groups, self.part_size = groups, part_size
        self.history: list[Gradients] = []
        """One entry per call; of a run that goes on from a file, those since then."""

    def __call__(self, module: nn.Module) -> Gradients:
        """Look at a model now, on its own device, and keep what is seen."""
        device = next((parameter.device for parameter in module.parameters()), self.rows.device)
        found = gradients(
            module,
            self.rows.to(device),
            self.task,
            model=self.model,
            groups=None if self.groups is None else _by_name(module, self.groups),
            part_size=self.part_size,
        )
        self.history.append(found)
        return found


def _by_name(module: nn.Module, starts: Mapping[str, str]) -> dict[str, list[nn.Parameter]]:
    return {
        modality: [value for name, value in module.named_parameters() if f"{name}.".startswith(f"{start}.")]
        for modality, start in starts.items()
    }


def _parts(rows: Batch, size: int) -> Iterator[Batch]:
    """Parts of about one size, none much smaller than it."""
    count = max(1, len(rows) // size)
    edges = np.linspace(0, len(rows), count + 1).astype(int).tolist()
    return (rows.take(slice(start, end)) for start, end in pairwise(edges))


def _places(module: nn.Module, own: Groups) -> tuple[list[nn.Parameter], dict[str, list[int]], Sequence[int]]:
    """What is trained, the places among it of each modality's own, and those of all others."""
    trained = [value for value in module.parameters() if value.requires_grad]
    members = {name: {id(value) for value in values} for name, values in own.items()}
    owners = [[name for name, ids in members.items() if id(value) in ids] for value in trained]
    groups = {name: [place for place, names in enumerate(owners) if names == [name]] for name in own}
    return trained, groups, [place for place, names in enumerate(owners) if len(names) != 1]


def _part(
    module: nn.Module,
    rows: Batch,
    task: Task,
    *,
    trained: Sequence[nn.Parameter],
    places: Mapping[str, Sequence[int]],
    shared: Sequence[int],
) -> dict[tuple[str, ...], float]:
    """All numbers of one part: (what, modality...) -> value, NaN where it is not defined."""
    fused = _gradient(module, rows, task, trained)
    inside = {name: _joined(fused, group) for name, group in places.items() if group}
    found: dict[tuple[str, ...], float] = {}
    found |= {("norm", name): gradient_norm(gradient) for name, gradient in inside.items()}
    found |= {("share", name): share for name, share in gradient_shares(inside).items()}
    on_shared: dict[str, Gradient] = {}
    for name, group in places.items():
        alone = _gradient(module, _alone(rows, name), task, trained)
        found["fused", name] = gradient_cosine(_joined(alone, group), inside.get(name, []))
        on_shared[name] = _joined(alone, shared)
    if shared:
        for first, second in combinations(on_shared, 2):
            found["conflict", first, second] = gradient_cosine(on_shared[first], on_shared[second])
    return found


def _joined(gradient: Sequence[Tensor], places: Sequence[int]) -> Gradient:
    """A part of a gradient as one vector, as many small tensors take long to go through."""
    return [torch.cat([gradient[place].flatten().double() for place in places])] if places else []


def _alone(rows: Batch, modality: str) -> Batch:
    for name in rows.inputs:
        rows = rows if name == modality else hide(rows, name)
    return rows


def _gradient(
    module: nn.Module, rows: Batch, task: Task, parameters: Sequence[nn.Parameter]
) -> Sequence[Tensor]:
    loss = training_loss(module, rows, task)
    if not parameters or not loss.requires_grad:
        return [torch.zeros_like(value) for value in parameters]
    return torch.autograd.grad(loss, list(parameters), materialize_grads=True)


def _mean(values: Sequence[float], least: float, most: float) -> Interval | None:
    """Mean over the parts in which it is defined, with an interval where there are several."""
    from scipy.special import stdtrit

    known = np.array([value for value in values if np.isfinite(value)])
    if len(known) == 0:
        return None
    mean = float(known.mean())
    if len(known) == 1:
        return Interval(mean=mean)
    # Parts are few: quantiles of resamples would be too narrow.
    reach = float(stdtrit(len(known) - 1, 0.975) * known.std(ddof=1) / np.sqrt(len(known)))
    return Interval(mean=mean, low=max(mean - reach, least), high=min(mean + reach, most))


def _of(what: str, found: Mapping[tuple[str, ...], Interval | None]) -> dict[str, Interval]:
    return {key[1]: one for key, one in found.items() if key[0] == what and one is not None}
