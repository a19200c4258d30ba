"""Which models take part: those of the fusions that can take the data at all, each once."""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from fuseloom.comparison.config import ALL_FUSIONS, Candidate, CompareConfig, candidates
from fuseloom.comparison.prepare import Prepared
from fuseloom.errors import ModalityError, OptionError
from fuseloom.models import FusionModel, FusionSpec, build_model
from fuseloom.models.building import encoder_options
from fuseloom.tasks import Task
from fuseloom.train.fit import seeded
from fuseloom.train.remedies import Remedied, named_remedy, needs_teachers, teachers_of
from fuseloom.train.step import apply_model

__all__ = ["taking_part"]


def taking_part(folds: Sequence[Prepared], config: CompareConfig) -> tuple[list[list[Candidate]], list[str]]:
    """The candidates of each fold, and notes on the fusions that were left out.

    Each is built and run on one row: too many modalities for its mathematics, positions that differ, or a
    product that would exhaust the memory are what a part itself finds out. Of ``all`` fusions, and of the
    depths of an exchange, such ones are left out, and so is one that is the same model as another.

    Raises:
        OptionError: one that was named cannot take the data, or an exchange that was named at no depth.
    """
    everyone = [candidates(fold.encoders, config) for fold in folds]
    door = _Door(folds[0], {name for names in config.placed_exchanges.values() for name in names})
    reasons = {one.name: door.refusal(one) for one in everyone[0]}
    refused = {name: reason for name, reason in reasons.items() if reason is not None}
    _refuse_named(refused, config)
    out = refused | door.doubles
    kept = [[one for one in fold if one.name not in out] for fold in everyone]
    return kept, [*_tokens_note(kept[0]), *_notes_on(out)]


def _notes_on(out: Mapping[str, str]) -> list[str]:
    """A note for each reason, with all fusions that were left out for it."""
    names: dict[str, list[str]] = {}
    for name, reason in out.items():
        names.setdefault(reason, []).append(name)
    verbs = {reason: "does" if len(some) == 1 else "do" for reason, some in names.items()}
    return [f"{', '.join(some)} {verbs[reason]} not take part: {reason}" for reason, some in names.items()]


def _refuse_named(refused: Mapping[str, str], config: CompareConfig) -> None:
    added = {name for names in config.placed_exchanges.values() for name in names} | {"concat", "concat@late"}
    added |= set(config.remedied)
    named = [name for name in refused if name not in added or name in config.fusions]
    if named and ALL_FUSIONS not in config.fusions:
        raise OptionError(f"{named[0]} cannot take these data. {refused[named[0]]}")
    placed = {name: names for name, names in config.placed_exchanges.items() if name in config.exchanges}
    for remedy in config.remedies:
        placed[remedy] = [name for name, (_, used) in config.remedied.items() if used == remedy]
    for part, names in placed.items():
        if names and all(name in refused for name in names):
            raise OptionError(f"{part} cannot take these data. {refused[names[0]]}")


def _tokens_note(kept: Sequence[Candidate]) -> list[str]:
    """Which modalities fusions with a part ``@late`` get otherwise than the others."""
    changed = [
        name for one in kept for name in _changed_encoders(one) if FusionSpec.parse(one.name).wants_tokens
    ]
    if not changed:
        return []
    names = " and ".join(dict.fromkeys(changed))
    note = (
        f"tokens: fusions with a part @late get tokens of {names}, the others one vector; what an exchange "
    )
    return [note + "adds there is its difference from concat@late"]


def _changed_encoders(candidate: Candidate) -> list[str]:
    had = encoder_options(candidate.model)
    return [name for name, options in candidate.model.encoders.items() if had[name] != dict(options)]


class _Door:
    """Lets a candidate in that can take the rows, and is no model that is in already."""

    def __init__(self, ready: Prepared, placed: set[str]) -> None:
        self.ready, self.placed = ready, placed
        self.doubles: dict[str, str] = {}
        """Name of a candidate -> which other one it is."""
        self._known: dict[str, str] = {}
        self._alone: dict[str, dict[str, torch.Size]] = {}

    def refusal(self, candidate: Candidate) -> str | None:
        """Why it cannot take the rows."""
        row = self.ready.rows.take("train", candidate.modalities).take(slice(0, 1))
        try:
            with seeded(0), torch.inference_mode():
                model = build_model(candidate.model, self.ready.task).eval()
                seen = _watch_exchanges(model)
                apply_model(model, row)
                _try_remedy(candidate, model, self.ready.task)
        except (ModalityError, OptionError) as error:
            return str(error)
        if candidate.name in self.placed and not all(seen):
            return "No stream there has tokens or a map. Between vectors name it whole: --fusion NAME+concat."
        shapes = {name: _shapes(model, name) for name in candidate.modalities}
        if candidate.role == "unimodal":
            self._alone |= shapes
        elif (candidate.encoders != "joint" or needs_teachers(candidate.model)) and shapes != self._alone:
            return "It cannot take over the encoders of each modality alone, as its own end in another way."
        self._meet(candidate, model)
        return None

    def _meet(self, candidate: Candidate, model: FusionModel) -> None:
        exchanges = [(key, type(part).__name__) for key, part in model.exchanges.items()]
        merge = (type(model.merge).__name__, model.trunk, model.depth)
        parts = [encoder_options(candidate.model), exchanges, merge, candidate.model.remedy]
        identity = json.dumps(parts, sort_keys=True)
        first = self._known.setdefault(identity, candidate.name)
        if first != candidate.name:
            self.doubles[candidate.name] = f"On these data it is the same model as {first}."


def _try_remedy(candidate: Candidate, model: FusionModel, task: Task) -> None:
    """Put a copy of the model into the care of its remedy, which says what it lacks."""
    remedy = named_remedy(candidate.model, teachers_of(model))
    if remedy is not None:
        Remedied(copy.deepcopy(model), remedy, task)


def _watch_exchanges(model: FusionModel) -> list[bool]:
    """Filled in as it runs: whether some stream that an exchange meets has positions."""
    seen: list[bool] = []

    def look(_: nn.Module, given: tuple[Any, ...]) -> None:
        seen.append(any(value.dim() > 2 for value in given[0].values()))

    for exchange in model.exchanges.values():
        exchange.register_forward_pre_hook(look)
    return seen


def _shapes(model: FusionModel, modality: str) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in model.encoders[modality].state_dict().items()}
