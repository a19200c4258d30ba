"""ResNet of many streams: convolutions shared, norms per modality, an exchange in every bottleneck."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.exchange.channel_exchange import ChannelExchange
from fuseloom.models.dense.stream_encoder import (
    BuildExchange,
    StreamEncoder,
    norm_owners,
    over_positions,
    run_shared,
    shared_channels,
)
from fuseloom.nn.channel_norm import MaskedBatchNorm
from fuseloom.types import Masks, Streams, Trace

__all__ = ["ResNetBottleneck", "ResNetStreams"]

_EXPANSION = 4
_STAGES = 4


class ResNetBottleneck(nn.Module):
    """Three convolutions around a skip; behind the second norm, before its ReLU, the modalities may talk.

    An exchange that has norms of its own, as `ChannelExchange` by default, stands in the place of the norm.

    Args:
        names: Of the modalities.
        in_dim: Channels of the input.
        dim: Channels inside; four times as many come out.
        stride: Of the second convolution and of the skip.
        exchange: Builds the exchange; None leaves the streams apart.
        shared_norms: One norm for all modalities at each place, instead of one per modality.

    Raises:
        OptionError: shared norms beside an exchange that has norms per modality.
    """

    def __init__(
        self,
        names: Sequence[str],
        in_dim: int,
        dim: int,
        *,
        stride: int = 1,
        exchange: BuildExchange | None = None,
        shared_norms: bool = False,
    ) -> None:
        super().__init__()
        out_dim = dim * _EXPANSION
        self.conv1 = nn.Conv2d(in_dim, dim, 1, bias=False)
        self.norm1 = _Norms(names, dim, shared=shared_norms)
        self.conv2 = nn.Conv2d(dim, dim, 3, stride=stride, padding=1, bias=False)
        self.exchange = None if exchange is None else exchange(dict.fromkeys(names, dim))
        normed = isinstance(self.exchange, ChannelExchange) and len(self.exchange.norm) > 0
        if normed and shared_norms:
            raise OptionError(
                "shared_norms must be False beside this exchange, got True: a channel gives way by the scale "
                "that the norm of its own modality has learnt. Leave the exchange out."
            )
        self.norm2 = _Norms([] if normed else names, dim, shared=shared_norms)
        self.conv3 = nn.Conv2d(dim, out_dim, 1, bias=False)
        self.norm3 = _Norms(names, out_dim, shared=shared_norms)
        changes = stride > 1 or in_dim != out_dim
        self.skip = nn.Conv2d(in_dim, out_dim, 1, stride=stride, bias=False) if changes else None
        self.skip_norm = _Norms(names if changes else [], out_dim, shared=shared_norms)

    def forward(self, streams: Streams, there: Masks, *, trace: Trace | None = None) -> Streams:
        """Maps ``[B, C, H, W]`` of all modalities to those of the block.

        Args:
            streams: Zero in samples that lack the modality.
            there: Modality name -> ``[B]``; one that is not in it is there in all samples.
            trace: Collects losses and records of the exchange.
        """
        hidden = self.norm1(run_shared(self.conv1, streams), there)
        hidden = run_shared(lambda joined: self.conv2(joined.relu()), hidden)
        hidden = self.norm2(hidden, there)
        if self.exchange is not None:
            hidden = self.exchange(hidden, over_positions(there, hidden, feature=1), trace=trace)
        hidden = run_shared(lambda joined: self.conv3(joined.relu()), hidden)
        hidden = self.norm3(hidden, there)
        passed = streams
        if self.skip is not None:
            passed = self.skip_norm(run_shared(self.skip, streams), there)
        return {name: (value + passed[name]).relu() for name, value in hidden.items()}


class ResNetStreams(StreamEncoder):
    """ResNet of bottlenecks whose weights all modalities share, but for the batch norms.

    After He et al., 2016, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, with the stride
    in the 3x3 convolution. As all streams go through one stem, their maps have the same number of channels;
    a map of one channel is repeated.

    Args:
        channels: Modality name -> channels of its map, all the same, or one.
        depths: Blocks of each of the four stages.
        dim: Width of the stem and of the first stage inside its blocks; it doubles with each stage.
        exchange: Builds the exchange of each bottleneck from modality name -> width; None leaves the streams
            apart.
        fixed_statistics: Whether norms keep their statistics, and use them, in training too; scales and
            shifts are learnt all the same. For pretrained weights and small batches.
        shared_norms: One norm for all modalities at each place, whose statistics are those of all of them,
            instead of one per modality.

    Raises:
        ModalityError: maps of several numbers of channels.
        OptionError: other than four depths, one below one, or shared norms beside an exchange that has norms
            per modality.

    Example:
        >>> import torch
        >>> from fuseloom import create
        >>> build = lambda dims: create("channel_exchange", dims)
        >>> net = ResNetStreams({"rgb": 3, "depth": 1}, depths=(1, 1, 1, 1), dim=4, exchange=build)
        >>> stages, _ = net({"rgb": torch.zeros(2, 3, 64, 96), "depth": torch.zeros(2, 1, 64, 96)})
        >>> [tuple(stage["depth"].shape) for stage in stages]
        [(2, 16, 16, 24), (2, 32, 8, 12), (2, 64, 4, 6), (2, 128, 2, 3)]
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        *,
        depths: Sequence[int] = (3, 4, 23, 3),
        dim: int = 64,
        exchange: BuildExchange | None = None,
        fixed_statistics: bool = False,
        shared_norms: bool = False,
    ) -> None:
        if len(depths) != _STAGES or min(depths) < 1:
            raise OptionError(f"depths must be {_STAGES} numbers of at least 1, got {list(depths)}.")
        inner = [dim * 2**stage for stage in range(_STAGES)]
        widths = [_EXPANSION * width for width in inner]
        super().__init__(channels, widths, [4 * 2**stage for stage in range(_STAGES)])
        self.in_dim = shared_channels(self.channels)
        self.fixed_statistics = fixed_statistics
        names = list(self.channels)
        self.stem = nn.Conv2d(self.in_dim, dim, 7, stride=2, padding=3, bias=False)
        self.stem_norm = _Norms(names, dim, shared=shared_norms)
        self.layers = nn.ModuleList()
        for stage, depth in enumerate(depths):
            into = dim if stage == 0 else widths[stage - 1]
            self.layers.append(
                nn.ModuleList(
                    ResNetBottleneck(
                        names,
                        into if block == 0 else widths[stage],
                        inner[stage],
                        stride=2 if block == 0 and stage > 0 else 1,
                        exchange=exchange,
                        shared_norms=shared_norms,
                    )
                    for block in range(depth)
                )
            )

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.fixed_statistics:
            for norm in self.modules():
                if isinstance(norm, MaskedBatchNorm):
                    norm.eval()
        return self

    def run(self, streams: Streams, there: Masks, *, trace: Trace | None) -> list[Streams]:
        wide = {name: value.expand(-1, self.in_dim, -1, -1) for name, value in streams.items()}
        streams = self.stem_norm(run_shared(self.stem, wide), there)
        streams = run_shared(lambda joined: F.max_pool2d(joined.relu(), 3, stride=2, padding=1), streams)
        found: list[Streams] = []
        for stage, blocks in enumerate(self.layers):
            assert isinstance(blocks, nn.ModuleList)
            for index, block in enumerate(blocks):
                scope = None if trace is None else trace.scope(f"layers.{stage}.{index}")
                streams = block(streams, there, trace=scope)
            found.append(streams)
        return found


class _Norms(nn.ModuleDict):
    """A batch norm of each modality, or one for all; without any, values stay as they are."""

    def __init__(self, names: Iterable[str], dim: int, *, shared: bool) -> None:
        super().__init__({owner: MaskedBatchNorm(dim) for owner in norm_owners(names, shared=shared)})

    def forward(self, streams: Streams, there: Masks) -> Streams:
        if not self:
            return streams
        masks = over_positions(there, streams, feature=1)
        if len(self) == 1:
            (norm,) = self.values()
            joined = _joined(masks, streams)
            return run_shared(lambda values: norm(values, joined), streams)
        return {name: self[name](value, masks.get(name)) for name, value in streams.items()}


def _joined(masks: Masks, streams: Streams) -> Tensor | None:
    """Masks of all streams, as one batch."""
    if not masks:
        return None
    every = (value.new_ones((), dtype=torch.bool).expand(value[:, 0].shape) for value in streams.values())
    return torch.cat([masks.get(name, real) for name, real in zip(streams, every, strict=True)])
