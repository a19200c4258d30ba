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

_JOINT = "+"
"""Between modalities that change together."""
_OWN: Mapping[str, type] = {"GeminiFusionScene": GeminiFusionScene}
"""Name -> what torchvision does not have; it takes the parts of a scene as torchvision's transforms do."""


class Augmentation:
    """Random transforms of torchvision, or of a published system, each row of a batch its own.

    Modalities that see one scene change together: of ``photo+depth`` both are mirrored, or none. Maps of
    numbers go where pictures go, and keep their numbers: a change of colour passes them by, and what lies
    between two pixels is that of the nearest. Where the target is a map of labels, ``[B, H, W]``, it goes
    along, and rows may become smaller or larger, all alike. What a crop adds is the transform's ``fill`` in
    pictures, zero in maps, False in their masks, and 255 in labels, which does not count.

    Args:
        settings: Modality of pictures or maps, or several with ``+`` between them -> name of a transform of
            ``torchvision.transforms.v2``, or ``GeminiFusionScene`` -> its options; transforms are done in
            their order.

    Raises:
        MissingExtraError: torchvision is not installed.
        OptionError: there is no such transform, or it does not take the options; a modality is named twice;
            in a call, one that is not there or is neither pictures in bytes nor maps, or such as a transform
            leaves of another size where the target is no map of labels; or labels that would not go where
            all that they are of goes.

    Example:
        >>> turn = Augmentation({"photo": {"RandomHorizontalFlip": {"p": 1.0}}})
        >>> pictures = torch.arange(12, dtype=torch.uint8).view(1, 3, 1, 4)
        >>> turn(Batch(inputs={"photo": pictures})).inputs["photo"][0, 0]
        tensor([[3, 2, 1, 0]], dtype=torch.uint8)
    """

    def __init__(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        groups = {tuple(names.split(_JOINT)): wanted for names, wanted in settings.items() if wanted}
        self.transforms = {names: _sequence(wanted) for names, wanted in groups.items()}
        every = [name for names in self.transforms for name in names]
        if twice := [name for name in every if every.count(name) > 1]:
            raise OptionError(f"augment must name each modality once, got {twice[0]!r} twice.")
        self.moved = [names for names, wanted in groups.items() if any(map(_moves, wanted))]
        """Modalities whose pixels go elsewhere, together."""

    def __call__(self, batch: Batch) -> Batch:
        """The same rows changed, drawn from torch's global generator.

        A mask of pixels, ``[B, H, W]``, goes where its picture or map goes.
        """
        inputs, masks, target = dict(batch.inputs), dict(batch.masks), batch.target
        labelled = target is not None and target.dim() == 3 and not target.is_floating_point()
        if labelled:
            self._check_together(batch)
        for names, transform in self.transforms.items():
            values = {name: _seen(batch, name) for name in names}
            known = {
                name: mask for name in names if (mask := masks.get(name)) is not None and mask.dim() == 3
            }
            along = [target] if target is not None and labelled and names in self.moved else []
            changed = _changed(transform, values, known, along)
            for name, value in values.items():
                inputs[name] = changed.pop(0)
                _check_left(inputs[name], value, name, size=changed[-1].shape if along else value.shape)
            masks |= {name: changed.pop(0).bool() for name in known}
            target = _counted(changed.pop(), along[0]) if along else target
        return replace(batch, inputs=inputs, masks=masks, target=target)

    def _check_together(self, batch: Batch) -> None:
        """That labels go where everything goes that they are of."""
        if not self.moved:
            return
        scene = sorted(name for name, value in batch.inputs.items() if value.dim() == 4)
        if (found := [sorted(names) for names in self.moved]) != [scene]:
            raise OptionError(
                f"augment must move all that a map of labels is of together, {_JOINT.join(scene)}, got "
                f"{' and '.join(map(_JOINT.join, found))}."
            )


def _moves(name: str) -> bool:
    """Whether a transform changes where things are, by the file of torchvision that it stands in."""
    from torchvision.transforms import v2

    return name in _OWN or getattr(v2, name).__module__.endswith("_geometry")


def _check_left(found: Tensor, before: Tensor, name: str, *, size: Sequence[int]) -> None:
    kept = before.shape[:-2] + torch.Size(size[-2:])
    if found.shape != kept or found.dtype != before.dtype:
        raise OptionError(
            f"augment must leave what is seen as large as it is, {_said(before)}, got "
            f"{_said(found)} of {name!r}. Give the transform the size that it has."
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


def _changed(
    transform: _Transform, values: Mapping[str, Tensor], known: Mapping[str, Tensor], labels: Sequence[Tensor]
) -> list[Tensor]:
    """All of these, and behind them their masks and the labels as numbers, row by row."""
    from torchvision.tv_tensors import Image, Mask

    kinds = [
        *(Image if value.dtype == torch.uint8 else Mask for value in values.values()),
        *[Mask] * (len(known) + len(labels)),
    ]
    parts = [
        *values.values(),
        *(mask.to(torch.uint8) for mask in known.values()),
        *(_shifted(one, values) for one in labels),
    ]
    rows = [
        transform([kind(part) for kind, part in zip(kinds, of_row, strict=True)])
        for of_row in zip(*parts, strict=True)
    ]
    return [_stacked([row[place] for row in rows]) for place in range(len(parts))]


def _shifted(labels: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    """Labels in bytes, one more than they are: then what does not count is zero, as what a crop adds."""
    for name, value in values.items():
        if value.shape[-2:] != labels.shape[-2:]:
            raise OptionError(
                f"A map of labels must be as large as what it is of, {list(value.shape[-2:])} of {name!r}, "
                f"got {list(labels.shape[-2:])}."
            )
    return (labels + 1).to(torch.uint8)


def _counted(shifted: Tensor, labels: Tensor) -> Tensor:
    """Labels from what `_shifted` made of them."""
    return (shifted - 1).to(labels.dtype)


def _stacked(rows: list[Tensor]) -> Tensor:
    """As plain tensors; where sizes differ, the first row, for the error to name."""
    plain = [row.as_subclass(Tensor) for row in rows]
    return torch.stack(plain) if len({row.shape for row in plain}) == 1 else plain[0]


def _said(pictures: Tensor) -> str:
    return f"{list(pictures.shape)} of {str(pictures.dtype).removeprefix('torch.')}"
