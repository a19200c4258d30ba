"""Ways in which an input gets worse, from not at all (severity 0) to hopeless (1).

Each is a function of values, their mask, a severity per row ``[B]`` and a generator; it gives values and mask
anew. What it draws does not depend on the severity, so the same generator makes a curve of nested damage.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from fuseloom.types import Batch

__all__ = [
    "CORRUPTIONS",
    "Corruption",
    "StreamKind",
    "block_mask",
    "blur",
    "character_noise",
    "clipping",
    "corrupt",
    "feature_draws",
    "feature_moments",
    "gaussian_noise",
    "in_numbers",
    "missing",
    "piece_noise",
    "stream_kind",
    "symbol_noise",
    "token_dropout",
    "whole_features",
]

Corruption = Callable[[Tensor, Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
StreamKind = Literal["embedding", "tokens", "image", "waveform", "text", "symbols", "pieces"]

_WIDEST_BLUR = 1 / 8
"""Deviation of the blur at severity 1, as a share of the longer side."""
_SHARPEST = 1e-3
_PRINTABLE = (32, 127)
_ROWS_AT_ONCE = 128
_OF_PIECE = 2
"""Numbers that say what a piece of a word is: which one, and of which word."""


def stream_kind(value: Tensor, mask: Tensor) -> StreamKind:
    """What a stream is, by its type and shape; a waveform is known by a mask of its samples.

    Pictures may be in bytes. Pieces are symbols of two numbers, of which the second says whose they are.

    Args:
        value: ``[B, ...]``.
        mask: Of the rows, or of their tokens, samples or pixels.

    Example:
        >>> stream_kind(torch.zeros(2, 9, dtype=torch.uint8), torch.ones(2, 9).bool())
        'text'
    """
    if value.dim() == 4:
        return "image"
    if not value.is_floating_point():
        return _symbols(value)
    if value.dim() == 2:
        return "waveform" if mask.shape == value.shape else "embedding"
    return "tokens"


def _symbols(value: Tensor) -> StreamKind:
    if value.dim() == 3 and value.shape[-1] == _OF_PIECE:
        return "pieces"
    return "text" if value.dtype == torch.uint8 and value.dim() == 2 else "symbols"


def feature_moments(value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each feature over all that is real, in a shape that fits the value.

    A picture's features are its channels; a waveform has one. NaN, such as a cell that a row of a table
    lacks, is not real.

    Args:
        value: ``[B, D]``, ``[B, N, D]``, ``[B, C, H, W]``, or a waveform ``[B, T]`` with a mask alike.
        mask: As `Batch.mask_of` gives it.

    Example:
        >>> mean, deviation = feature_moments(torch.tensor([[1.0], [3.0], [9.0]]), torch.arange(3) < 2)
        >>> mean.item(), deviation.item()
        (2.0, 1.0)
    """
    last = value.movedim(1, -1) if value.dim() == 4 else value  # features last
    last = last[..., None] if mask.shape == value.shape else last
    kept = mask.reshape(*mask.shape, *[1] * (last.dim() - 1 - mask.dim())).expand(last.shape[:-1])
    real = last[kept]  # [all that is real, D]
    mean = real.nanmean(0).nan_to_num(0)
    deviation = (real - mean).square().nanmean(0).sqrt().nan_to_num(0)
    shape = (-1, 1, 1) if value.dim() == 4 else (-1,)
    return mean.view(shape), deviation.view(shape)


