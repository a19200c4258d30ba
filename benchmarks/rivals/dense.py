"""Dense networks of two streams as their papers' code runs them, and what their fusions cannot do without.

Each stream runs by itself, one after the other, through modules of the official names, which take official
weights. The fusions are those of `exchanges` and `selections`: pixel attention one sample at a time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.exchange.pixel_attention import PixelAttention
from fuseloom.models.dense import DenseModel
from fuseloom.models.dense.geminifusion import official_geminifusion_mit
from fuseloom.models.dense.mit import MitSize, MitStreams
from fuseloom.models.dense.resnet import ResNetStreams
from fuseloom.models.dense.tokenfusion import official_tokenfusion_mit
from fuseloom.nn.dropout import DropPath
from rivals._common import under
from rivals.exchanges import PlainPixelAttention
from rivals.selections import LAYERS, PlainTokenExchange, updated

__all__ = [
    "Part",
    "PlainDense",
    "channel_floor",
    "pixel_floor",
    "plain_geminifusion",
    "plain_tokenfusion",
    "token_floor",
]

Part = tuple[nn.Module, Callable[[], Sequence[Tensor]]]
"""What learns, and what is run."""
_Stream = list[Tensor]

_EPS = 1e-6
_THRESHOLD = 0.02
_SPARSITY = 1e-6
_FUSIONS = (".cross_attn_", ".relation_judger.", ".k_noise.", ".v_noise.", ".score_predictor.")


class _Each(nn.Module):
    """One module that the streams pass one after another."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, streams: Sequence[Tensor]) -> _Stream:
        return [self.module(value) for value in streams]


