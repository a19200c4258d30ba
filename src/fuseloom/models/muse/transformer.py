"""MuSE: the transformer of two modalities that exchange their least attended tokens."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.exchange.cls_exchange import ClsExchange
from fuseloom.models.exchange_transformer import ExchangeTransformer, Place
from fuseloom.nn import EncoderBlock, PostNormBlock

__all__ = ["convert_muse_transformer", "muse_transformer", "official_muse_transformer"]

_BLOCK = partial(PostNormBlock, num_heads=12, hidden=2048, dropout=0.2)
_OFFICIAL = {
    "multihead_attn.in_proj_": "qkv.",
    "multihead_attn.out_proj.": "out.",
    "linear1.": "up.",
    "linear2.": "down.",
    "norm1.": "attention_norm.",
    "norm2.": "feedforward_norm.",
}
"""Prefix in a layer of the official CrossTransformer -> prefix in ours."""
_KEY = re.compile(r"layers\.(\d+)\.(" + "|".join(map(re.escape, _OFFICIAL)) + r")(weight|bias)")
_OWN = {ours: official for official, ours in _OFFICIAL.items()}
_OWN_KEY = re.compile(r"layers\.(\d+)\.shared\.(" + "|".join(map(re.escape, _OWN)) + r")(weight|bias)")


def muse_transformer(
    dims: Mapping[str, int],
    *,
    num_layers: int = 6,
    layers: Sequence[int] = range(1, 4),
    block: Callable[[int], EncoderBlock] = _BLOCK,
    place: Place = "after_norm",
    norm: Callable[[int], nn.Module] | None = None,
    **options: Any,
) -> ExchangeTransformer:
    """MuSE's CrossTransformer: one stack for all modalities, and `ClsExchange` in some of its layers.

    By default it is that of the published runs. Each stream begins with a cls token. In training the scores
    are the attention before dropout, where the official code drops some of it at random.

    Args:
        dims: Modality name -> width, the same for all.
        num_layers: Layers in all.
        layers: Those that exchange, from zero.
        block: Builds a block from its width.
        place: Where in a layer; ``after_residual`` is the official place in pre-norm blocks.
        norm: Builds the norm behind the last layer; by default what belongs behind the blocks.
        options: Those of `ClsExchange`, such as ``theta``.

    Raises:
        ModalityError: fewer than two modalities, or unequal widths.
        OptionError: a layer that is not there.

    Example:
        >>> model = muse_transformer({"text": 12, "image": 12}, theta=0.2)
        >>> sorted(model.exchanges)
        ['1_after_norm', '2_after_norm', '3_after_norm']
    """
    exchanges = {(layer, place): ClsExchange(dims, **options) for layer in layers}
    return ExchangeTransformer(
        dims, num_layers=num_layers, block=block, exchanges=exchanges, shared=True, norm=norm
    )


def convert_muse_transformer(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of `muse_transformer` from that of the official ``CrossReplaceTransformer``.

    Args:
        official: Keys such as ``layers.0.linear1.weight``, as they stand under ``cross_transformer.`` in a
            checkpoint.

    Raises:
        OptionError: a key that the official class does not have.
    """
    return {_converted_key(key): value for key, value in official.items()}


def _converted_key(key: str) -> str:
    if key in ("norm.weight", "norm.bias"):
        return key.replace("norm.", "norms.shared.")
    if (match := _KEY.fullmatch(key)) is None:
        raise OptionError(f"official must be the state of a CrossReplaceTransformer, got {key!r} in it.")
    number, inner, kind = match.groups()
    return f"layers.{number}.shared.{_OFFICIAL[inner]}{kind}"


def official_muse_transformer(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of the official ``CrossReplaceTransformer`` from that of `muse_transformer`: the inverse.

    Raises:
        OptionError: a key that `muse_transformer` does not have.
    """
    return {_official_key(key): value for key, value in state.items()}


def _official_key(key: str) -> str:
    if key in ("norms.shared.weight", "norms.shared.bias"):
        return key.replace("norms.shared.", "norm.")
    if (match := _OWN_KEY.fullmatch(key)) is None:
        raise OptionError(f"state must be that of a muse_transformer, got {key!r} in it.")
    number, inner, kind = match.groups()
    return f"layers.{number}.{_OWN[inner]}{kind}"
