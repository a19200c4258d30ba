"""What is seen of a model while it trains: after each epoch, on the same validation rows, into a file."""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from math import isfinite
from pathlib import Path

import torch
from torch import nn

from fuseloom.comparison.measure import median_ms, training_memory_mb
from fuseloom.diagnose.loss_gradients import loss_gradients
from fuseloom.diagnose.model_layers import model_layers
from fuseloom.diagnose.shared_space import LEAST_ROWS, SharedSpace, shared_space
from fuseloom.errors import DataError, OptionError, did_you_mean
from fuseloom.models import FusionModel
from fuseloom.nn.class_token import ClassToken
from fuseloom.tasks import Task
from fuseloom.train.files import write_whole
from fuseloom.train.step import apply_model, training_loss
from fuseloom.types import Batch, Selection

__all__ = ["Seen", "Watch", "list_watchers"]

Seen = Mapping[str, float | None]
"""``epoch``, and quantity -> value: None where it is no number; there is none where nothing could be seen."""

Look = Callable[[nn.Module], dict[str, float]]

_ROWS = 512
_STEP_ROWS = 64
_PERMUTATIONS = 20
_RECALL_DEPTH = 10
_REPEATS = 10
_SEED = 0


class Watch:
    """Looks at a model between epochs, which leaves the run as it is, and keeps what it sees.

    Args:
        names: Of those that look, see `list_watchers`.
        valid: All validation rows, of which some are looked at, the same each time.
        task: That of the run.
        file: JSON lines, one for each watcher and epoch. What it holds already is of the same run, before it
            was stopped.
        say: Told why there was nothing to be seen.

    Raises:
        DataError: too few rows, or fewer than two modalities.
        OptionError: an unknown watcher.
    """

    def __init__(
        self,
        names: Sequence[str],
        valid: Batch | Selection,
        task: Task,
        *,
        file: Path,
        say: Callable[[str], None],
    ) -> None:
        if unknown := [name for name in names if name not in _WATCHERS]:
            hint = did_you_mean(unknown[0], _WATCHERS)
            raise OptionError(f"watch must be of {', '.join(list_watchers())}, got {unknown[0]!r}.{hint}")
        self.epoch = 0
        """The last that was finished; whoever trains says so before each look."""
        self._looks = {name: _WATCHERS[name](valid, task) for name in names}
        self._file, self._say = file, say
        self._seen = _read(file)

    @property
    def seen(self) -> dict[str, list[Seen]]:
        """Watcher -> what it saw after each epoch."""
        return {
            name: [one for (who, _), one in sorted(self._seen.items()) if who == name] for name in self._looks
        }

    def __call__(self, model: nn.Module) -> None:
        """Look at the model as it stands."""
        for name, look in self._looks.items():
            try:
                found = look(model)
            except DataError as error:  # such as of a stream that has become the same in all rows
                self._say(f"{name} after epoch {self.epoch}: {error}")
                found = {}
            kept = {what: value if isfinite(value) else None for what, value in found.items()}
            self._seen[name, self.epoch] = {"epoch": self.epoch, **kept}
        lines = [{"watcher": name, **one} for (name, _), one in sorted(self._seen.items())]
        write_whole(self._file, "".join(json.dumps(line) + "\n" for line in lines))


def list_watchers() -> list[str]:
    """Names of all that can look at a run, sorted.

    Example:
        >>> list_watchers()
        ['costs', 'gradient-norms', 'shared-space']
    """
    return sorted(_WATCHERS)


def _read(file: Path) -> dict[tuple[str, int], Seen]:
    if not file.is_file():
        return {}
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {(line.pop("watcher"), line["epoch"]): line for line in lines}


def _some(rows: Batch | Selection, count: int) -> Batch:
    """So many of the rows, drawn, or all."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(_SEED))
    return rows.take(order[:count].sort().values.to(rows.device))


def _watch_space(valid: Batch | Selection, task: Task) -> Look:
    """How near the modalities lie, as they first meet and before they become one; class tokens apart."""
    rows = _some(valid, _ROWS)
    if len(rows.inputs) < 2:
        raise DataError(f"shared-space must have two modalities or more, got {sorted(rows.inputs)}.")
    if len(rows) < LEAST_ROWS:
        raise DataError(
            f"shared-space must have at least {LEAST_ROWS} validation rows, got {len(rows)}. Leave it out of "
            "watch."
        )
    return partial(_look_at_space, rows)


def _look_at_space(rows: Batch, model: nn.Module) -> dict[str, float]:
    assert isinstance(model, FusionModel)
    prefix = int(any(isinstance(part, ClassToken) for part in model.encoders.modules()))
    layers = model_layers(model, rows, prefix=prefix)
    first, last = next(iter(layers)), "before merge"
    shown = {last: layers[last]} if first == last else {"before exchange": layers[first], last: layers[last]}
    found = shared_space(shown, permutations=_PERMUTATIONS, seed=_SEED)
    return {
        f"{' / '.join(one.modalities)} {one.layer}: {what}": value
        for one in found
        for what, value in _measures(one).items()
    }


def _measures(one: SharedSpace) -> dict[str, float]:
    found = {"CKA": one.cka, "CCA": one.cca, "neighbours": one.neighbours}
    if one.gap is not None and one.matched is not None:
        found |= {"gap": one.gap, "cosine, matched": one.matched}
    values = {what: measure.estimate.mean for what, measure in found.items()}
    hits = [recall.found.estimate.mean for recall in one.recall if recall.depth == _RECALL_DEPTH]
    return values | ({f"recall@{_RECALL_DEPTH}": sum(hits) / len(hits)} if hits else {})


def _watch_gradients(valid: Batch | Selection, task: Task) -> Look:
    """Norm of the gradient that each loss sends into each encoder, on the rows of one step."""
    return partial(_look_at_gradients, _some(valid, _STEP_ROWS), task)


def _look_at_gradients(rows: Batch, task: Task, model: nn.Module) -> dict[str, float]:
    norms = loss_gradients(model, rows.to(_device(model)), task).norms
    ends = [loss.rpartition(".")[2] for loss in norms]
    names = [end if ends.count(end) == 1 else loss for loss, end in zip(norms, ends, strict=True)]
    return {
        f"{modality}: {name}": norm
        for name, own in zip(names, norms.values(), strict=True)
        for modality, norm in own.items()
    }


def _watch_costs(valid: Batch | Selection, task: Task) -> Look:
    """Time and memory of a training step, and time of a prediction."""
    return partial(_look_at_costs, _some(valid, _STEP_ROWS), task)


def _look_at_costs(rows: Batch, task: Task, model: nn.Module) -> dict[str, float]:
    copied, rows = deepcopy(model), rows.to(_device(model))

    optimizer = torch.optim.AdamW(copied.parameters())

    def learn() -> None:
        optimizer.zero_grad()
        training_loss(copied, rows, task).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        _wait()

    @torch.inference_mode()
    def predict() -> None:
        apply_model(copied, rows)
        _wait()

    copied.train()
    step_ms = median_ms(learn, repeats=_REPEATS)
    copied.zero_grad(set_to_none=True)
    step_mb = training_memory_mb(copied, rows, task)
    copied.eval()
    row_ms = median_ms(predict, repeats=_REPEATS) / len(rows)
    return {
        f"step of {len(rows)}, ms": step_ms,
        "peak MB": step_mb,
        "row, ms": row_ms,
    }


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


_WATCHERS: dict[str, Callable[[Batch | Selection, Task], Look]] = {
    "costs": _watch_costs,
    "gradient-norms": _watch_gradients,
    "shared-space": _watch_space,
}
