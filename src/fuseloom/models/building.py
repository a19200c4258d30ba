"""A model from names and numbers."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from fuseloom.encoders import Encoder
from fuseloom.errors import OptionError, did_you_mean
from fuseloom.exchange import Exchange
from fuseloom.merge import Merge
from fuseloom.models.anchor import Anchor
from fuseloom.models.config import ModelConfig
from fuseloom.models.fusion import FusionModel
from fuseloom.models.spec import FusionSpec, stages_run
from fuseloom.models.systems import named_system
from fuseloom.registry import card, create, list_fusions, list_names, lookup
from fuseloom.tasks import Task

__all__ = ["build_model", "encoder_options"]

_PLACES = ("tokens", "map")
"""Outputs of an encoder that have positions."""


def build_model(config: ModelConfig, task: Task) -> FusionModel:
    """Assemble encoders, exchanges, merge and the task's head; weights come from torch's global generator.

    Raises:
        ModalityError: a part cannot take the modalities.
        OptionError: an unknown part or option, a merge inside the encoders or behind an anchor that keeps no
            positions, or a system of dense prediction.
    """
    if config.fusion in (*list_names(kind="dense"), *list_names(kind="picture")):
        raise OptionError(
            f"fusion must be one that answers once for each row, for {task.name}, got {config.fusion!r}, "
            "which predicts at each pixel. Name a target of label maps, or of pictures."
        )
    encoders = {name: _build_encoder(options, config) for name, options in encoder_options(config).items()}
    for name in config.frozen:
        encoders[name].freeze()
    if (system := named_system(config)) is not None:
        return system.build(encoders, config, task)
    spec = FusionSpec.parse(config.fusion)
    trunk, num_stages = _trunk(spec, encoders, config.trunk)
    depth = num_stages if trunk is None else spec.merge.stage(num_stages) + 1
    for name, encoder in encoders.items():
        if trunk is not None and name != trunk:
            encoder.shorten(stages_run(len(encoder.stages), behind=depth - 1, depth=num_stages))
    exchanges = _exchanges(spec, config, num_stages, lambda stage: _dims(encoders, stage, depth, trunk))
    dims = _dims(encoders, depth - 1, depth, trunk)
    anchor = Anchor(dims, config.anchor, **config.options.get("anchor", {})) if config.anchor else None
    if trunk is None:
        merge, head = _end(spec.merge.name, dims, config, task)
        return FusionModel(encoders, merge, head, exchanges=exchanges, anchor=anchor)
    options = {"dim": dims[trunk], "pool": None, **config.options.get(spec.merge.name, {})}
    return FusionModel(
        encoders,
        create(spec.merge.name, dims, **options),
        task.head(encoders[trunk].dims[-1], dropout=config.dropout),
        exchanges=exchanges,
        trunk=trunk,
        merge_after=depth - 1,
        anchor=anchor,
    )


def encoder_options(config: ModelConfig) -> dict[str, dict[str, Any]]:
    """Options of each encoder as the fusion has it.

    Where a part stands ``@late``, or positions are predicted, or a system needs them, encoders that can give
    tokens do; before a merge inside the encoders they are as they end alone, in one vector.
    """
    system = named_system(config)
    spec = FusionSpec.parse(config.fusion) if system is None else FusionSpec()
    wants_tokens = spec.wants_tokens or bool(config.anchor) or system is not None
    found = {}
    for name, options in config.encoders.items():
        cls = lookup(options["kind"], kind="encoder")
        has_choice = "output" in inspect.signature(cls).parameters
        given = options.get("output") in _PLACES
        found[name] = dict(options)
        if has_choice and wants_tokens and not given:
            found[name]["output"] = "tokens"
        if has_choice and spec.merge.is_inside and given:
            del found[name]["output"]
    return found


def _trunk(spec: FusionSpec, encoders: Mapping[str, Encoder], named: str | None) -> tuple[str | None, int]:
    """The encoder that goes on behind the merge, if any, and the number of stages that depths are of."""
    if named is not None and (not spec.merge.is_inside or named not in encoders):
        raise OptionError(
            f"trunk must be one of {sorted(encoders)}, for a merge @early or @middle, got {named!r} for "
            f"{str(spec)!r}.{did_you_mean(named, encoders)}"
        )
    trunk = named if named is not None else max(encoders, key=lambda name: len(encoders[name].stages))
    num_stages = len(encoders[trunk].stages)
    if not spec.merge.is_inside or spec.merge.stage(num_stages) == num_stages - 1:
        return None, num_stages
    _check_positions(spec.merge.name, where="inside the encoders")
    return trunk, num_stages


def _exchanges(
    spec: FusionSpec, config: ModelConfig, num_stages: int, dims_behind: Callable[[int], dict[str, int]]
) -> dict[int, list[Exchange]]:
    """Stage -> the exchanges behind it."""
    found: dict[int, list[Exchange]] = {}
    for part in spec.exchanges:
        stage = part.stage(num_stages)
        built = create(part.name, dims_behind(stage), **config.options.get(part.name, {}))
        found.setdefault(stage, []).append(built)
    return found


def _check_positions(merge: str, *, where: str) -> None:
    """Refuse a merge that makes one vector of each sample."""
    if not _keeps_positions(merge):
        known = [name for name in list_fusions(kind="merge") if _keeps_positions(name)]
        raise OptionError(
            f"A merge {where} must keep positions, got {merge!r}. Those that can: {', '.join(known)}."
        )


def _keeps_positions(merge: str) -> bool:
    cls = lookup(merge, kind="merge")
    return "pool" in inspect.signature(cls).parameters and cls.card.level == "stream"


def _dims(encoders: Mapping[str, Encoder], stage: int, depth: int, trunk: str | None) -> dict[str, int]:
    """Widths of the streams behind a stage."""
    return {
        name: encoder.dims[
            stages_run(depth if name == trunk else len(encoder.stages), behind=stage, depth=depth) - 1
        ]
        for name, encoder in encoders.items()
    }


def _end(
    name: str, dims: Mapping[str, int], config: ModelConfig, task: Task
) -> tuple[Merge, nn.Module | dict[str, nn.Module] | None]:
    """The merge behind the last stages, and the heads around it."""
    level, options = card(name).level, dict(config.options.get(name, {}))
    if config.anchor:
        _check_positions(name, where="behind an anchor")
        options["pool"] = None
    if level == "stream":
        merge = create(name, dims, dim=config.dim, **options)
        return merge, task.head(config.dim, dropout=config.dropout)
    if level == "decision":
        decisions = dict.fromkeys(dims, task.num_outputs)
        merge = create(name, decisions, **{**_decision(name, task), **options})
        return merge, {n: task.head(width, dropout=config.dropout) for n, width in dims.items()}
    return create(name, dims, dim=task.num_outputs, **options), None


def _decision(merge: str, task: Task) -> dict[str, Any]:
    """What a decision is, for a merge that asks."""
    asks = "decision" in inspect.signature(lookup(merge, kind="merge")).parameters
    return {"decision": task.decision} if asks else {}


def _build_encoder(options: Mapping[str, Any], config: ModelConfig) -> Encoder:
    cls = lookup(options["kind"], kind="encoder")
    size = {"dim": config.dim, "dropout": config.dropout} if cls.sized else {}
    own = {key: value for key, value in options.items() if key != "kind"}
    encoder: Encoder = cls(**{**size, **own})
    return encoder
