"""The block of a vision transformer, and how a block is run whole."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.nn.blocks import Attended, EncoderBlock

__all__ = ["ViTBlock", "convert_vit_block", "run_block"]

_EPS = 1e-6
_OFFICIAL = {
    "norm1": "attention_norm",
    "attn.qkv": "qkv",
    "attn.proj": "out",
    "norm2": "feedforward_norm",
    "mlp.fc1": "up",
    "mlp.fc2": "down",
}
"""Layer in a block of the official code, and of timm -> layer of ours."""


class ViTBlock(EncoderBlock):
    r"""A pre-norm block with GELU, as vision transformers have it; a stack of it ends with a norm.

    .. math:: h = x + \mathrm{Attention}(\mathrm{norm}_1(x)), \quad y = h + \mathrm{MLP}(\mathrm{norm}_2(h))

    Its norms add 1e-6 to the variance. Arguments and errors are those of `EncoderBlock`.

    Paper: Dosovitskiy et al., 2021, arXiv:2010.11929.

    Example:
        >>> import torch
        >>> run_block(ViTBlock(8, num_heads=2), torch.ones(2, 5, 8), None)[0].shape
        torch.Size([2, 5, 8])
    """

    closing = nn.LayerNorm

    def __init__(
        self, dim: int, *, num_heads: int = 1, hidden: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__(dim, num_heads=num_heads, hidden=hidden, dropout=dropout)
        self.attention_norm, self.feedforward_norm = (nn.LayerNorm(dim, eps=_EPS) for _ in range(2))

    def attend(self, tokens: Tensor, mask: Tensor | None) -> Attended:
        """Self-attention of the normalised tokens."""
        return self._attend(self.attention_norm(tokens), mask)

    def normalise(self, tokens: Tensor) -> Tensor:
        """A normalised copy of the tokens."""
        out: Tensor = self.feedforward_norm(tokens)
        return out

    def feed(self, tokens: Tensor, normal: Tensor) -> Tensor:
        """The tokens plus the feedforward map of their normalised copy."""
        hidden = self.dropout(F.gelu(self.up(normal)))
        out: Tensor = tokens + self.dropout(self.down(hidden))
        return out


def run_block(block: EncoderBlock, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Attended]:
    """The steps of a block in a row.

    Args:
        block: Any of `EncoderBlock`.
        tokens: ``[B, N, D]``.
        mask: Which tokens may be attended to, ``[B, N]``.

    Returns:
        Tokens ``[B, N, D]``, and what attention compared.
    """
    attended = block.attend(tokens, mask)
    tokens = tokens + attended.update
    return block.feed(tokens, block.normalise(tokens)), attended


def convert_vit_block(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of `ViTBlock` from that of a block of timm's vision transformers, or of the official MBT.

    Args:
        official: Keys ``norm1.*``, ``norm2.*``, ``attn.qkv.*``, ``attn.proj.*``, ``mlp.*``.

    Raises:
        OptionError: a key that such a block does not have.
    """
    converted = {}
    for key, value in official.items():
        layer, _, kind = key.rpartition(".")
        if layer not in _OFFICIAL:
            raise OptionError(
                f"official must be the state of a block of a vision transformer, got {key!r} in it."
            )
        converted[f"{_OFFICIAL[layer]}.{kind}"] = value
    return converted
