"""CEN for image translation: a U-Net of many streams, whose small channels give way, and its judge."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.channel_exchange import ChannelExchange, convert_channel_exchange
from fuseloom.models.dense.ensemble import Ensemble, Weighting
from fuseloom.models.dense.model import DenseModel, StreamDecoder
from fuseloom.models.dense.renaming import Rule, renamed
from fuseloom.models.dense.stream_encoder import (
    BuildExchange,
    StreamEncoder,
    over_positions,
    run_shared,
    shared_channels,
)
from fuseloom.nn.channel_norm import MaskedInstanceNorm, TrackedInstanceNorm
from fuseloom.types import Masks, Streams, Trace

__all__ = [
    "PatchDiscriminator",
    "UNetDecoder",
    "UNetStreams",
    "cen_translation",
    "convert_cen_discriminator",
    "convert_cen_translation",
    "official_cen_translation",
]

_WIDEST = 8
_SMALLEST = 24
_SLOPE = 0.2
_DROPPED = 3
_STD = 0.02
_SCALED = partial(ChannelExchange, norm=None, threshold=0.01)


class UNetStreams(StreamEncoder):
    """Convolutions that halve the maps, shared by all streams; norms per modality, exchanges behind them.

    After Isola et al., 2017, "Image-to-Image Translation with Conditional Adversarial Networks",
    arXiv:1611.07004. The first and the last convolution have no norm, and no exchange.

    Args:
        channels: Modality name -> channels of its map, all the same, or one.
        dim: Width of the first map; it doubles up to eight times as much.
        depth: How often maps are halved; sides must be multiples of two to this number.
        exchange: Builds what stands behind each norm; None leaves the streams apart. One that reads
            ``scales`` is given those of the norms.
        tracked: Whether norms use remembered statistics in evaluation, as official checkpoints have them and
            official runs never do.

    Raises:
        ModalityError: maps of several numbers of channels; or in a call of a size that cannot be halved.
        OptionError: a depth below two.

    Example:
        >>> net = UNetStreams({"depth": 1, "edges": 1}, dim=4, depth=4)
        >>> stages, _ = net({"depth": torch.zeros(2, 1, 32, 48), "edges": torch.zeros(2, 1, 32, 48)})
        >>> [tuple(stage["edges"].shape) for stage in stages]
        [(2, 4, 16, 24), (2, 8, 8, 12), (2, 16, 4, 6), (2, 32, 2, 3)]
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        *,
        dim: int = 64,
        depth: int = 8,
        exchange: BuildExchange | None = _SCALED,
        tracked: bool = False,
    ) -> None:
        if depth < 2:
            raise OptionError(f"depth must be at least 2, got {depth}.")
        dims = [dim * min(2**stage, _WIDEST) for stage in range(depth)]
        super().__init__(channels, dims, [2 ** (stage + 1) for stage in range(depth)])
        self.in_dim, inner = shared_channels(self.channels), dims[1:-1]
        self.convs = nn.ModuleList(
            nn.Conv2d(into, out, 4, stride=2, padding=1)
            for into, out in zip((self.in_dim, *dims[:-1]), dims, strict=True)
        )
        self.norms = nn.ModuleList(_norms(self.channels, width, tracked=tracked) for width in inner)
        built = [] if exchange is None else [exchange(dict.fromkeys(self.channels, width)) for width in inner]
        self.exchanges = nn.ModuleList(built)
        self.apply(_start)

    def run(self, streams: Streams, there: Masks, *, trace: Trace | None) -> list[Streams]:
        size, step = next(iter(streams.values())).shape[-2:], 2 ** len(self.convs)
        if size[0] % step or size[1] % step:
            raise ModalityError(
                f"Sides of maps must be multiples of {step}, as they are halved {len(self.convs)} times, got "
                f"{size[0]} x {size[1]}. Resize them, or lower depth."
            )
        wide = {name: value.expand(-1, self.in_dim, -1, -1) for name, value in streams.items()}
        found = [run_shared(self.convs[0], wide)]
        for layer in range(1, len(self.convs)):
            found.append(self.run_layer(layer, found[-1], there, trace))
        return found

    def run_layer(self, layer: int, streams: Streams, there: Masks, trace: Trace | None) -> Streams:
        """What a convolution other than the first makes of maps, with its norm and its exchange."""
        hidden = run_shared(partial(_leaky, self.convs[layer]), streams)
        if layer > len(self.norms):
            return hidden
        scope = None if trace is None else trace.scope(f"exchanges.{layer - 1}")
        return self._exchanged(layer - 1, hidden, there, scope)

    def _exchanged(self, index: int, streams: Streams, there: Masks, trace: Trace | None) -> Streams:
        norms = self.norms[index]
        assert isinstance(norms, nn.ModuleDict)
        normed: Streams = {name: norms[name](value) for name, value in streams.items()}
        if not self.exchanges:
            return normed
        exchange = self.exchanges[index]
        assert isinstance(exchange, nn.Module)
        reads = {}
        if "scales" in exchange.card.reads:  # type: ignore[union-attr, operator]
            reads["scales"] = {name: norm.weight for name, norm in norms.items()}
        changed: Streams = exchange(normed, over_positions(there, normed, feature=1), trace=trace, **reads)
        return changed


