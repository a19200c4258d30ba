"""Mix Transformers (the encoders of SegFormer) of many streams: all weights shared but the norms."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError, did_you_mean
from fuseloom.models.dense.collapse import Collapse, collapsed_there
from fuseloom.models.dense.placed import PixelNorms, Placed, PlacedExchanges, Talk
from fuseloom.models.dense.stream_encoder import StreamEncoder, shared_channels
from fuseloom.nn.attention import attend
from fuseloom.nn.dropout import DropPath
from fuseloom.types import Masks, Streams, Trace

__all__ = ["MIT_SIZES", "OTHERS", "MitBlock", "MitSize", "MitStreams", "start_mit"]

OTHERS = "others"
"""Name of the stream that several modalities have become."""

_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class MitSize:
    """Widths and depths of a Mix Transformer, one number per stage."""

    dims: tuple[int, ...]
    depths: tuple[int, ...]
    num_heads: tuple[int, ...] = (1, 2, 5, 8)
    reductions: tuple[int, ...] = (8, 4, 2, 1)
    """Of the side of the map that keys and values are made from."""
    expansion: int = 4
    """Of the feedforward map."""
    stem: tuple[int, int] = (7, 4)
    """Kernel and stride of the first convolution; all others have 3 and 2."""

    def __post_init__(self) -> None:
        count = len(self.dims)
        for name in ("depths", "num_heads", "reductions"):
            if len(values := getattr(self, name)) != count:
                raise OptionError(f"{name} must be one for each of {count} stages, got {list(values)}.")
        if bad := [pair for pair in zip(self.dims, self.num_heads, strict=True) if pair[0] % pair[1]]:
            raise OptionError(f"num_heads must divide dims, got {bad[0][1]} for a width of {bad[0][0]}.")


_WIDE = (64, 128, 320, 512)
MIT_SIZES: Mapping[str, MitSize] = {
    "b0": MitSize(dims=(32, 64, 160, 256), depths=(2, 2, 2, 2)),
    "b1": MitSize(dims=_WIDE, depths=(2, 2, 2, 2)),
    "b2": MitSize(dims=_WIDE, depths=(3, 4, 6, 3)),
    "b3": MitSize(dims=_WIDE, depths=(3, 4, 18, 3)),
    "b4": MitSize(dims=_WIDE, depths=(3, 8, 27, 3)),
    "b5": MitSize(dims=_WIDE, depths=(3, 6, 40, 3)),
}
"""Name -> size, as published."""


class MitBlock(nn.Module):
    """Attention over a reduced map and a feedforward map with a convolution, each behind a norm.

    Args:
        names: Of the modalities.
        dim: Width of the tokens.
        num_heads: Attention heads.
        reduction: Of the side of the map that keys and values are made from.
        expansion: Of the feedforward map.
        drop_path: Probability that a sample's update is dropped, of each modality by itself.
        shared_norms: One norm for all modalities at each place, instead of one per modality.
    """

    def __init__(
        self,
        names: Sequence[str],
        dim: int,
        *,
        num_heads: int,
        reduction: int,
        expansion: int = 4,
        drop_path: float = 0.0,
        shared_norms: bool = False,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = PixelNorms(names, dim, shared=shared_norms)
        self.norm2 = PixelNorms(names, dim, shared=shared_norms)
        self.query, self.key_value = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.reduce = nn.Conv2d(dim, dim, reduction, stride=reduction) if reduction > 1 else None
        self.reduce_norm = PixelNorms(names if reduction > 1 else (), dim, shared=shared_norms)
        self.project = nn.Linear(dim, dim)
        wide = dim * expansion
        self.up, self.down = nn.Linear(dim, wide), nn.Linear(wide, dim)
        self.around = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, size: tuple[int, int], talk: Talk) -> Tensor:
        """Tokens of all modalities ``[M, B, N, C]`` of maps of one ``size`` to the same shape."""
        mixed = talk("before_projection", self.attend(self.norm1(tokens), size), tokens)
        update = talk("after_attention", self.project(mixed), tokens)
        changed = tokens + self._dropped(update)
        changed = changed + self._dropped(self.feed(self.norm2(changed), size))
        return talk("after_block", changed, tokens)

    def attend(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """What the heads give, beside each other, of each modality by itself."""
        query = self.query(tokens.flatten(0, 1))
        key, value = self.key_value(self._reduced(tokens, size).flatten(0, 1)).chunk(2, -1)
        return attend(query, key, value, num_heads=self.num_heads).view(tokens.shape)

    def feed(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Two linear maps, between them a convolution of each feature with its neighbours."""
        wide = _tokens(self.around(_map(self.up(tokens.flatten(0, 1)), size)))
        update: Tensor = self.down(nn.functional.gelu(wide))
        return update.view(tokens.shape)

    def _reduced(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        if self.reduce is None:
            return tokens
        reduced = _tokens(self.reduce(_map(tokens.flatten(0, 1), size)))
        normed: Tensor = self.reduce_norm(torch.unflatten(reduced, 0, tokens.shape[:2]))
        return normed

    def _dropped(self, update: Tensor) -> Tensor:
        dropped: Tensor = self.drop_path(update.flatten(0, 1))
        return dropped.view(update.shape)


class MitStreams(StreamEncoder):
    """Mix Transformer whose weights all modalities share, but for the norms, with exchanges in its blocks.

    Paper: Xie et al., 2021, arXiv:2105.15203 (SegFormer). The form is that of GeminiFusion and TokenFusion:
    a norm per modality at every place, with a constant of 1e-6. As all streams go through one stem, their
    maps have the same number of channels; a map of one channel is repeated.

    Args:
        channels: Modality name -> channels of its map, all the same, or one.
        size: Of `MIT_SIZES`, or one's own.
        exchanges: What stands in the blocks, and where; without any the streams stay apart.
        collapse: Whether all modalities but the first become one stream in each stage, see `Collapse`: they
            pass by its blocks, and take what comes out of these with them to the next. Streams are then
            the first modality and ``others``.
        drop_path: Probability that the last block's update of a sample is dropped; it grows from zero.
        shared_norms: One norm for all modalities at each place, instead of one per modality. TokenFusion's
            paper finds that this costs (published: 52.0 mIoU of 53.3).
        checkpointing: Whether blocks are evaluated again in the backward pass, for memory.

    Raises:
        ModalityError: maps of several numbers of channels, or in a call maps too small for its stages.
        OptionError: an unknown size, two exchanges at one place, exchanges for one modality, or fewer than
            three modalities of which some are to be collapsed.

    Records:
        Those of the exchanges, under ``stages.<stage>.<block>.<place>``, and of what collapses streams, under
        ``collapse.<stage>``.

    Example:
        >>> from fuseloom import create
        >>> build = lambda dims: create("token_exchange", dims)
        >>> tiny = MitSize(dims=(8, 16), depths=(1, 2), num_heads=(1, 2), reductions=(2, 1))
        >>> net = MitStreams({"rgb": 3, "depth": 1}, tiny, [Placed(build=build, per_stage=True)])
        >>> stages, _ = net({"rgb": torch.zeros(2, 3, 32, 48), "depth": torch.zeros(2, 1, 32, 48)})
        >>> [tuple(stage["depth"].shape) for stage in stages]
        [(2, 8, 8, 12), (2, 16, 4, 6)]
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        size: str | MitSize = "b0",
        exchanges: Sequence[Placed] = (),
        *,
        collapse: bool = False,
        drop_path: float = 0.1,
        shared_norms: bool = False,
        checkpointing: bool = False,
    ) -> None:
        size = _size_of(size)
        super().__init__(channels, size.dims, [size.stem[1] * 2**s for s in range(len(size.dims))])
        self.in_dim, self.size, self.checkpointing = shared_channels(self.channels), size, checkpointing
        self.names = _stream_names(list(self.channels)) if collapse else self.names
        names, count = self.names, sum(size.depths)
        rates = iter([drop_path * number / max(count - 1, 1) for number in range(count)])
        widths = (self.in_dim, *size.dims)
        kernels = [size.stem, *[(3, 2)] * (len(size.dims) - 1)]
        self.embed = nn.ModuleList(
            nn.Conv2d(into, dim, kernel, stride=stride, padding=kernel // 2)
            for into, dim, (kernel, stride) in zip(widths[:-1], size.dims, kernels, strict=True)
        )
        self.embed_norms = nn.ModuleList(
            PixelNorms(self.channels, dim, shared=shared_norms) for dim in size.dims
        )
        self.collapse = nn.ModuleList(
            Collapse(list(self.channels)[1:], dim) for dim in (size.dims if collapse else ())
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(
                MitBlock(
                    names,
                    dim,
                    num_heads=size.num_heads[stage],
                    reduction=size.reductions[stage],
                    expansion=size.expansion,
                    drop_path=next(rates),
                    shared_norms=shared_norms,
                )
                for _ in range(size.depths[stage])
            )
            for stage, dim in enumerate(size.dims)
        )
        self.norms = nn.ModuleList(PixelNorms(names, dim, shared=shared_norms) for dim in size.dims)
        self.apply(start_mit)
        self.exchanges = PlacedExchanges(names, size.dims, size.depths, exchanges)

    def run(self, streams: Streams, there: Masks, *, trace: Trace | None) -> list[Streams]:
        values = torch.stack([own.expand(-1, self.in_dim, -1, -1) for own in streams.values()])
        found: list[Streams] = []
        for stage in range(len(self.dims)):
            tokens, size = self.embedded(stage, values)
            if not self.collapse:
                values = self.run_stage(stage, tokens, size, there, trace)
                found.append(dict(zip(self.names, values.unbind(), strict=True)))
                continue
            scope = None if trace is None else trace.scope(f"collapse.{stage}")
            scaled, largest = self.collapse[stage](tokens[1:], size, there, trace=scope)
            both = torch.stack([tokens[0], largest])
            first, others = self.run_stage(stage, both, size, self.leaving(there), trace).unbind()
            found.append(dict(zip(self.names, (first, others), strict=True)))
            carried = torch.unflatten(scaled.transpose(2, 3), 3, size) + others
            values = torch.cat([first[None], carried])
        return found

    def leaving(self, there: Masks) -> Masks:
        if not self.collapse:
            return there
        first, *others = self.channels
        kept = {first: there[first]} if first in there else {}
        some = collapsed_there(there, others)
        return kept if some is None else {**kept, OTHERS: some}

    def embedded(self, stage: int, values: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Normed tokens ``[M, B, N, C]`` of maps ``[M, B, C, H, W]``, and the size of their grid."""
        flat = self.embed[stage](values.flatten(0, 1))
        size = (flat.shape[-2], flat.shape[-1])
        _check_size(size, self.size.reductions[stage], values)
        tokens: Tensor = self.embed_norms[stage](torch.unflatten(_tokens(flat), 0, values.shape[:2]))
        return tokens, size

    def run_stage(
        self, stage: int, tokens: Tensor, size: tuple[int, int], there: Masks, trace: Trace | None
    ) -> Tensor:
        """What the blocks of a stage make of its tokens, normed, as maps ``[M, B, C, H, W]``."""
        tokens = self.exchanges.run_stage(
            stage,
            self.stages[stage].children(),
            tokens,
            size,
            there=there,
            trace=trace,
            again=self.checkpointing,
        )
        normed: Tensor = self.norms[stage](tokens)
        return torch.unflatten(normed.transpose(2, 3), 3, size)


def _stream_names(names: Sequence[str]) -> tuple[str, str]:
    if len(names) < 3:
        raise OptionError(f"collapse must be of three modalities at least, got {names}. Leave it out.")
    if OTHERS in names:
        raise OptionError(f"A modality must not be called {OTHERS!r}, as what is collapsed is.")
    return names[0], OTHERS


def _size_of(size: str | MitSize) -> MitSize:
    if isinstance(size, MitSize):
        return size
    if size not in MIT_SIZES:
        raise OptionError(
            f"size must be one of {list(MIT_SIZES)}, got {size!r}.{did_you_mean(size, MIT_SIZES)}"
        )
    return MIT_SIZES[size]


def _check_size(size: tuple[int, int], reduction: int, values: Tensor) -> None:
    if min(size) < reduction:
        raise ModalityError(
            f"Maps of a stage must be at least {reduction} x {reduction} pixels for its keys, got {size[0]} "
            f"x {size[1]} of maps of {values.shape[-2]} x {values.shape[-1]}. Enlarge what is put in."
        )


def _map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """``[B, N, C]`` to ``[B, C, H, W]``."""
    return torch.unflatten(tokens.transpose(1, 2), 2, size)


def _tokens(values: Tensor) -> Tensor:
    """``[B, C, H, W]`` to ``[B, N, C]``."""
    return values.flatten(2).transpose(1, 2)


def start_mit(module: nn.Module) -> None:
    """Begin as the official code does, before pretrained weights are loaded."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=_STD)
    elif isinstance(module, nn.Conv2d):
        outgoing = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / outgoing))
    else:
        return
    assert module.bias is not None
    nn.init.zeros_(module.bias)
