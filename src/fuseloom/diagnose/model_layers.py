"""The streams of a model at every place where its modalities may meet, a row of numbers each."""

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.diagnose.observing import observed
from fuseloom.diagnose.shared_space import pooled
from fuseloom.models import FusionModel
from fuseloom.train.fit import seeded
from fuseloom.types import Batch, Masks, Streams

__all__ = ["model_layers"]


@torch.no_grad()
def model_layers(
    model: FusionModel, rows: Batch, *, batch_size: int = 256, prefix: int = 0
) -> dict[str, Batch]:
    """Streams before and after each exchange and before the merge, as `shared_space` compares them.

    Each is averaged over what is real: ``[N, D]``, with a mask of rows that have anything. The model runs in
    evaluation mode and is left as it was.

    Args:
        model: Any.
        rows: As the model reads them.
        batch_size: Rows at a time.
        prefix: Tokens at the front of each stream to leave out, such as a class token: learnt, it is the
            same in all rows.

    Example:
        >>> from fuseloom import create
        >>> from fuseloom.encoders.identity import IdentityEncoder
        >>> from fuseloom.heads import LinearHead
        >>> dims = {"a": 4, "b": 4}
        >>> encoders = {name: IdentityEncoder(width) for name, width in dims.items()}
        >>> exchanges = {0: create("cross_attention", dims)}
        >>> model = FusionModel(encoders, create("sum", dims), LinearHead(4, 2), exchanges=exchanges)
        >>> list(model_layers(model, Batch(inputs={"a": torch.ones(3, 4), "b": torch.ones(3, 4)})))
        ['before exchange 0', 'after exchange 0', 'before merge']
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    found: dict[str, list[Batch]] = {}
    with observed(model), seeded(0):
        for start in range(0, len(rows), batch_size):
            chunk = rows.take(slice(start, start + batch_size)).to(device)
            for layer, batch in _layers(model, chunk, prefix).items():
                found.setdefault(layer, []).append(batch)
    return {layer: Batch.collate(batches) for layer, batches in found.items()}


def _layers(model: FusionModel, rows: Batch, prefix: int) -> dict[str, Batch]:
    seen: dict[str, Batch] = {}

    def watch(key: str, exchange: nn.Module) -> Any:
        def hook(_: nn.Module, given: tuple[Any, ...], streams: Streams) -> None:
            before, masks = given
            seen[f"before exchange {key}"] = _pooled(before, masks, prefix)
            seen[f"after exchange {key}"] = _pooled(streams, masks, prefix)

        return exchange.register_forward_hook(hook)

    with ExitStack() as hooks:
        for key, exchange in model.exchanges.items():
            hooks.callback(watch(key, exchange).remove)
        streams, masks = model.encode(rows.inputs, rows.masks, **rows.reads(model.reads))
    seen["before merge"] = _pooled(streams, masks, prefix)
    return seen


def _pooled(streams: Streams, masks: Masks, prefix: int) -> Batch:
    pairs = {name: _mean(value, masks.get(name), prefix) for name, value in streams.items()}
    return Batch(
        inputs={name: means.cpu() for name, (means, _) in pairs.items()},
        masks={name: there.cpu() for name, (_, there) in pairs.items()},
    )


def _mean(value: Tensor, mask: Tensor | None, prefix: int) -> tuple[Tensor, Tensor]:
    if value.dim() != 3:
        return pooled(value, mask)
    return pooled(value[:, prefix:], None if mask is None else mask[:, prefix:])