class UNetDecoder(StreamDecoder):
    """Convolutions that double the maps; each reads also what the encoder had at that size.

    Args:
        names: Of the modalities.
        dims: Width after each stage of the encoder.
        channels: Of the pictures made.
        dropout: Of the three coarsest maps; pix2pix has it instead of noise.
        tracked: As of `UNetStreams`.
    """

    def __init__(
        self,
        names: Sequence[str],
        dims: Sequence[int],
        channels: int = 3,
        *,
        dropout: float = 0.5,
        tracked: bool = False,
    ) -> None:
        super().__init__()
        self.names, outs = tuple(names), [*dims[-2::-1], channels]
        ins = [dims[-1], *(2 * width for width in dims[-2::-1])]
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(into, out, 4, stride=2, padding=1) for into, out in zip(ins, outs, strict=True)
        )
        self.norms = nn.ModuleList(_norms(names, width, tracked=tracked) for width in outs[:-1])
        self.dropout = nn.Dropout(dropout)
        self.apply(_start)

    def forward(self, stages: Sequence[Streams], there: Masks) -> Streams:
        """Maps after each stage to pictures ``[B, channels, H, W]`` in [-1, 1], as large as the input."""
        values = {name: stages[-1][name] for name in self.names}
        for index, norms in enumerate(self.norms):
            assert isinstance(norms, nn.ModuleDict)
            wide = run_shared(partial(_rectified, self.convs[index]), values)
            wide = {name: norms[name](value) for name, value in wide.items()}
            if index < _DROPPED:
                wide = {name: self.dropout(value) for name, value in wide.items()}
            values = {name: torch.cat([value, stages[-2 - index][name]], 1) for name, value in wide.items()}
        painted = run_shared(partial(_rectified, self.convs[-1]), values)
        return {name: value.tanh() for name, value in painted.items()}


