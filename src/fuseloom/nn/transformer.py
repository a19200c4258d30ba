"""A transformer encoder over plain tokens, where in a sequence a token stands, and the last of them."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.nn.attention import attend, attention_weights
from fuseloom.nn.dropout import Dropout
from fuseloom.types import Trace

__all__ = [
    "SinusoidalPositions",
    "TransformerEncoder",
    "Waves",
    "convert_transformer",
    "divisible_width",
    "masked_last",
]

Waves = Callable[[int, int, Tensor], Tensor]
_LONGEST_WAVE = 10_000.0
_OFFICIAL = {
    "self_attn.in_proj_": "attention.part.qkv.",
    "self_attn.out_proj.": "attention.part.out.",
    "linear1.": "feedforward.part.up.",
    "linear2.": "feedforward.part.down.",
    "norm1.": "attention.norm.",
    "norm2.": "feedforward.norm.",
}
"""Prefix in a layer of torch's encoder -> prefix in ours."""


class TransformerEncoder(nn.Module):
    r"""Layers of self-attention and of a feedforward map, each with a residual connection.

    .. math:: x \leftarrow x + f(\mathrm{norm}(x)), \quad \text{or} \quad x \leftarrow \mathrm{norm}(x + f(x))

    The first form ends with one more norm. Tokens under False are no keys; a sample without any attends to
    nothing, and stays finite. Positions are the caller's. The trace records the attention of every layer as
    ``layer.<number>.attention``, ``[B, H, N, N]``.

    Given a source, tokens attend to it and not to themselves. All layers read the source as it was given; in
    the first form each layer's norm is applied to it as well.

    Args:
        dim: Width of the tokens.
        hidden: Width of each layer's feedforward map; as many layers as widths.
        num_heads: Attention heads; must divide ``dim``.
        dropout: Probability of dropping an attention weight, a hidden feature or a feature of a branch.
        post_norm: Take the second form, as in the paper and as torch's own encoder does by default.

    Raises:
        OptionError: heads that do not divide ``dim``, no layer, or ``dropout`` that is no probability.

    Example:
        >>> encoder = TransformerEncoder(8, hidden=(16, 16), num_heads=2)
        >>> encoder(torch.ones(3, 5, 8), torch.ones(3, 5, dtype=torch.bool)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: Sequence[int],
        num_heads: int = 1,
        dropout: float = 0.0,
        post_norm: bool = False,
    ) -> None:
        super().__init__()
        if divisible_width(dim, num_heads) != dim:
            raise OptionError(f"dim must be a multiple of num_heads={num_heads}, got {dim}.")
        if not hidden or min(hidden) < 1:
            raise OptionError(f"hidden must be one width of at least 1 per layer, got {list(hidden)}.")
        if not 0 <= dropout < 1:
            raise OptionError(f"dropout must be in [0, 1), got {dropout}.")
        form = _PostNorm if post_norm else _PreNorm
        self.layers = nn.ModuleList(_Layer(form, dim, width, num_heads, dropout) for width in hidden)
        self.norm: nn.Module = nn.Identity() if post_norm else nn.LayerNorm(dim)

    def forward(
        self,
        tokens: Tensor,
        mask: Tensor | None = None,
        *,
        source: Tensor | None = None,
        trace: Trace | None = None,
    ) -> Tensor:
        """Tokens ``[B, N, D]`` to ``[B, N, D]``.

        Args:
            tokens: What asks, and what is asked where no source is given.
            mask: Which keys are real ``[B, Nk]``, or are seen by each token ``[B, N, Nk]``.
            source: ``[B, Nk, D]``.
            trace: Collects the attention.
        """
        for number, layer in enumerate(self.layers):
            tokens = layer(tokens, mask, None if trace is None else trace.scope(f"layer.{number}"), source)
        out: Tensor = self.norm(tokens)
        return out


class _Layer(nn.Module):
    def __init__(
        self, form: type["_PreNorm | _PostNorm"], dim: int, hidden: int, num_heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.attention = form(_SelfAttention(dim, num_heads, dropout), dim, dropout)
        self.feedforward = form(_Feedforward(dim, hidden, dropout), dim, dropout)

    def forward(
        self, tokens: Tensor, mask: Tensor | None, trace: Trace | None, source: Tensor | None
    ) -> Tensor:
        out: Tensor = self.feedforward(self.attention(tokens, mask, trace, source=source))
        return out


class _PreNorm(nn.Module):
    def __init__(self, part: nn.Module, dim: int, dropout: float) -> None:
        super().__init__()
        self.part, self.norm, self.dropout = part, nn.LayerNorm(dim), Dropout(dropout)

    def forward(self, tokens: Tensor, *rest: object, source: Tensor | None = None) -> Tensor:
        asked = {} if source is None else {"source": self.norm(source)}
        out: Tensor = tokens + self.dropout(self.part(self.norm(tokens), *rest, **asked))
        return out


class _PostNorm(nn.Module):
    def __init__(self, part: nn.Module, dim: int, dropout: float) -> None:
        super().__init__()
        self.part, self.norm, self.dropout = part, nn.LayerNorm(dim), Dropout(dropout)

    def forward(self, tokens: Tensor, *rest: object, source: Tensor | None = None) -> Tensor:
        asked = {} if source is None else {"source": source}
        out: Tensor = self.norm(tokens + self.dropout(self.part(tokens, *rest, **asked)))
        return out


class _SelfAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.qkv, self.out = _linear(dim, 3 * dim), _linear(dim, dim)

    def forward(
        self,
        tokens: Tensor,
        mask: Tensor | None,
        trace: Trace | None,
        *,
        source: Tensor | None = None,
    ) -> Tensor:
        query, key, value = self._project(tokens, source)
        dropout = self.dropout if self.training else 0.0
        mixed = attend(query, key, value, num_heads=self.num_heads, mask=mask, dropout=dropout)
        if trace is not None and trace.keep_records:
            trace.record("attention", attention_weights(query, key, num_heads=self.num_heads, mask=mask))
        out: Tensor = self.out(mixed)
        return out

    def _project(self, tokens: Tensor, source: Tensor | None) -> tuple[Tensor, ...]:
        if source is None:
            return self.qkv(tokens).chunk(3, -1)  # type: ignore[no-any-return]
        split = [tokens.shape[-1], 2 * tokens.shape[-1]]
        ask, answer = zip(
            self.qkv.weight.split_with_sizes(split), self.qkv.bias.split_with_sizes(split), strict=True
        )
        return F.linear(tokens, *ask), *F.linear(source, *answer).chunk(2, -1)


class _Feedforward(nn.Module):
    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        # Half of a ReLU's inputs come out as zero, so twice the variance keeps the size.
        self.up, self.down = _linear(dim, hidden), _linear(hidden, dim, gain=math.sqrt(2))
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.down(self.dropout(F.relu(self.up(tokens))))
        return out


def _linear(inner: int, outer: int, *, gain: float = 1.0) -> nn.Linear:
    linear = nn.Linear(inner, outer)
    nn.init.normal_(linear.weight, std=gain / math.sqrt(inner))
    nn.init.zeros_(linear.bias)
    return linear


class SinusoidalPositions(nn.Module):
    r"""Adds to each token sines and cosines of its place, for any number of places.

    .. math:: p_{n, 2j} = \sin(n \omega_j), \quad p_{n, 2j + 1} = \cos(n \omega_j), \quad
        \omega_j = 10000^{-2j / D}

    Places count from the start of the stream, padding included. Of pixels, one half of the features tells
    the row and the other the column; a value without positions stays as it is.

    Args:
        waves: Places, width and a tensor of the wanted kind to the waves ``[N, D]``; those above by default.

    Example:
        >>> SinusoidalPositions()(torch.zeros(1, 2, 2))[0, 0]
        tensor([0., 1.])
    """

    def __init__(self, waves: Waves | None = None) -> None:
        super().__init__()
        self.waves = _waves if waves is None else waves

    def forward(self, values: Tensor) -> Tensor:
        """``[B, D]``, ``[B, N, D]`` or ``[B, H, W, D]`` to the same shape."""
        axes = values.dim() - 2
        if axes == 0:
            return values
        width, rest = divmod(values.shape[-1], axes)
        for axis in range(axes):
            start = axis * width + (rest if axis else 0)
            stop = (axis + 1) * width + rest
            waves = self.waves(values.shape[axis + 1], stop - start, values)  # [N, stop - start]
            waves = F.pad(waves, (start, values.shape[-1] - stop))
            values = values + waves.view(-1, *[1] * (axes - axis - 1), values.shape[-1])
        return values


def _waves(count: int, width: int, like: Tensor) -> Tensor:
    # float32: bfloat16 cannot tell the places beyond 256 apart.
    wide = torch.promote_types(like.dtype, torch.float32)
    place = torch.arange(count, device=like.device, dtype=wide)
    feature = torch.arange(width, device=like.device, dtype=wide)
    rate = torch.exp((feature - feature % 2) * (-math.log(_LONGEST_WAVE) / max(width, 1)))
    # A cosine is a sine a quarter of a turn ahead.
    return torch.sin(place[:, None] * rate + feature % 2 * (math.pi / 2)).to(like.dtype)


def masked_last(
    tokens: Float[Tensor, "*batch token dim"], mask: Bool[Tensor, "*batch token"] | None = None
) -> Float[Tensor, "*batch dim"]:
    """The last of the kept tokens; zero where none is kept.

    Example:
        >>> masked_last(torch.tensor([[[1.0], [9.0]]]), torch.tensor([[True, False]]))
        tensor([[1.]])
    """
    if mask is None:
        return tokens[..., -1, :]
    place = torch.arange(1, mask.shape[-1] + 1, device=mask.device)
    last = (mask * place).argmax(-1, keepdim=True)[..., None]
    taken = tokens.gather(-2, last.expand(*last.shape[:-1], tokens.shape[-1])).squeeze(-2)
    return taken.masked_fill(~mask.any(-1, keepdim=True), 0)


def divisible_width(dim: int, num_heads: int) -> int:
    """``dim``, rounded up to a multiple of ``num_heads``.

    Raises:
        OptionError: no heads.

    Example:
        >>> divisible_width(7, 4)
        8
    """
    if num_heads < 1:
        raise OptionError(f"num_heads must be at least 1, got {num_heads}.")
    return -(-dim // num_heads) * num_heads


def convert_transformer(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of `TransformerEncoder` from that of torch's ``nn.TransformerEncoder``.

    Args:
        official: As ``nn.TransformerEncoder.state_dict()`` gives it.

    Returns:
        What ours takes, with ``post_norm`` where the official has no norm at the end.

    Raises:
        OptionError: a key that torch's encoder does not have.
    """
    return {_converted_key(key): value for key, value in official.items()}


def _converted_key(key: str) -> str:
    if key in ("norm.weight", "norm.bias"):
        return key
    layers, _, rest = key.partition(".")
    number, _, inner = rest.partition(".")
    for official, ours in _OFFICIAL.items():
        if layers == "layers" and number.isdigit() and inner.startswith(official):
            return f"layers.{number}.{ours}{inner.removeprefix(official)}"
    raise OptionError(f"official must be the state of nn.TransformerEncoder, got {key!r} in it.")
