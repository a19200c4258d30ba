"""A learnt token before all others of a stream."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ClassToken"]


class ClassToken(nn.Module):
    """Puts a learnt token before the tokens of a stream; it is real where any of them is.

    As it takes a value and its mask and gives both, it can be a stage of an encoder.

    Args:
        dim: Width of the tokens.
        std: Of the normal distribution that it is drawn from.

    Example:
        >>> token = ClassToken(4)
        >>> tokens, mask = token(torch.ones(2, 3, 4), torch.tensor([[True, False, False], [False] * 3]))
        >>> tokens.shape, mask.tolist()
        (torch.Size([2, 4, 4]), [[True, True, False, False], [False, False, False, False]])
    """

    def __init__(self, dim: int, *, std: float = 1.0) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(dim) * std)

    def forward(
        self, tokens: Float[Tensor, "batch token dim"], mask: Bool[Tensor, "batch token"] | None = None
    ) -> tuple[Float[Tensor, "batch more dim"], Bool[Tensor, "batch more"] | None]:
        """Tokens ``[B, N, D]`` and mask ``[B, N]`` to ``[B, 1 + N, D]`` and ``[B, 1 + N]``."""
        first = self.token.to(tokens.dtype).expand(tokens.shape[0], 1, -1)
        more = torch.cat([first, tokens], 1)
        if mask is None:
            return more, None
        real = mask.any(1, keepdim=True)
        return more.masked_fill(~F.pad(real, (0, tokens.shape[1]), value=True)[..., None], 0), torch.cat(
            [real, mask], 1
        )
