"""What a raw value must look like, checked at the door of an encoder; no value is read."""

from torch import Tensor

from fuseloom.errors import ModalityError

__all__ = ["check_shape"]


def check_shape(value: Tensor, *axes: str | int) -> None:
    """Refuse a value whose axes are not these: a letter stands for any size.

    Raises:
        ModalityError: another number of axes, or another size of one that is given.
    """
    fits = value.dim() == len(axes) and all(
        isinstance(wanted, str) or size == wanted for size, wanted in zip(value.shape, axes, strict=True)
    )
    if not fits:
        expected = ", ".join(map(str, axes))
        raise ModalityError(
            f"The value must have shape [{expected}] as the encoder was built, got {tuple(value.shape)}."
        )
