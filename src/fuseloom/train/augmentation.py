"""Pictures and maps that training sees changed at random, so that a model does not learn what that alters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fuseloom.errors import MissingExtraError, OptionError, did_you_mean
from fuseloom.train.published_augmentation import GeminiFusionScene
from fuseloom.types import Batch

__all__ = ["Augmentation"]

_Transform = Callable[..., Any]

_JOINT, _ALL = "+", "*"
"""Between modalities that change together, and what stands for all that have pixels."""
_LABELS, _PICTURES = 3, 4
"""Axes of maps of labels, and of pictures."""
_OWN: Mapping[str, type] = {"GeminiFusionScene": GeminiFusionScene}
"""Name -> what torchvision does not have; it takes the parts of a scene as torchvision's transforms do."""


class Augmentation:
    """Random transforms of torchvision, each row of a batch its own.

    Modalities that see one scene change together: of ``photo+depth`` both are mirrored, or none. Maps of
    numbers go where pictures go, and keep their numbers: a change of colour passes them by, and what lies
    between two pixels is that of the nearest. So do maps of labels to learn, ``[B, H, W]``, and pictures to
    make, ``[B, C, H, W]``, which go with every modality that moves; what a crop adds around them does not
    count. Only with them may a crop be smaller than the rows were, of all modalities alike.

    Args:
        settings: Modality of pictures or maps, several with ``+`` between them, or ``*`` for all that there
            are -> name of a transform of ``torchvision.transforms.v2``, or ``GeminiFusionScene`` -> its
            options; transforms are done in their order.

    Raises:
        MissingExtraError: torchvision is not installed.
        OptionError: there is no such transform, or it does not take the options; a modality is named twice;
            in a call, one that is not there or is neither pictures in bytes nor maps, or such as a transform
            leaves of another size than it had, or than maps of labels beside it.

    Example:
        >>> turn = Augmentation({"photo": {"RandomHorizontalFlip": {"p": 1.0}}})
        >>> pictures = torch.arange(12, dtype=torch.uint8).view(1, 3, 1, 4)
        >>> turn(Batch(inputs={"photo": pictures})).inputs["photo"][0, 0]
        tensor([[3, 2, 1, 0]], dtype=torch.uint8)
    """

    def __init__(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        self.transforms = {
            tuple(names.split(_JOINT)): _sequence(wanted) for names, wanted in settings.items() if wanted
        }
        every = [name for names in self.transforms for name in names]
        if twice := [name for name in every if every.count(name) > 1]:
            raise OptionError(f"augment must name each modality once, got {twice[0]!r} twice.")

    def __call__(self, batch: Batch) -> Batch:
        """The same rows changed, drawn from torch's global generator.

        A mask of pixels, ``[B, H, W]``, goes where its picture or map goes.
        """
        inputs, masks, target = dict(batch.inputs), dict(batch.masks), batch.target
        parts = _parts(target)
        for names, transform in self.transforms.items():
            values = {name: _seen(batch, name) for name in _named(names, batch)}
            known = {
                name: mask for name in values if (mask := masks.get(name)) is not None and mask.dim() == 3
            }
            maps = [mask.to(torch.uint8) for mask in known.values()]
            changed = _changed(transform, values, [*maps, *parts])
            for name, value in values.items():
                inputs[name] = changed.pop(0)
                _check_size(inputs[name], value, name, labelled=bool(parts))
            masks |= {name: changed.pop(0).bool() for name in known}
            _check_moved(changed, parts, inputs, values)
            parts = changed
        if parts:
            target = _joined(parts)
        return replace(batch, inputs=inputs, masks=masks, target=target)


def _check_size(after: Tensor, before: Tensor, name: str, *, labelled: bool) -> None:
    """Refuse other sizes than before; with a target of pixels, only rows of several sizes."""
    kept = before.shape[:-2] + (after.shape[-2:] if labelled else before.shape[-2:])
    if after.shape == kept and after.dtype == before.dtype:
        return
    wanted = "all rows of one size" if labelled else "what is seen as large as it is"
    raise OptionError(
        f"augment must leave {wanted}, {_said(before)}, got {_said(after)} of {name!r}. Give the transform "
        "the size that it has."
    )


def _parts(target: Tensor | None) -> list[Tensor]:
    """Maps of a target of pixels, of which 0 does not count, as transforms fill with it what they add.

    Of labels they are one higher; of pictures they are the numbers, and which of them are known.
    """
    if target is not None and target.dim() == _LABELS and target.dtype == torch.uint8:
        return [target + 1]
    if target is not None and target.dim() == _PICTURES:
        return [target.nan_to_num(), (~target.isnan()).to(torch.uint8)]
    return []


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """The target of these."""
    if len(parts) == 1:
        return parts[0] - 1
    return torch.where(parts[1].bool(), parts[0], torch.nan)


def _named(names: Sequence[str], batch: Batch) -> Sequence[str]:
    if _ALL not in names:
        return names
    return [name for name, value in batch.inputs.items() if value.dim() == _PICTURES]


def _check_moved(
    after: Sequence[Tensor],
    before: Sequence[Tensor],
    inputs: Mapping[str, Tensor],
    moved: Mapping[str, Tensor],
) -> None:
    """Refuse targets that went with some modalities and not with all."""
    left = [name for name, value in inputs.items() if value.dim() == _PICTURES and name not in moved]
    if left and any(
        one.shape != old.shape or not one.equal(old) for one, old in zip(after, before, strict=True)
    ):
        raise OptionError(
            f"augment must move all that is at the target's pixels together, got {[*moved]} without "
            f"{left[0]!r}. Name them all, {_JOINT.join([*moved, *left])}, or {_ALL!r}."
        )


def _sequence(wanted: Mapping[str, Any]) -> _Transform:
    try:
        from torchvision.transforms import v2
    except ImportError:
        raise MissingExtraError("augment needs torchvision. Run: pip install 'fuseloom[vision]'") from None
    known: dict[str, Any] = {**_OWN} | {
        name: kind
        for name, kind in vars(v2).items()
        if isinstance(kind, type) and issubclass(kind, v2.Transform) and kind is not v2.Transform
    }
    built = []
    for name, options in wanted.items():
        if name not in known:
            raise OptionError(
                f"augment must name transforms of torchvision, got {name!r}.{did_you_mean(name, known)}"
            )
        try:
            built.append(known[name](**_filled(options or {})))
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"augment must give {name} the options it takes, got {options}: {error}."
            ) from None
    composed: _Transform = v2.Compose(built)
    return composed


