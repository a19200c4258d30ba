"""Pictures that training sees changed at random, so that a model does not learn what such changes alter."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fuseloom.errors import MissingExtraError, OptionError, did_you_mean
from fuseloom.types import Batch

__all__ = ["Augmentation"]

_Transform = Callable[..., Any]


class Augmentation:
    """Random transforms of torchvision, each row of a batch its own.

    Args:
        settings: Modality of pictures -> name of a transform of ``torchvision.transforms.v2`` -> its options;
            a modality's transforms are done in their order.

    Raises:
        MissingExtraError: torchvision is not installed.
        OptionError: there is no such transform, or it does not take the options; in a call, a modality that
            is not there or is no pictures in bytes, or pictures that a transform leaves of another size.

    Example:
        >>> turn = Augmentation({"photo": {"RandomHorizontalFlip": {"p": 1.0}}})
        >>> pictures = torch.arange(12, dtype=torch.uint8).view(1, 3, 1, 4)
        >>> turn(Batch(inputs={"photo": pictures})).inputs["photo"][0, 0]
        tensor([[3, 2, 1, 0]], dtype=torch.uint8)
    """

    def __init__(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        self.transforms = {name: _sequence(wanted) for name, wanted in settings.items() if wanted}

    def __call__(self, batch: Batch) -> Batch:
        """The same rows with their pictures changed, drawn from torch's global generator.

        A mask of pixels, ``[B, H, W]``, goes where its picture goes.
        """
        inputs, masks = dict(batch.inputs), dict(batch.masks)
        for name, transform in self.transforms.items():
            pictures, mask = _pictures(batch, name), masks.get(name)
            if mask is not None and mask.dim() == 3:
                inputs[name], masks[name] = _changed_with_masks(transform, pictures, mask)
            else:
                inputs[name] = _changed(transform, pictures)
            if inputs[name].shape != pictures.shape or inputs[name].dtype != pictures.dtype:
                raise OptionError(
                    f"augment must leave pictures as large as they are, {_said(pictures)}, got "
                    f"{_said(inputs[name])} of {name!r}. Give the transform the size that they have."
                )
        return replace(batch, inputs=inputs, masks=masks)


def _sequence(wanted: Mapping[str, Any]) -> _Transform:
    try:
        from torchvision.transforms import v2
    except ImportError:
        raise MissingExtraError("augment needs torchvision. Run: pip install 'fuseloom[vision]'") from None
    known = {
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
            built.append(known[name](**(options or {})))
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"augment must give {name} the options it takes, got {options}: {error}."
            ) from None
    composed: _Transform = v2.Compose(built)
    return composed


def _pictures(batch: Batch, name: str) -> Tensor:
    if name not in batch.inputs:
        hint = did_you_mean(name, batch.inputs)
        raise OptionError(f"augment must name modalities, {sorted(batch.inputs)}, got {name!r}.{hint}")
    pictures = batch.inputs[name]
    if pictures.dim() != 4 or pictures.dtype != torch.uint8:
        raise OptionError(
            f"augment must name pictures in bytes, [B, C, H, W] of uint8, got {_said(pictures)} of {name!r}."
        )
    return pictures


def _changed(transform: _Transform, pictures: Tensor) -> Tensor:
    from torchvision.tv_tensors import Image

    return _stacked([transform(Image(picture)) for picture in pictures])


def _changed_with_masks(transform: _Transform, pictures: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    from torchvision.tv_tensors import Image, Mask

    both = [
        transform(Image(picture), Mask(mask.to(torch.uint8)))
        for picture, mask in zip(pictures, masks, strict=True)
    ]
    return _stacked([picture for picture, _ in both]), _stacked([mask for _, mask in both]).bool()


def _stacked(rows: list[Tensor]) -> Tensor:
    """As plain tensors; where sizes differ, the first row, for the error to name."""
    plain = [row.as_subclass(Tensor) for row in rows]
    return torch.stack(plain) if len({row.shape for row in plain}) == 1 else plain[0]


def _said(pictures: Tensor) -> str:
    return f"{list(pictures.shape)} of {str(pictures.dtype).removeprefix('torch.')}"
