"""The positions that a model predicts at, kept while what it reads there is hidden or damaged."""

from dataclasses import replace

import torch
from torch import Tensor

from fuseloom.diagnose.observing import observed
from fuseloom.models import FusionModel
from fuseloom.types import Batch

__all__ = ["fixed_positions"]


def fixed_positions(model: FusionModel, rows: Batch, *, batch_size: int = 256) -> Batch:
    """The rows with the positions that the model predicts at by itself, such as the words of a sentence.

    Without them a model predicts at what is real, so that a sentence whose words are hidden or dropped would
    have fewer positions than tags to be scored. Rows of a model that predicts rows stay as they are.

    Args:
        model: Any.
        rows: As the model reads them.
        batch_size: Rows at a time.

    Example:
        >>> from fuseloom import create
        >>> from fuseloom.encoders.identity import IdentityEncoder
        >>> from fuseloom.heads import TaggingHead
        >>> from fuseloom.models.anchor import Anchor
        >>> encoders, dims = {"text": IdentityEncoder(4)}, {"text": 4}
        >>> merge, head = create("concat", dims, pool=None), TaggingHead(4, 3)
        >>> model = FusionModel(encoders, merge, head, anchor=Anchor(dims, "text"))
        >>> rows = Batch(inputs={"text": torch.ones(1, 3, 4)}, masks={"text": torch.arange(3)[None] < 2})
        >>> fixed_positions(model, rows).extras
        {'positions': tensor([[ True,  True, False]])}
    """
    if model.anchor is None or "positions" in rows.extras:
        return rows
    starts = range(0, len(rows), batch_size)
    found = [_positions(model, rows.take(slice(start, start + batch_size))) for start in starts]
    return replace(rows, extras={**rows.extras, "positions": torch.cat(found).to(rows.device)})


@torch.no_grad()
def _positions(model: FusionModel, rows: Batch) -> Tensor:
    assert model.anchor is not None
    device = next((parameter.device for parameter in model.parameters()), rows.device)
    rows = rows.to(device)
    with observed(model):
        streams, masks = model.encode(rows.inputs, rows.masks, **rows.reads(model.reads))
    name, prefix = model.anchor.anchor, model.anchor.prefix
    tokens = streams[name][:, prefix:]
    if name in masks:
        return masks[name][:, prefix:]
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=device)
