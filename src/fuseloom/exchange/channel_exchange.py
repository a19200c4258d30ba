"""Channel exchange (CEN): a channel whose norm scales it to nothing takes that of the other modalities."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange._base import Exchange, check_positions
from fuseloom.nn.channel_norm import ChannelLayerNorm, MaskedBatchNorm, MaskedInstanceNorm
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["ChannelExchange", "Norm", "convert_channel_exchange"]

Norm = Literal["batch", "instance", "layer"]

_NORMS: Mapping[Norm, type[nn.Module]] = {
    "batch": MaskedBatchNorm,
    "instance": MaskedInstanceNorm,
    "layer": ChannelLayerNorm,
}
_REDUCTIONS = ("mean", "sum")


@register("channel_exchange")
class ChannelExchange(Exchange):
    r"""Norm per modality; a channel of small scale is replaced by the mean of the others' same channel.

    .. math:: z_m = \mathrm{norm}_m(x_m), \quad
        y_{m,c} = z_{m,c} \text{ if } |\gamma_{m,c}| \ge \theta \text{, else }
        \frac{1}{M - 1} \sum_{m' \ne m} z_{m',c}

    ``gamma_m`` is the scale that the norm of modality ``m`` has learnt. They start at one, and the trace's
    loss ``channel_sparsity`` draws them to zero. The choice is that of the weights, the same for every sample
    and in training, and no gradient passes through it. Every modality has channels of its own that may be
    exchanged, so a channel that is given up has a donor that keeps it. All read what was there before. A mean
    is taken over the donors that are real at a position; where none is, the modality keeps its own value.

    Streams share rank, width and positions. In the paper the modalities go through the same convolutions, and
    only the norms are apart: call one module on every stream, or give a `FusionModel` the same encoder under
    all names, and this part what comes out, before the activation. ``norm="layer"`` is the form for tokens of
    transformers. The published segmentation keeps its norms in evaluation while it trains.

    Paper: Wang et al., 2020, arXiv:2011.05005, eq. 6; tokens: Wang et al., 2022, arXiv:2204.08721.
    Differs from the official code: a channel with a small scale is exchanged only if it is one of the
    modality's own (``faithful=True``: any channel); the loss is a mean (``reduction="sum"``); more than two
    modalities, masks and absent modalities.

    Args:
        dims: Modality name -> width, the same for all.
        norm: What scales the channels: ``batch`` and ``instance`` norm over positions, or ``layer`` norm over
            channels. None takes values that a norm of yours has scaled, and reads its ``scales``.
        threshold: ``theta``, below which a scale is small.
        channels: Modality name -> its own channels; by default modality ``m`` has the ``m``-th of ``M`` equal
            parts, in the order of ``dims``.
        sparsity_weight: ``lambda``, coefficient of the loss.
        reduction: ``mean`` of the absolute scales of all own channels, or their ``sum`` as published. A mean
            needs the ``lambda`` of the sum times the number of own channels, which by default is the width.
            The published 2e-4 counts once for each modality and once for their ensemble: 6e-4 as a sum here.
        faithful: Exchange every channel of small scale, of the modality's own or not.

    Raises:
        ModalityError: widths differ, or ``channels`` names other modalities.
        OptionError: an unknown norm or reduction, a negative threshold or coefficient, or no such channel.

    Reads:
        ``scales`` where ``norm=None``: modality name -> ``[C]``, such as the ``weight`` of its norm.

    Records:
        ``<modality>.selected``: bool ``[C]``, which of its channels are replaced.

    Example:
        >>> exchange, conv = ChannelExchange({"rgb": 4, "depth": 4}), nn.Conv2d(3, 4, 3, bias=False)
        >>> images = {"rgb": torch.randn(2, 3, 8, 8), "depth": torch.randn(2, 3, 8, 8)}
        >>> out = exchange({name: conv(image) for name, image in images.items()})
        >>> out["depth"].shape
        torch.Size([2, 4, 6, 6])
    """

    card = Card(
        summary="A channel that its norm scales to nothing takes the others' mean.",
        interaction="additive",
        cost="sum_m N_m D_m, no products",
        parameters="per modality",
        arity=(2, None),
        aligned=True,
        discrete=True,
        paper="Wang et al., 2020, arXiv:2011.05005",
        code="https://github.com/yikaiw/CEN",
        differs="exchanges own channels only, the loss is a mean; masks, any number of modalities",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        norm: Norm | None = "batch",
        threshold: float = 0.02,
        channels: Mapping[str, Sequence[int]] | None = None,
        sparsity_weight: float = 0.1,
        reduction: Literal["mean", "sum"] = "mean",
        faithful: bool = False,
    ) -> None:
        super().__init__(dims)
        if len(set(self.dims.values())) > 1:
            raise ModalityError(f"Widths must be equal, got {self.dims}. Give all encoders the same width.")
        _check_options(norm, threshold, sparsity_weight, reduction)
        self.threshold, self.sparsity_weight, self.reduction = threshold, sparsity_weight, reduction
        own = _parts(self.dims) if channels is None else _checked_parts(channels, self.dims)
        open_ = {name: range(width) for name, width in self.dims.items()} if faithful else own
        self.own, self.open = _as_buffers(own, self.dims), _as_buffers(open_, self.dims)
        self.norm = nn.ModuleDict({} if norm is None else {n: _NORMS[norm](d) for n, d in self.dims.items()})
        self.by_sample = (
            norm == "instance"
        )  # or tokens of all samples are rows of one matrix, which is faster
        same = len({frozenset(part) for part in open_.values()}) == 1
        self.card = _claims(self.card, norm, symmetric=same)

    def exchange(
        self,
        streams: Streams,
        masks: Masks,
        *,
        trace: Trace | None,
        scales: Mapping[str, Tensor] | None = None,
        **reads: Any,
    ) -> Streams:
        check_positions(streams)
        gamma = self._scales(scales)
        values = {name: self._channel_second(value) for name, value in streams.items()}
        kept = {name: mask.reshape(_places(values[name])) for name, mask in masks.items()}
        normal = {n: self.norm[n](v, kept.get(n)) if n in self.norm else v for n, v in values.items()}
        small = {
            n: (g.detach().float().abs() < self.threshold) & self.open.get_buffer(n) for n, g in gamma.items()
        }
        if trace is not None:
            trace.loss("channel_sparsity", self._sparsity(gamma))
            for name, taken in small.items():
                trace.scope(name).record("selected", taken)
        out = {name: _replace(name, normal, kept, small[name]) for name in normal}
        return {name: self._as_before(value, streams[name]) for name, value in out.items()}

    def _channel_second(self, value: Tensor) -> Tensor:
        if value.dim() != 3:
            return value
        return value.transpose(1, 2) if self.by_sample else value.flatten(0, 1)

    def _as_before(self, value: Tensor, like: Tensor) -> Tensor:
        return value.transpose(1, 2) if like.dim() == 3 and self.by_sample else value.reshape(like.shape)

    def _scales(self, given: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        if self.norm:
            return {name: _weight_of(norm) for name, norm in self.norm.items()}
        if given is None or given.keys() != self.dims.keys():
            found = None if given is None else sorted(given)
            raise ModalityError(
                f"scales must be given for {sorted(self.dims)} where norm=None, got {found}. Pass the "
                "weight of each modality's norm."
            )
        for name, scale in given.items():
            if tuple(scale.shape) != (self.dims[name],):
                raise OptionError(
                    f"scales[{name!r}] must have shape {(self.dims[name],)}, got {tuple(scale.shape)}."
                )
        return given

    def _sparsity(self, gamma: Mapping[str, Tensor]) -> Tensor:
        own = {name: self.own.get_buffer(name) for name in self.dims}
        loss = reduce(add, (gamma[name].abs().masked_fill(~mask, 0).sum() for name, mask in own.items()))
        if self.reduction == "mean":
            loss = loss / reduce(add, (mask.sum() for mask in own.values())).clamp(min=1)
        return self.sparsity_weight * loss


def _weight_of(norm: nn.Module) -> Tensor:
    weight = norm.weight
    assert isinstance(weight, Tensor)
    return weight


def _replace(target: str, normal: Streams, masks: Masks, small: Tensor) -> Tensor:
    own, others = normal[target], [name for name in normal if name != target]
    taken = small.view(-1, *[1] * (own.dim() - 2))  # [C, 1, ...]
    total = reduce(add, (normal[name] for name in others))
    if not any(name in masks for name in others):
        return torch.where(taken, total / len(others) if len(others) > 1 else total, own)
    real = (masks[n][:, None].long() if n in masks else own.new_ones((), dtype=torch.long) for n in others)
    count = reduce(add, real)  # [B, 1, ...]
    return torch.where(taken & (count > 0), total / count.clamp(min=1), own)


def _places(value: Tensor) -> tuple[int, ...]:
    return (value.shape[0], *value.shape[2:])


def _check_options(norm: str | None, threshold: float, weight: float, reduction: str) -> None:
    if norm is not None and norm not in _NORMS:
        raise OptionError(f"norm must be one of {sorted(_NORMS)} or None, got {norm!r}.")
    if reduction not in _REDUCTIONS:
        raise OptionError(f"reduction must be one of {list(_REDUCTIONS)}, got {reduction!r}.")
    if threshold < 0 or weight < 0:
        raise OptionError(f"threshold and sparsity_weight must be at least 0, got {threshold} and {weight}.")


def _parts(dims: Mapping[str, int]) -> dict[str, list[int]]:
    """Equal parts of the channels, the later ones larger where they cannot be equal."""
    count, width = len(dims), next(iter(dims.values()))
    bounds = [index * width // count for index in range(count + 1)]
    return {name: list(range(*ends)) for name, ends in zip(dims, pairwise(bounds), strict=True)}


def _checked_parts(
    channels: Mapping[str, Sequence[int]], dims: Mapping[str, int]
) -> Mapping[str, Sequence[int]]:
    if channels.keys() != dims.keys():
        raise ModalityError(f"channels must be given for {sorted(dims)}, got {sorted(channels)}.")
    for name, width in dims.items():
        if outside := [c for c in channels[name] if not 0 <= c < width]:
            raise OptionError(f"channels[{name!r}] must be in [0, {width}), got {outside[0]}.")
    return channels


def _as_buffers(channels: Mapping[str, Sequence[int]], dims: Mapping[str, int]) -> nn.Module:
    holder = nn.Module()
    for name, width in dims.items():
        holder.register_buffer(name, _as_mask(channels[name], width))
    return holder


def _as_mask(channels: Sequence[int], width: int) -> Tensor:
    return torch.tensor([channel in channels for channel in range(width)])


def _claims(card: Card, norm: Norm | None, *, symmetric: bool) -> Card:
    if norm is None:
        return replace(card, reads=("scales",))
    ranks = ("tokens", "feature_map") if norm == "instance" else card.ranks
    return replace(card, symmetric=symmetric, ranks=ranks)


def convert_channel_exchange(
    official: Mapping[str, Tensor], dims: Mapping[str, int], *, norm: str = "bn"
) -> dict[str, Tensor]:
    """State dict of `ChannelExchange` with ``faithful=True`` from one norm of the official code.

    Args:
        official: ``<norm>_<number>.weight``, ``.bias``, ``.running_mean`` and ``.running_var``, as they stand
            under ``bn2`` or ``insnorm_conv``.
        dims: Those of the part, in the order of the official numbers.
        norm: ``bn``, ``insnorm`` or ``ln``.

    Raises:
        OptionError: a key that such a norm does not have.
    """
    found = {}
    numbers = {f"{norm}_{number}": name for number, name in enumerate(dims)}
    for key, value in official.items():
        owner, _, what = key.partition(".")
        if owner not in numbers:
            raise OptionError(f"official must hold {sorted(numbers)}, got {key!r} in it.")
        # Instance norms of the official code count and average what they never use.
        if what != "num_batches_tracked" and not (norm == "insnorm" and what.startswith("running_")):
            found[f"norm.{numbers[owner]}.{what}"] = value
    own, width = _parts(dims), next(iter(dims.values()))
    found |= {f"own.{name}": _as_mask(part, width) for name, part in own.items()}
    return found | {f"open.{name}": _as_mask(range(width), width) for name in dims}