class _Norms(nn.Module):
    """A norm of each stream."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        for number in range(count):
            self.add_module(f"ln_{number}", nn.LayerNorm(dim, eps=_EPS))

    def forward(self, streams: Sequence[Tensor]) -> _Stream:
        return [norm(value) for norm, value in zip(self.children(), streams, strict=True)]


class PixelFusion(nn.Module):
    """`PlainPixelAttention` of what the heads of attention give."""

    def __init__(self, state: Mapping[str, Tensor], names: Sequence[str], *, num_heads: int) -> None:
        super().__init__()
        self.names = tuple(names)
        width = state["relation.out.bias"].shape[0]
        self.attention = PlainPixelAttention(state, dict.fromkeys(names, width), num_heads=num_heads)

    def inside(self, heads: _Stream) -> _Stream:
        """Heads beside each other ``[B, N, C]``, before they are projected."""
        found: _Stream = self.attention(dict(zip(self.names, heads, strict=True)))
        return found

    def outside(self, update: _Stream, inputs: _Stream, penalties: _Stream) -> _Stream:
        """The projected update as it is."""
        return update


class TokenFusion(nn.Module):
    """`PlainTokenExchange` of the update that attention makes, by scores of what the block got."""

    def __init__(self, state: Mapping[str, Tensor], names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        width = state[f"predictor.{names[0]}.layers.0.weight"].shape[0]
        self.exchange = PlainTokenExchange(state, dict.fromkeys(names, width))

    def inside(self, heads: _Stream) -> _Stream:
        """Heads as they are."""
        return heads

    def outside(self, update: _Stream, inputs: _Stream, penalties: _Stream) -> _Stream:
        """The projected update; the sum of all scores is added to the penalties."""
        scores = self.exchange.scores(dict(zip(self.names, inputs, strict=True)))
        penalties.append(_SPARSITY * torch.stack([score.abs().sum() for score in scores.values()]).sum())
        return list(updated(dict(zip(self.names, update, strict=True)), scores).values())


class _Block(nn.Module):
    """Attention and the map behind it, of each stream by itself but for the fusion."""

    def __init__(self, count: int, dim: int, *, num_heads: int, reduction: int, expansion: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = _Norms(count, dim), _Norms(count, dim)
        self.attn = nn.ModuleDict(
            {
                "q": _Each(nn.Linear(dim, dim)),
                "kv": _Each(nn.Linear(dim, 2 * dim)),
                "proj": _Each(nn.Linear(dim, dim)),
            }
        )
        if reduction > 1:
            self.attn["sr"] = _Each(nn.Conv2d(dim, dim, reduction, stride=reduction))
            self.attn["norm"] = _Norms(count, dim)
        wide = expansion * dim
        around = nn.ModuleDict({"dwconv": nn.Conv2d(wide, wide, 3, padding=1, groups=wide)})
        self.mlp = nn.ModuleDict(
            {"fc1": _Each(nn.Linear(dim, wide)), "dwconv": around, "fc2": _Each(nn.Linear(wide, dim))}
        )
        self.drop_path = DropPath(0.0)

    def forward(
        self, streams: _Stream, size: tuple[int, int], fusion: nn.Module, penalties: _Stream
    ) -> _Stream:
        mixed = fusion.inside(self._attend(self.norm1(streams), size))
        update = fusion.outside(self.attn["proj"](mixed), streams, penalties)
        streams = [value + self.drop_path(new) for value, new in zip(streams, update, strict=True)]
        update = self._feed(self.norm2(streams), size)
        return [value + self.drop_path(new) for value, new in zip(streams, update, strict=True)]

    def _attend(self, streams: _Stream, size: tuple[int, int]) -> _Stream:
        reduced = streams
        if "sr" in self.attn:
            maps = self.attn["sr"]([_map(value, size) for value in streams])
            reduced = self.attn["norm"]([_tokens(value) for value in maps])
        queries, pairs = self.attn["q"](streams), self.attn["kv"](reduced)
        return [self._heads(query, pair) for query, pair in zip(queries, pairs, strict=True)]

    def _heads(self, query: Tensor, pair: Tensor) -> Tensor:
        q, k, v = (
            value.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for value in (query, *pair.chunk(2, -1))
        )
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def _feed(self, streams: _Stream, size: tuple[int, int]) -> _Stream:
        around = self.mlp["dwconv"]["dwconv"]
        wide = [around(_map(value, size)) for value in self.mlp["fc1"](streams)]
        found: _Stream = self.mlp["fc2"]([F.gelu(_tokens(value)) for value in wide])
        return found


class _Encoder(nn.Module):
    """Stages of blocks behind overlapping patches."""

    def __init__(self, size: MitSize, count: int, in_dim: int) -> None:
        super().__init__()
        self.depths = size.depths
        for number, (dim, depth) in enumerate(zip(size.dims, size.depths, strict=True), 1):
            kernel, stride = size.stem if number == 1 else (3, 2)
            patches = nn.Conv2d(in_dim, dim, kernel, stride=stride, padding=kernel // 2)
            embed = {"proj": _Each(patches), "norm": _Norms(count, dim)}
            blocks = nn.ModuleList(
                _Block(
                    count,
                    dim,
                    num_heads=size.num_heads[number - 1],
                    reduction=size.reductions[number - 1],
                    expansion=size.expansion,
                )
                for _ in range(depth)
            )
            self.add_module(f"patch_embed{number}", nn.ModuleDict(embed))
            self.add_module(f"block{number}", blocks)
            self.add_module(f"norm{number}", _Norms(count, dim))
            in_dim = dim

    @property
    def blocks(self) -> list[nn.Module]:
        """All of them in a row."""
        return [block for k in range(len(self.depths)) for block in self.get_submodule(f"block{k + 1}")]

    def forward(self, streams: _Stream, fusions: Iterable[nn.Module], penalties: _Stream) -> list[_Stream]:
        """Maps of the streams after each stage."""
        fusion = iter(fusions)
        found: list[_Stream] = []
        for number in range(1, len(self.depths) + 1):
            embed = self.get_submodule(f"patch_embed{number}")
            streams = embed["proj"](streams)
            size = (streams[0].shape[-2], streams[0].shape[-1])
            streams = embed["norm"]([_tokens(value) for value in streams])
            for block in self.get_submodule(f"block{number}"):
                streams = block(streams, size, next(fusion), penalties)
            normed = self.get_submodule(f"norm{number}")(streams)
            streams = [_map(value, size) for value in normed]
            found.append(streams)
        return found


class _Head(nn.Module):
    """All stages mapped to one width, enlarged, put beside each other, joined and classified."""

    def __init__(self, dims: Sequence[int], dim: int, num_labels: int, dropout: float) -> None:
        super().__init__()
        for number, own in enumerate(dims, 1):
            self.add_module(f"linear_c{number}", nn.ModuleDict({"proj": nn.Linear(own, dim)}))
        join = nn.Conv2d(dim * len(dims), dim, 1, bias=False)
        self.linear_fuse = nn.ModuleDict({"conv": join, "bn": nn.BatchNorm2d(dim)})
        self.linear_pred = nn.Conv2d(dim, num_labels, 1)
        self.dropout = nn.Dropout2d(dropout)

    def train(self, mode: bool = True) -> Self:
        """Training, or not; the statistics of the norm stay as they are, as published."""
        super().train(mode)
        self.linear_fuse["bn"].eval()
        return self

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        size = (stages[0].shape[-2], stages[0].shape[-1])
        mapped = [self._mapped(number, stage, size) for number, stage in enumerate(stages, 1)]
        joined = self.linear_fuse["bn"](self.linear_fuse["conv"](torch.cat(mapped[::-1], 1)))
        found: Tensor = self.linear_pred(self.dropout(joined.relu()))
        return found

    def _mapped(self, number: int, stage: Tensor, size: tuple[int, int]) -> Tensor:
        project = self.get_submodule(f"linear_c{number}.proj")
        value = _map(project(_tokens(stage)), (stage.shape[-2], stage.shape[-1]))
        return value if number == 1 else F.interpolate(value, size, mode="bilinear", align_corners=False)


class PlainDense(nn.Module):
    """The whole network, with the weights of ours.

    Args:
        ours: On a Mix Transformer, of two modalities with a fusion in every block.
        state: Its official weights.
        fusions: Of each block, in a row.
    """

    def __init__(self, ours: DenseModel, state: Mapping[str, Tensor], fusions: Sequence[nn.Module]) -> None:
        super().__init__()
        encoder = ours.encoder
        assert isinstance(encoder, MitStreams)
        self.names = encoder.names
        self.encoder = _Encoder(encoder.size, len(self.names), encoder.in_dim)
        self.fusions = nn.ModuleList(fusions)
        labels, dim = state["decoder.linear_pred.weight"].shape[:2]
        self.decoder = _Head(encoder.dims, dim, labels, ours.head.dropout.p)
        self.alpha = nn.Parameter(state["alpha"].clone(), requires_grad=False)
        kept = {key: value for key, value in state.items() if not any(part in key for part in _FUSIONS)}
        self.encoder.load_state_dict(under(kept, "encoder."))
        counted = {"linear_fuse.bn.num_batches_tracked": torch.tensor(0)}
        self.decoder.load_state_dict(under(kept, "decoder.") | counted)
        theirs = (block for stage in encoder.stages for block in stage)
        for block, own in zip(self.encoder.blocks, theirs, strict=True):
            block.drop_path.p = own.drop_path.p

    def forward(self, inputs: Mapping[str, Tensor], penalties: _Stream | None = None) -> Tensor:
        """Predictions of both streams, and last their mean, ``[B, 3, K, H, W]``.

        Args:
            inputs: Modality name -> ``[B, C, H, W]``.
            penalties: Where the fusions' losses go.
        """
        gathered = [] if penalties is None else penalties
        stages = self.encoder([inputs[name] for name in self.names], self.fusions, gathered)
        parts = [self.decoder(own) for own in zip(*stages, strict=True)]
        shares = self.alpha.softmax(0)
        mean = torch.stack([share * part.detach() for share, part in zip(shares, parts, strict=True)]).sum(0)
        return torch.stack([*parts, mean], 1)


def plain_geminifusion(ours: DenseModel) -> PlainDense:
    """The rival of a faithful `geminifusion_mit` of two modalities."""
    names, fusions = ours.encoder.names, list[nn.Module]()
    for part in _placed(ours, "before_projection", per_stage=False):
        assert isinstance(part, PixelAttention)
        fusions.append(PixelFusion(part.state_dict(), names, num_heads=part.num_heads))
    return PlainDense(ours, official_geminifusion_mit(ours.state_dict(), names), fusions)


def plain_tokenfusion(ours: DenseModel) -> PlainDense:
    """The rival of a `tokenfusion_mit` of two modalities; a stage's blocks share one predictor of scores."""
    names = ours.encoder.names
    parts = _placed(ours, "after_attention", per_stage=True)
    made = {part: TokenFusion(part.state_dict(), names) for part in parts}
    state = official_tokenfusion_mit(ours.state_dict(), names)
    return PlainDense(ours, state, [made[part] for part in parts])