def cen_translation(  # noqa: PLR0913  one option per choice
    channels: Mapping[str, int],
    out_channels: int = 3,
    *,
    dim: int = 64,
    depth: int = 8,
    exchange: BuildExchange | None = _SCALED,
    weighting: Weighting = "learned",
    dropout: float = 0.5,
    tracked: bool = False,
) -> DenseModel:
    """CEN's generator: any set of maps to one picture, made by each and by their weighted mean.

    Paper: Wang et al., 2020, arXiv:2011.05005. The published runs exchange any channel of small scale
    (``partial(ChannelExchange, norm=None, threshold=0.01, faithful=True)``), sum the loss of scales with a
    coefficient of 1e-3, and keep the dropout at test time.

    Args:
        channels: Modality name -> channels of its map.
        out_channels: Of the picture.
        dim: Width of the first map.
        depth: How often maps are halved: 8 for 256 x 256 pixels as published, 6 for 64 x 64.
        exchange: Stands behind each norm of the encoder, which gives it its scales; None leaves the streams
            apart.
        weighting: Of the ensemble.
        dropout: Of the three coarsest maps of the decoder.
        tracked: As of `UNetStreams`.

    Example:
        >>> model = cen_translation({"depth": 1, "edges": 1}, dim=4, depth=4)
        >>> model({"depth": torch.zeros(2, 1, 32, 48), "edges": torch.zeros(2, 1, 32, 48)}).shape
        torch.Size([2, 3, 3, 32, 48])
    """
    wanted = exchange if len(channels) > 1 else None
    encoder = UNetStreams(channels, dim=dim, depth=depth, exchange=wanted, tracked=tracked)
    decoder = UNetDecoder(encoder.names, encoder.dims, out_channels, dropout=dropout, tracked=tracked)
    return DenseModel(encoder, decoder, Ensemble(encoder.names, weighting=weighting))


class PatchDiscriminator(nn.Module):
    """Tells for each patch of 70 pixels whether a picture is the real one of its input, for all streams.

    Args:
        channels: Of an input map.
        picture: Channels of the pictures.
        dim: Width of the first map.
        tracked: As of `UNetStreams`.

    Example:
        >>> judge = PatchDiscriminator(1, dim=4)
        >>> maps, images = {"depth": torch.zeros(2, 1, 64, 64)}, {"depth": torch.zeros(2, 3, 64, 64)}
        >>> judge(maps, images)["depth"].shape
        torch.Size([2, 1, 6, 6])
    """

    def __init__(self, channels: int = 3, picture: int = 3, *, dim: int = 64, tracked: bool = False) -> None:
        super().__init__()
        dims = (channels + picture, dim, 2 * dim, 4 * dim, 8 * dim, 1)
        steps = (2, 2, 2, 1, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(into, out, 4, stride=step, padding=1)
            for into, out, step in zip(dims[:-1], dims[1:], steps, strict=True)
        )
        self.norms = nn.ModuleList(_norm(width, tracked=tracked) for width in dims[2:-1])
        self.apply(_start)

    def forward(self, inputs: Mapping[str, Tensor], pictures: Mapping[str, Tensor]) -> Streams:
        """Logits ``[B, 1, h, w]`` of each stream that a picture is real.

        Args:
            inputs: Modality name -> ``[B, C, H, W]``.
            pictures: Modality name -> ``[B, picture, H, W]``, real ones or those that were made from it.

        Raises:
            ModalityError: pictures of fewer than 24 pixels on a side.
        """
        height, width = next(iter(inputs.values())).shape[-2:]
        if min(height, width) < _SMALLEST:
            raise ModalityError(
                f"Pictures must have {_SMALLEST} pixels or more on each side to be judged by patches, got "
                f"{height} x {width}. Enlarge them, or leave the judge out."
            )
        return run_shared(self._judged, {n: torch.cat([own, pictures[n]], 1) for n, own in inputs.items()})

    def _judged(self, values: Tensor) -> Tensor:
        values = self.convs[0](values)
        for conv, norm in zip(self.convs[1:-1], self.norms, strict=True):
            values = norm(_leaky(conv, values))
        return _leaky(self.convs[-1], values)


def _leaky(conv: nn.Module, values: Tensor) -> Tensor:
    return torch.as_tensor(conv(F.leaky_relu(values, _SLOPE)))


def _rectified(conv: nn.Module, values: Tensor) -> Tensor:
    return torch.as_tensor(conv(values.relu()))


def _norm(dim: int, *, tracked: bool) -> nn.Module:
    return TrackedInstanceNorm(dim) if tracked else MaskedInstanceNorm(dim)


def _norms(names: Mapping[str, int] | Sequence[str], dim: int, *, tracked: bool) -> nn.ModuleDict:
    return nn.ModuleDict({name: _norm(dim, tracked=tracked) for name in names})


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=_STD)


