"""Where each position of a row looks in another modality, for rows that are shown."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fuseloom.diagnose.exchanged import ExchangedSample, SampleStream
from fuseloom.diagnose.observing import observed
from fuseloom.diagnose.tiling import tiling
from fuseloom.models import FusionModel
from fuseloom.train.step import apply_model
from fuseloom.types import Batch, Trace

__all__ = ["Look", "looks"]

_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class Look:
    """Where the positions of one modality look in another, on one row."""

    layer: str
    """Name of the record, such as ``anchor.image.attention``."""
    row: ExchangedSample
    """Two streams, without layers: the one whose positions look, and the one that they look at."""
    weights: tuple[tuple[float, ...], ...]
    """Of each position that looks, how much it looks at each of the other; mean over heads, rounded."""


def looks(model: FusionModel, rows: Batch, *, num_rows: int = 3, seed: int = 0) -> tuple[Look, ...]:
    """Rows drawn at random, with where the anchor's positions look; none of a model that has no such.

    Args:
        model: With an `Anchor` whose context is ``attention``; it stays as it was.
        rows: Held-out rows.
        num_rows: At most.
        seed: Of the rows.

    Example:
        >>> from fuseloom import create
        >>> from fuseloom.encoders.identity import IdentityEncoder
        >>> from fuseloom.heads import TaggingHead
        >>> from fuseloom.models.anchor import Anchor
        >>> dims = {"text": 4, "image": 4}
        >>> encoders = {name: IdentityEncoder(4) for name in dims}
        >>> merge, head = create("concat", dims, pool=None), TaggingHead(4, 3)
        >>> model = FusionModel(encoders, merge, head, anchor=Anchor(dims, "text"))
        >>> rows = Batch(inputs={"text": torch.ones(1, 2, 4), "image": torch.ones(1, 4, 4)})
        >>> [(one.layer, one.weights) for one in looks(model, rows)]
        [('anchor.image.attention', ((0.25, 0.25, 0.25, 0.25), (0.25, 0.25, 0.25, 0.25)))]
    """
    if model.anchor is None:
        return ()
    places = sorted(np.random.default_rng(seed).permutation(len(rows))[:num_rows].tolist())
    device = next((parameter.device for parameter in model.parameters()), rows.device)
    trace = Trace()
    with observed(model), torch.no_grad():
        apply_model(model, rows.take(torch.tensor(places)).to(device), trace=trace)
    return tuple(
        look
        for number, place in enumerate(places)
        for name in model.anchor.context
        if (look := _look(trace.records, rows, (model.anchor.anchor, name), place, number)) is not None
    )


def _look(
    records: dict[str, Tensor], rows: Batch, names: tuple[str, str], place: int, number: int
) -> Look | None:
    """One row's; None where nothing attends, or where there is nothing to look at."""
    asking, asked = names
    layer = f"anchor.{asked}.attention"
    if layer not in records:
        return None
    weights = records[layer][number].double().mean(0)  # [N, N_m]
    real = records[f"{layer}.of.{asked}"][number]
    known = records.get(f"{layer}.asked")
    some = _end(torch.ones_like(weights[:, 0], dtype=torch.bool) if known is None else known[number])
    count = _end(real)
    if count < 2 or not some:
        return None
    streams = (
        SampleStream(modality=asking, positions=some, grid=None, layers=()),
        SampleStream(modality=asked, positions=count, grid=tiling(len(real), rows.inputs[asked]), layers=()),
    )
    shown = weights[:some, :count].tolist()
    return Look(
        layer=layer,
        row=ExchangedSample(place=place, streams=streams),
        weights=tuple(tuple(round(one, _SHOWN) for one in each) for each in shown),
    )


def _end(real: Tensor) -> int:
    """One more than the place of the last that is real."""
    places = real.nonzero()
    return int(places.max()) + 1 if len(places) else 0