def _filled(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with a ``fill`` of pictures alone: in maps and labels a shade of grey would be a number."""
    from torchvision.tv_tensors import Image

    if "fill" not in options:
        return dict(options)
    return {**options, "fill": {Image: options["fill"], "others": 0}}


def _seen(batch: Batch, name: str) -> Tensor:
    """Pictures or maps of that name."""
    if name not in batch.inputs:
        hint = did_you_mean(name, batch.inputs)
        raise OptionError(f"augment must name modalities, {sorted(batch.inputs)}, got {name!r}.{hint}")
    value = batch.inputs[name]
    if value.dim() != 4 or not (value.dtype == torch.uint8 or value.is_floating_point()):
        raise OptionError(
            "augment must name pictures in bytes or maps of numbers, [B, C, H, W], got "
            f"{_said(value)} of {name!r}."
        )
    return value


def _changed(transform: _Transform, values: Mapping[str, Tensor], maps: Sequence[Tensor]) -> list[Tensor]:
    """All of these, and behind them maps of numbers over their pixels, row by row."""
    from torchvision.tv_tensors import Image, Mask

    kinds = [
        *(Image if value.dtype == torch.uint8 else Mask for value in values.values()),
        *[Mask] * len(maps),
    ]
    parts = [*values.values(), *maps]
    rows = [
        transform([kind(part) for kind, part in zip(kinds, of_row, strict=True)])
        for of_row in zip(*parts, strict=True)
    ]
    return [_stacked([row[place] for row in rows]) for place in range(len(parts))]


def _stacked(rows: list[Tensor]) -> Tensor:
    """As plain tensors; where sizes differ, the first row, for the error to name."""
    plain = [row.as_subclass(Tensor) for row in rows]
    return torch.stack(plain) if len({row.shape for row in plain}) == 1 else plain[0]


def _said(pictures: Tensor) -> str:
    return f"{list(pictures.shape)} of {str(pictures.dtype).removeprefix('torch.')}"