_of_layer = partial(Rule, first={"k": 1})
_RULES = (
    Rule("alpha", "ensemble.alpha"),
    _of_layer("conv{k}.conv.module.{what}", "encoder.convs.{k}.{what}"),
    Rule("conv{k}.insnorm_conv.insnorm_{modality}.{what}", "encoder.norms.{k}.{modality}.{what}", {"k": 2}),
    _of_layer("deconv{k}.deconv.module.{what}", "head.convs.{k}.{what}"),
    _of_layer("deconv{k}.insnorm_deconv.insnorm_{modality}.{what}", "head.norms.{k}.{modality}.{what}"),
)
_JUDGE_RULES = (
    _of_layer("conv{k}.conv.module.{what}", "convs.{k}.{what}"),
    Rule("conv{k}.insnorm.module.{what}", "norms.{k}.{what}", {"k": 2}),
)


def convert_cen_translation(
    official: Mapping[str, Tensor], names: Sequence[str], *, tracked: bool = False
) -> dict[str, Tensor]:
    """State dict of `cen_translation` whose ``ChannelExchange`` is faithful, from an official generator.

    Args:
        official: Official name -> weight. Norms that nothing reads are left out.
        names: Of the modalities, in the order of the official numbers.
        tracked: Whether the model uses remembered statistics.

    Raises:
        OptionError: a name that the official model does not have.
    """
    depth = sum(key.startswith("conv") and key.endswith(".conv.module.bias") for key in official)
    unused = ("conv1.insnorm", f"conv{depth}.insnorm", f"deconv{depth}.insnorm")
    used = _kept(official, unused, tracked=tracked)
    found = renamed(used, _RULES, names, to="ours", model="a generator of CEN")
    for layer in range(depth - 2):
        width = len(found[f"encoder.convs.{layer + 1}.bias"])
        buffers = convert_channel_exchange({}, dict.fromkeys(names, width))
        found |= {f"encoder.exchanges.{layer}.{name}": value for name, value in buffers.items()}
    return found


def official_cen_translation(state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """State dict of the official generator: the inverse; norms that nothing reads are ones and zeros.

    So are statistics that ours does not remember.

    Args:
        state: Our name -> weight.
        names: Of the modalities, in the order of the official numbers.

    Raises:
        OptionError: a name that our model does not have.
    """
    kept = {key: value for key, value in state.items() if not key.startswith("encoder.exchanges.")}
    found = renamed(kept, _RULES, names, to="official", model="our generator of CEN")
    for key, bias in list(found.items()):
        for conv in ("conv", "deconv"):
            if key.startswith(conv) and key.endswith(f".{conv}.module.bias"):
                for number in range(len(names)):
                    norm = f"{key.split('.')[0]}.insnorm_{conv}.insnorm_{number}."
                    ones, zeros = torch.ones_like(bias), torch.zeros_like(bias)
                    for what, value in zip(_WHAT, (ones, zeros, zeros, ones), strict=True):
                        found.setdefault(norm + what, value)
    return found


_WHAT = ("weight", "bias", "running_mean", "running_var")


def convert_cen_discriminator(official: Mapping[str, Tensor], *, tracked: bool = False) -> dict[str, Tensor]:
    """State dict of `PatchDiscriminator` from an official one.

    Arguments and errors are those of `convert_cen_translation`.
    """
    used = _kept(official, ("conv1.insnorm", "conv5.insnorm"), tracked=tracked)
    return renamed(used, _JUDGE_RULES, (), to="ours", model="a discriminator of CEN")


def _kept(official: Mapping[str, Tensor], unused: tuple[str, ...], *, tracked: bool) -> dict[str, Tensor]:
    bare = {key.removeprefix("module."): value for key, value in official.items()}
    return {
        key: value
        for key, value in bare.items()
        if not key.startswith(unused) and (tracked or ".running_" not in key)
    }
