"""Values of any rank as tokens, and back."""

from torch import Tensor

__all__ = ["as_tokens", "like_stream"]


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