def _placed(ours: DenseModel, place: str, *, per_stage: bool) -> list[nn.Module]:
    """The exchange of each block, in a row."""
    encoder = ours.encoder
    assert isinstance(encoder, MitStreams)
    return [
        encoder.exchanges[f"{stage}_{0 if per_stage else block}_{place}"]
        for stage, depth in enumerate(encoder.size.depths)
        for block in range(depth)
    ]


def pixel_floor(ours: DenseModel, stages: Sequence[Tensor]) -> list[Part]:
    """The 14 products of pixel attention, on the tokens of each block, and a copy of both streams."""
    parts = _placed(ours, "before_projection", per_stage=False)
    return [
        (part, partial(_pixel_products, dict(part.named_parameters()), ours.encoder.names, tokens))
        for part, tokens in zip(parts, _tokens_of_blocks(ours, stages), strict=True)
    ]


def _pixel_products(weights: Mapping[str, Tensor], names: Sequence[str], tokens: Tensor) -> list[Tensor]:
    rows = _fresh(tokens)
    # Of the relation's first layer one product of the sum and one of the difference serve both directions.
    pairs = list(zip(rows, weights["relation.hidden.weight"].chunk(2, 1), strict=True))
    for name, own, other in zip(names, rows, rows[::-1], strict=True):
        pairs += [(own, weights[f"{role}.{name}.weight"]) for role in ("query", "key", "value", "out")]
        pairs += [(other, weights[f"value.{name}.weight"]), (own, weights["relation.out.weight"])]
    return [*(F.linear(value, weight) for value, weight in pairs), *(value.clone() for value in rows)]


