"""How often scenes are looked at: the options of commands that predict labels of pixels."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from fuseloom.train.saved import SavedModel

__all__ = ["look", "seeing"]

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--scales",
        metavar="S,S,...",
        help="Label pixels by the mean over scenes of these scales, such as 0.75,1.",
    ),
    click.option("--mirror", is_flag=True, help="See each scene from left to right, too."),
    click.option("--window", metavar="HxW", help="See so many pixels at a time, in windows that overlap."),
)


def seeing(command: F) -> F:
    """Give a command the options that `look` takes.

    Example:
        >>> @click.command()
        ... @seeing
        ... def show(scales, mirror, window): ...
        >>> [option.name for option in show.params]
        ['scales', 'mirror', 'window']
    """
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def look(saved: "SavedModel", *, scales: str | None, mirror: bool, window: str | None) -> None:
    """Have a model look at scenes so.

    Raises:
        BadParameter: text that is no numbers.
        OptionError: the model labels no pixels, or numbers that are out of their range.
    """
    from fuseloom.errors import OptionError
    from fuseloom.models.dense_systems import DensePredictor, Views

    if scales is None and not mirror and window is None:
        return
    if not isinstance(saved.model, DensePredictor):
        raise OptionError(
            "scales, mirror and window must be left out for models that label no pixels, got one for "
            f"{saved.task.name}."
        )
    sides = None if window is None else _numbers(window, "x", int, "--window")
    if sides is not None and len(sides) != 2:
        raise click.BadParameter(f"must be HxW, such as 480x640, got {window!r}.", param_hint="--window")
    saved.model.views = Views(
        scales=(1.0,) if scales is None else tuple(_numbers(scales, ",", float, "--scales")),
        mirror=mirror,
        window=None if sides is None else (sides[0], sides[1]),
    )


def _numbers(text: str, mark: str, read: Callable[[str], Any], hint: str) -> list[Any]:
    try:
        return [read(part) for part in text.split(mark)]
    except ValueError:
        raise click.BadParameter(
            f"must be numbers with {mark!r} between them, got {text!r}.", param_hint=hint
        ) from None
