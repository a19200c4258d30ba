"""An LSTM that reads sequences from both ends."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

__all__ = ["BidirectionalLstm"]


class BidirectionalLstm(nn.Module):
    """Two LSTMs over a sequence, one from its first token on, one from its last.

    A sequence ends with its last token under True, whatever it was padded to. Nothing is packed, so that no
    length is read on the way and the module can be exported. After Graves and Schmidhuber, 2005.

    Args:
        in_dim: Width of the tokens.
        dim: Width of what either LSTM says of a token.

    Example:
        >>> lstm = BidirectionalLstm(8, 3)
        >>> lstm(torch.ones(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)).shape
        torch.Size([2, 5, 6])
    """

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.onward = nn.LSTM(in_dim, dim, batch_first=True)
        self.back = nn.LSTM(in_dim, dim, batch_first=True)

    def forward(
        self, tokens: Float[Tensor, "batch token dim"], mask: Bool[Tensor, "batch token"] | None = None
    ) -> Float[Tensor, "batch token two_dims"]:
        """``[B, N, in_dim]`` to ``[B, N, 2 * dim]``; what is under False or behind it is to be ignored."""
        if mask is None:
            return torch.cat([self.onward(tokens)[0], self.back(tokens.flip(1))[0].flip(1)], -1)
        tokens = tokens.masked_fill(~mask[..., None], 0)
        place = torch.arange(tokens.shape[1], device=tokens.device)
        length = torch.where(mask, place + 1, 0).amax(1, keepdim=True)
        turned = torch.where(place < length, length - 1 - place, place)[..., None]
        back, _ = self.back(tokens.take_along_dim(turned, 1))
        return torch.cat([self.onward(tokens)[0], back.take_along_dim(turned, 1)], -1)