def token_floor(ours: DenseModel, stages: Sequence[Tensor]) -> list[Part]:
    """The products of both predictors of scores, on the tokens of each block, and one choice of tokens."""
    parts = _placed(ours, "after_attention", per_stage=True)
    return [
        (part, partial(_token_products, dict(part.named_parameters()), ours.encoder.names, tokens))
        for part, tokens in zip(parts, _tokens_of_blocks(ours, stages), strict=True)
    ]


def _token_products(weights: Mapping[str, Tensor], names: Sequence[str], tokens: Tensor) -> list[Tensor]:
    rows, found = _fresh(tokens), list[Tensor]()
    for name, own, other in zip(names, rows, rows[::-1], strict=True):
        hidden = own
        for number in LAYERS:
            hidden = F.linear(hidden, weights[f"predictor.{name}.layers.{number}.weight"])
        found += [hidden, torch.where(hidden[:, :1] >= _THRESHOLD, own, other)]
    return found


def channel_floor(ours: DenseModel, stages: Sequence[Tensor]) -> list[Part]:
    """One choice of channels in each bottleneck."""
    encoder, found = ours.encoder, list[Part]()
    assert isinstance(encoder, ResNetStreams)
    for blocks, stage in zip(encoder.layers, stages, strict=True):
        for block in blocks:
            inner = stage.new_empty(2, stage.shape[0], block.conv2.out_channels, *stage.shape[2:]).normal_()
            found.append((block.exchange, partial(_channel_choice, inner)))
    return found


def _channel_choice(maps: Tensor) -> list[Tensor]:
    first, second = _fresh(maps)
    small = maps[0, 0, :, :1, :1] < 0
    return [torch.where(small, first, second), torch.where(small, second, first)]


def _tokens_of_blocks(ours: DenseModel, stages: Sequence[Tensor]) -> list[Tensor]:
    """Rows of both streams ``[2, B N, C]`` as every block has them; those of a stage are the same."""
    encoder = ours.encoder
    assert isinstance(encoder, MitStreams)
    rows = [stage.movedim(1, -1).flatten(0, 2) for stage in stages]
    both = [torch.stack([value, value.flip(0)]) for value in rows]
    return [own for own, depth in zip(both, encoder.size.depths, strict=True) for _ in range(depth)]


def _fresh(values: Tensor) -> list[Tensor]:
    """Both streams, as the start of a graph."""
    return [value.detach().requires_grad_() for value in values]


def _map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """``[B, N, C]`` to ``[B, C, H, W]``."""
    return tokens.transpose(1, 2).unflatten(2, size)


def _tokens(values: Tensor) -> Tensor:
    """``[B, C, H, W]`` to ``[B, N, C]``."""
    return values.flatten(2).transpose(1, 2)
