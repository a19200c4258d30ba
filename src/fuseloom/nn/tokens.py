"""Values of any rank as tokens, and back; streams of equal length."""

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["as_tokens", "by_length", "like_stream"]


def as_tokens(value: Tensor) -> Tensor:
    """An embedding ``[B, D]`` as one token, a feature map ``[B, C, H, W]`` as one per pixel: ``[B, N, D]``.

    Example:
        >>> import torch
        >>> as_tokens(torch.ones(2, 5, 3, 4)).shape
        torch.Size([2, 12, 5])
    """
    if value.dim() == 2:
        return value[:, None]
    return value.flatten(2).transpose(1, 2) if value.dim() == 4 else value


def by_length(lengths: Mapping[str, int]) -> list[list[str]]:
    """Names in groups of equal length, which may run as one batch.

    Example:
        >>> by_length({"text": 5, "rgb": 9, "depth": 9})
        [['text'], ['rgb', 'depth']]
    """
    groups: list[list[str]] = []
    for name, length in lengths.items():
        like = (group for group in groups if _surely_equal(lengths[group[0]], length))
        if (group := next(like, None)) is None:
            groups.append([name])
        else:
            group.append(name)
    return groups


def _surely_equal(length: int, other: int) -> bool:
    """Whether two lengths are equal, in a compiled graph without making it depend on that they are not."""
    if not torch.compiler.is_compiling():
        return length == other
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(length == other)


def like_stream(tokens: Tensor, stream: Tensor) -> Tensor:
    """Tokens ``[B, N, D]`` in the shape of the stream that they were made of.

    Example:
        >>> import torch
        >>> stream = torch.randn(2, 5, 3, 4)
        >>> like_stream(as_tokens(stream), stream).equal(stream)
        True
    """
    if stream.dim() == 2:
        return tokens[:, 0]
    return tokens.transpose(1, 2).reshape(stream.shape) if stream.dim() == 4 else tokens
