"""A model in two parts: what sees one modality at a time, and what sees them together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fuseloom.diagnose.observing import observed
from fuseloom.errors import DataError
from fuseloom.heads import LinearHead
from fuseloom.merge import Merge
from fuseloom.merge._base import Pool, pool_streams
from fuseloom.models import FusionModel
from fuseloom.registry import Interaction
from fuseloom.types import Alignment, Batch, Masks, Streams

__all__ = ["Outputs", "Split", "split"]

Outputs = Callable[[Batch], NDArray[Any] | Tensor]
"""Rows to raw outputs: logits ``[N, K]``, or numbers ``[N]`` or ``[N, K]``."""

_LINEAR = (LinearHead, nn.Linear, nn.Identity)
_TIED = "It ties modalities of one row, so that they cannot be combined with those of other rows."


def _as_they_are(rows: Batch) -> Batch:
    if tied := sorted(key for key, value in rows.extras.items() if isinstance(value, Alignment)):
        raise DataError(f"rows must hold no alignment, got {tied[0]!r}. {_TIED}")
    return rows


@dataclass(frozen=True, kw_only=True)
class Split:
    """What is needed of each row once, and what of each combination of modalities of different rows."""

    together: Outputs
    """What ``alone`` gave, rows combined at will, to raw outputs."""
    alone: Callable[[Batch], Batch] = _as_they_are
    """Rows to the values and masks of each modality, of which none depends on another modality."""
    interaction: Interaction = "nonlinear"
    """Highest order of interaction that ``together`` is said to express where every modality is there:
    ``multiplicative`` is affine in each modality's values."""


def split(model: FusionModel) -> Split:
    """Part a model before its first exchange, or before its merge where it has none.

    The outputs are the model's in evaluation mode, without gradients; its own mode is as before.

    Example:
        >>> from fuseloom import create
        >>> from fuseloom.encoders.identity import IdentityEncoder
        >>> dims = {"text": 3, "audio": 2}
        >>> encoders = {name: IdentityEncoder(width) for name, width in dims.items()}
        >>> parts = split(FusionModel(encoders, create("sum", dims, dim=4), nn.Linear(4, 2)))
        >>> rows = Batch(inputs={"text": torch.ones(5, 3), "audio": torch.ones(5, 2)})
        >>> parts.together(parts.alone(rows)).shape, parts.interaction
        (torch.Size([5, 2]), 'additive')
    """
    interaction = _interaction(model)
    # Behind the pool a multiplicative merge is affine in what each modality is then, a vector.
    pool = getattr(model.merge, "pool", None) if interaction == "multiplicative" else None

    def alone(rows: Batch) -> Batch:
        extras = _read_alone(model, rows)
        with observed(model), torch.no_grad():
            rows = rows.to(_device(model))
            streams, masks = model.encode_alone(rows.inputs, rows.masks)
            if pool is not None:
                streams, masks = _pooled(model.merge, streams, masks, pool)
        return Batch(inputs=streams, masks=masks, extras=dict(extras))

    def together(rows: Batch) -> Tensor:
        with observed(model), torch.no_grad():
            rows = rows.to(_device(model))
            reads = rows.reads(model.reads)
            positions = reads.pop("positions", None)
            streams, masks = model.encode_together(rows.inputs, rows.masks, **reads)
            return model.fuse(streams, masks, positions=positions)

    return Split(alone=alone, together=together, interaction=interaction)


def _interaction(model: FusionModel) -> Interaction:
    """What the merge claims, where nothing that could bend it stands before or behind it."""
    bends = model.exchanges or model.trunk is not None or not isinstance(model.head, _LINEAR)
    claimed = model.merge.card.interaction
    # Heads before a merge of decisions see one modality each, but need not be affine.
    return "nonlinear" if bends or (model.decisions and claimed != "additive") else claimed


def _read_alone(model: FusionModel, rows: Batch) -> dict[str, Tensor]:
    """Of what the model reads besides, what belongs to one modality and so goes where its values go.

    Positions to be predicted belong to the row, whatever stands there.
    """
    found: dict[str, Tensor] = {}
    if isinstance(kept := rows.extras.get("positions"), Tensor):
        found["positions"] = kept
    for name in set(model.reads) - {"positions"}:
        for key, value in rows.extras.items():
            if key != name and not key.startswith(f"{name}."):
                continue
            if key.removeprefix(f"{name}.") not in rows.inputs or not isinstance(value, Tensor):
                raise DataError(f"What the model reads must belong to one modality, got {key!r}. {_TIED}")
            found[key] = value
    return found


def _pooled(merge: Merge, streams: Streams, masks: Masks, pool: Pool) -> tuple[Streams, Masks]:
    values, kept = merge.enter(streams, masks)
    last = {name: v.movedim(1, -1) if v.dim() == 4 else v for name, v in values.items()}
    vectors, present = pool_streams(last, kept, pool)
    there = {name: mask for name, mask in zip(last, present, strict=True) if mask is not None}
    return dict(zip(last, vectors, strict=True)), there


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