def gaussian_noise(
    value: Tensor, mask: Tensor, severity: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Add normal noise of ``severity`` times the deviation of each feature over the rows.

    A feature of vectors that only takes whole numbers, such as the codes of a category, is not shifted but
    drawn anew with probability ``severity``, as `feature_draws` does.
    """
    _, deviation = feature_moments(value, mask)
    noise = torch.randn(value.shape, generator=generator, dtype=value.dtype).to(value.device)
    worse = value + _per_row(severity, value) * deviation * noise
    if (whole := whole_features(value, mask)).any():
        drawn = _exchanged(value, feature_draws(value, mask, generator), severity, generator)
        worse = torch.where(whole, drawn, worse)
    return worse, mask


def whole_features(value: Tensor, mask: Tensor) -> Tensor:
    """Which features ``[D]`` of vectors ``[B, D]`` only take whole numbers; of other streams none ``[1]``.

    Noise would make of a code what is none, and of a count what nobody counts.

    Args:
        value: ``[B, ...]``.
        mask: As `Batch.mask_of` gives it.

    Example:
        >>> whole_features(torch.tensor([[2.0, 0.5], [1.0, 3.0]]), torch.ones(2).bool())
        tensor([ True, False])
    """
    if stream_kind(value, mask) != "embedding" or not mask.any():
        return torch.zeros(1, dtype=torch.bool, device=value.device)
    real = value[mask]
    return ((real == real.round()) | real.isnan()).all(0)


def feature_draws(value: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
    """Vectors ``[B, D]`` of which each feature is that of some real row, for each feature another one.

    Example:
        >>> feature_draws(torch.tensor([[4.0, 7.0]] * 2), torch.ones(2).bool(), torch.Generator())
        tensor([[4., 7.],
                [4., 7.]])
    """
    real = value[mask]
    rows = torch.randint(len(real), value.shape, generator=generator).to(value.device)
    return real.gather(0, rows)


def token_dropout(
    value: Tensor, mask: Tensor, severity: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mask each token with probability ``severity``."""
    return value, mask & (_uniform(mask, generator) >= _per_row(severity, mask))


def missing(
    value: Tensor, mask: Tensor, severity: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mask the whole modality of a row with probability ``severity``."""
    kept = _uniform(severity, generator) >= severity
    return value, mask & _per_row(kept, mask)


def blur(value: Tensor, mask: Tensor, severity: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blur a picture by a Gaussian whose deviation is ``severity`` times an eighth of the longer side."""
    deviation = (severity * max(value.shape[2:]) * _WIDEST_BLUR).clamp(min=_SHARPEST).to(value.dtype)
    parts = []
    for start in range(0, len(value), _ROWS_AT_ONCE):  # the weights of many rows would fill the memory
        rows = slice(start, start + _ROWS_AT_ONCE)
        down, across = (_blur_weights(size, deviation[rows]) for size in value.shape[2:])
        parts.append(down[:, None] @ value[rows] @ across[:, None].mT)
    return torch.cat(parts), mask


def _blur_weights(size: int, deviation: Tensor) -> Tensor:
    """What each place takes of each other, ``[B, size, size]``; rows sum to one, at the borders too."""
    places = torch.arange(size, device=deviation.device, dtype=deviation.dtype)
    distance = (places[:, None] - places) / deviation[:, None, None]
    return (-distance.square() / 2).softmax(-1)


def block_mask(
    value: Tensor, mask: Tensor, severity: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Cover a block of a picture, ``severity`` of its area, by the mean of each channel over the rows."""
    inside = torch.ones(len(value), 1, 1, dtype=torch.bool, device=value.device)
    for axis, size in ((1, value.shape[2]), (2, value.shape[3])):
        side = severity.sqrt() * size
        start = _uniform(severity, generator) * (size - side)
        places = torch.arange(size, device=value.device) + 0.5
        covered = (places >= start[:, None]) & (places < (start + side)[:, None])  # [B, size]
        inside = inside & covered.unsqueeze(3 - axis)
    mean, _ = feature_moments(value, mask)
    return torch.where(inside[:, None], mean, value), mask


def clipping(
    value: Tensor, mask: Tensor, severity: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Cut a waveform off beyond ``1 - severity`` times its peak."""
    real = mask if mask.shape == value.shape else mask[:, None].expand_as(value)
    peak = value.masked_fill(~real, 0).abs().amax(1)
    limit = ((1 - severity) * peak)[:, None].to(value.dtype)
    return torch.where(real, value.clamp(-limit, limit), value), mask


def character_noise(
    value: Tensor, mask: Tensor, severity: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Replace each byte of a text with probability ``severity`` by a printable character drawn at random."""
    drawn = torch.randint(*_PRINTABLE, value.shape, generator=generator).to(value)
    return _exchanged(value, drawn, severity, generator), mask


def symbol_noise(
    value: Tensor, mask: Tensor, severity: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Replace each symbol with probability ``severity`` by one drawn from all that are real.

    A symbol of several numbers, such as a word of its letters, is replaced as a whole.
    """
    real = value[mask] if mask.any() else value.reshape(-1, *value.shape[mask.dim() :])
    drawn = real[torch.randint(len(real), mask.shape, generator=generator).to(value.device)]
    chosen = _uniform(mask, generator) < _per_row(severity, mask.float())
    return torch.where(chosen.reshape(*mask.shape, *[1] * (value.dim() - mask.dim())), drawn, value), mask


def piece_noise(
    value: Tensor, mask: Tensor, severity: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Do as `symbol_noise` does with pieces ``[B, T, 2]``, and leave each with the word that it is of."""
    noise, mask = symbol_noise(value[..., :1], mask, severity, generator)
    return torch.cat([noise, value[..., 1:]], -1), mask


CORRUPTIONS: Mapping[StreamKind, Mapping[str, Corruption]] = {
    "embedding": {"gaussian_noise": gaussian_noise, "missing": missing},
    "tokens": {"gaussian_noise": gaussian_noise, "token_dropout": token_dropout, "missing": missing},
    "image": {"gaussian_noise": gaussian_noise, "blur": blur, "block_mask": block_mask, "missing": missing},
    "waveform": {"gaussian_noise": gaussian_noise, "clipping": clipping, "missing": missing},
    "text": {"character_noise": character_noise, "token_dropout": token_dropout, "missing": missing},
    "symbols": {"symbol_noise": symbol_noise, "token_dropout": token_dropout, "missing": missing},
    "pieces": {"piece_noise": piece_noise, "token_dropout": token_dropout, "missing": missing},
}
"""Kind of stream -> name -> corruption; the first of each is what ``all modalities at once`` takes."""


def corrupt(
    rows: Batch,
    modality: str,
    corruption: Corruption,
    severity: float | Tensor,
    generator: torch.Generator,
) -> Batch:
    """The rows with one modality corrupted.

    Args:
        rows: Rows.
        modality: Which one.
        corruption: How.
        severity: Of all rows, or of each ``[B]``.
        generator: Draws what the corruption draws.

    Example:
        >>> rows = Batch(inputs={"text": torch.zeros(4, 3)})
        >>> corrupt(rows, "text", missing, 1.0, torch.Generator()).masks
        {'text': tensor([False, False, False, False])}
    """
    value, mask = rows.inputs[modality], rows.mask_of(modality)
    strength = torch.as_tensor(severity, dtype=torch.float32, device=value.device).expand(len(rows))
    numbers, back = in_numbers(value)
    worse, kept = corruption(numbers, mask, strength, generator)
    return replace(rows, inputs={**rows.inputs, modality: back(worse)}, masks={**rows.masks, modality: kept})


def in_numbers(value: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """A picture in bytes as numbers that can be blurred and averaged, and the way back; all else as it is.

    Example:
        >>> numbers, back = in_numbers(torch.full((1, 1, 1, 2), 200, dtype=torch.uint8))
        >>> back(numbers * 1.2 + 0.3)
        tensor([[[[240, 240]]]], dtype=torch.uint8)
    """
    if value.dim() < 4 or value.is_floating_point():
        return value, lambda changed: changed
    range_ = torch.iinfo(value.dtype)
    return value.float(), lambda changed: changed.round().clamp(range_.min, range_.max).to(value.dtype)


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator).to(like.device)


def _per_row(values: Tensor, like: Tensor) -> Tensor:
    """``[B]`` with as many axes as another tensor, in its type where that is floating."""
    shaped = values.view(-1, *[1] * (like.dim() - 1))
    return shaped.to(like.dtype) if like.is_floating_point() else shaped


def _exchanged(value: Tensor, drawn: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    return torch.where(_uniform(value, generator) < _per_row(severity, value), drawn, value)
