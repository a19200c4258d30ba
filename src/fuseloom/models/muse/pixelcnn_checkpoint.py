"""Weights of PixelCNN++ between MuSE's official checkpoints and ours."""

from collections.abc import Iterator, Mapping
from itertools import product

from torch import Tensor

from fuseloom.errors import OptionError

__all__ = ["convert_muse_pixelcnn", "official_muse_pixelcnn"]

_LEVELS = 3
_STREAMS = {"u_stream": "vertical", "ul_stream": "horizontal"}
_ENDS = {
    "u_init.conv": "start.vertical.conv",
    "ul_init.0.conv": "start.above.conv",
    "ul_init.1.conv": "start.left.conv",
    "nin_out.lin_a": "out",
}
_PARTS = {"conv_input.conv": "conv_in.conv", "conv_out.conv": "conv_out.conv", "nin_skip.lin_a": "skip"}
_TENSORS = {
    "bias": "bias",
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}
_CONDITION = {"hw": "condition.weight"}


def convert_muse_pixelcnn(official: Mapping[str, Tensor], *, conditional: bool = True) -> dict[str, Tensor]:
    """State dict of `PixelCnn` from that of the official ``ImageDecoder``.

    Args:
        official: Keys such as ``u_init.conv.weight_g``, as they stand under ``image_decoder.`` in a
            checkpoint.
        conditional: Whether the model has an embedding. The official class holds weights for one in any case;
            without, they are left out.

    Raises:
        OptionError: a key that the official class does not have.

    Example:
        >>> import torch
        >>> convert_muse_pixelcnn({"nin_out.lin_a.bias": torch.zeros(1)})
        {'out.bias': tensor([0.])}
    """
    blocks = sum(
        key.startswith("up_layers.0.u_stream.") and key.endswith("input.conv.bias") for key in official
    )
    names = dict(_names(blocks))
    if unknown := sorted(official.keys() - names.keys()):
        raise OptionError(f"official must be the state of an ImageDecoder, got {unknown[0]!r} in it.")
    return {
        names[key]: _ours(key, value)
        for key, value in official.items()
        if conditional or not key.endswith(tuple(_CONDITION))
    }


def official_muse_pixelcnn(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of the official ``ImageDecoder`` from that of `PixelCnn`: the inverse.

    Of a model without an embedding it lacks the weights for one that the official class holds in any case.

    Args:
        state: Keys such as ``start.vertical.conv.bias``.

    Raises:
        OptionError: a key that `PixelCnn` does not have.
    """
    blocks = sum(key.startswith("level.up.") and key.endswith("vertical.conv_in.conv.bias") for key in state)
    names = {ours: official for official, ours in _names(blocks)}
    if unknown := sorted(state.keys() - names.keys()):
        raise OptionError(f"state must be that of a PixelCnn, got {unknown[0]!r} in it.")
    return {names[key]: _theirs(names[key], value) for key, value in state.items()}


def _names(num_resnet: int) -> Iterator[tuple[str, str]]:
    """Official key and ours, of every tensor that there may be."""
    for layer, tensor in product((*_ENDS.items(), *_between(), *_inside(num_resnet)), _TENSORS.items()):
        yield _joined(layer, tensor)
    for block, tensor in product(_blocks(num_resnet), _CONDITION.items()):
        yield _joined(block, tensor)


def _between() -> Iterator[tuple[str, str]]:
    """The layers from level to level, and back, where the official count starts at the coarsest."""
    for depth, (official, ours) in product(range(_LEVELS - 1), _STREAMS.items()):
        level = f"{_level(depth)}.coarser"
        yield f"downsize_{official}.{depth}.conv", f"{level}.shrink.{ours}.conv"
        yield f"upsize_{official}.{_LEVELS - 2 - depth}.deconv", f"{level}.grow.{ours}.deconv"


def _inside(num_resnet: int) -> Iterator[tuple[str, str]]:
    return (_joined(block, part) for block, part in product(_blocks(num_resnet), _PARTS.items()))


def _blocks(num_resnet: int) -> Iterator[tuple[str, str]]:
    for depth, (official, ours) in product(range(_LEVELS), _STREAMS.items()):
        for block in range(num_resnet):
            yield f"up_layers.{depth}.{official}.{block}", f"{_level(depth)}.up.{block}.{ours}"
        for block in range(num_resnet + (depth < _LEVELS - 1)):
            stage = f"down_layers.{_LEVELS - 1 - depth}"
            yield f"{stage}.{official}.{block}", f"{_level(depth)}.down.{block}.{ours}"


def _level(depth: int) -> str:
    return "level" + ".coarser.level" * depth


def _joined(first: tuple[str, str], second: tuple[str, str]) -> tuple[str, str]:
    return f"{first[0]}.{second[0]}", f"{first[1]}.{second[1]}"


def _ours(key: str, value: Tensor) -> Tensor:
    """What the official code multiplies from the right stands the other way; linear maps are convolutions."""
    if key.endswith(".hw"):
        return value.mT.contiguous()
    return value[..., None, None] if ".lin_a.weight_" in key else value


def _theirs(key: str, value: Tensor) -> Tensor:
    if key.endswith(".hw"):
        return value.mT.contiguous()
    return value[..., 0, 0] if ".lin_a.weight_" in key else value
