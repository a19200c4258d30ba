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

__all__ = ["Conflict", "GradientRecorder", "Gradients", "encoder_parameters", "gradients"]

Groups = Mapping[str, Sequence[nn.Parameter]]

_RESAMPLES = 2000


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

    Numbers are means over parts of the rows, each as large as a training step's; intervals are over parts,
    and there are none where all rows are one part.
    """

    model: str
    norms: dict[str, Interval]
    """Modality -> norm of the gradient of the loss of all modalities, by the parameters of its encoder."""
    shares: dict[str, Interval]
    """Modality -> its share of the sum of these norms; empty where none is above zero."""
    with_fused: dict[str, Interval]
    """Modality -> cosine, on the parameters of its encoder, between the gradient of the loss with this
    modality alone and that of the loss of all. Missing where one of the two is zero."""
    conflicts: tuple[Conflict, ...]
    """Of each pair of modalities, on the parameters that all modalities share: between the gradients of the
    loss with the one alone and with the other alone. Empty where no parameter is shared."""


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
    seed: int = 0,
) -> Gradients:
    """Gradients on parts of some rows, in evaluation mode; ``.grad`` and all else stays as it was.

    The loss of a modality alone is the model's own, with all others masked.

    Args:
        module: Called with inputs, masks and a trace.
        rows: Rows with their target, in an order that does not matter.
        task: Gives the loss.
        model: Name for the result.
        groups: Modality -> parameters of its own; by default those of its encoder. All others are shared.
        part_size: Rows of a part, such as those of a training step.
        seed: Of the bootstrap over parts.

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
    with observed(module), torch.enable_grad():
        parts = [_part(module, part, task, own) for part in _parts(rows, part_size)]
    found = {key: _mean([one[key] for one in parts], seed) for key in parts[0]}
    pairs = [key for key in found if key[0] == "conflict"]
    return Gradients(
        model=model,
        norms=_of("norm", found),
        shares=_of("share", found),
        with_fused=_of("fused", found),
        conflicts=tuple(Conflict(first=key[1], second=key[2], cosine=found[key]) for key in pairs),
    )


class GradientRecorder:
    """Keeps what `gradients` says after each epoch: call it where an epoch ends.

    It holds rows and a task, no model, and leaves no hook. In a loop of one's own it is called with the
    model; in Lightning from ``on_train_epoch_end`` of a callback, with the model that is trained.

    Args:
        rows: The same training rows each time, so that epochs can be compared.
        task: Gives the loss.
        model: Name for the results.
        groups: Modality -> name of a part, or of a parameter, that is its own; by default its encoder.
        part_size: Rows of a part.
        seed: Of the bootstrap over parts.

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
        seed: int = 0,
    ) -> None:
        self.rows, self.task, self.model = rows, task, model
        self.groups, self.part_size, self.seed = groups, part_size, seed
        self.history: list[Gradients] = []
        """One entry per call."""

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
            seed=self.seed,
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


def _part(module: nn.Module, rows: Batch, task: Task, own: Groups) -> dict[tuple[str, ...], float]:
    """All numbers of one part: (what, modality...) -> value, NaN where it is not defined."""
    trained = [value for value in module.parameters() if value.requires_grad]
    places = {id(value): place for place, value in enumerate(trained)}
    groups = {name: [places[id(v)] for v in values if id(v) in places] for name, values in own.items()}
    taken = set().union(*groups.values())
    shared = [place for place in range(len(trained)) if place not in taken]
    fused = _gradient(module, rows, task, trained)
    inside = {name: [fused[place] for place in group] for name, group in groups.items()}
    shares = gradient_shares(inside)
    found: dict[tuple[str, ...], float] = {}
    on_shared: dict[str, Gradient] = {}
    for name, group in groups.items():
        alone = _gradient(module, _alone(rows, name), task, trained)
        found["norm", name] = gradient_norm(inside[name])
        found["share", name] = shares[name]
        found["fused", name] = gradient_cosine([alone[place] for place in group], inside[name])
        on_shared[name] = [alone[place] for place in shared]
    if shared:
        for first, second in combinations(on_shared, 2):
            found["conflict", first, second] = gradient_cosine(on_shared[first], on_shared[second])
    return found


def _alone(rows: Batch, modality: str) -> Batch:
    for name in rows.inputs:
        rows = rows if name == modality else hide(rows, name)
    return rows


def _gradient(
    module: nn.Module, rows: Batch, task: Task, parameters: Sequence[nn.Parameter]
) -> list[Tensor | None]:
    loss = training_loss(module, rows, task)
    if not parameters or not loss.requires_grad:
        return [None] * len(parameters)
    return list(torch.autograd.grad(loss, list(parameters), allow_unused=True))


def _mean(values: Sequence[float], seed: int) -> Interval | None:
    """Mean over the parts in which it is defined, with an interval where there are several."""
    known = np.array([value for value in values if np.isfinite(value)])
    if len(known) == 0:
        return None
    if len(known) == 1:
        return Interval(mean=float(known[0]))
    drawn = np.random.default_rng(seed).integers(len(known), size=(_RESAMPLES, len(known)))
    return Interval.from_resamples(float(known.mean()), known[drawn].mean(1))


def _of(what: str, found: Mapping[tuple[str, ...], Interval | None]) -> dict[str, Interval]:
    return {key[1]: one for key, one in found.items() if key[0] == what and one is not None}
