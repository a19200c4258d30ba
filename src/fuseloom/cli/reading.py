"""How a source is read: the options that all commands share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from fuseloom.data import ReadOptions

__all__ = ["read_options", "reading"]

F = TypeVar("F", bound=Callable[..., Any])

_KINDS = (
    "number",
    "category",
    "classes",
    "labels",
    "text",
    "image",
    "map",
    "audio",
    "array",
    "series",
    "embedding",
    "ignore",
)
_NAMES = (
    *("target", "text", "tabular", "image", "map", "audio", "array"),
    *("labels", "id_column", "split_column", "group_column"),
)
_OPTIONS = (
    click.option("--target", help="Column to predict, or key of labels.csv."),
    click.option("--labels", metavar="FILE", help="What labels in maps are called: label,name per line."),
    click.option("--text", multiple=True, metavar="[NAME=]COL", help="A text column: one modality each."),
    click.option(
        "--tabular",
        multiple=True,
        metavar="[NAME=]COL,COL",
        help="Number and category columns: one modality.",
    ),
    click.option("--image", multiple=True, metavar="[NAME=]COL", help="A column of paths of pictures."),
    click.option(
        "--map", multiple=True, metavar="[NAME=]COL", help="A column of paths of maps, such as depth."
    ),
    click.option("--audio", multiple=True, metavar="[NAME=]COL", help="A column of paths of recordings."),
    click.option("--array", multiple=True, metavar="[NAME=]COL", help="A column of paths of .npy files."),
    click.option(
        "--kind", "kinds", multiple=True, metavar="COL=KIND", help=f"What it holds: {', '.join(_KINDS)}."
    ),
    click.option("--id", "id_column", metavar="COL", help="Column that names the rows."),
    click.option("--split", "split_column", metavar="COL", help="Column with train, valid and test."),
    click.option("--group", "group_column", metavar="COL", help="Column of what no two splits may share."),
)


def reading(command: F) -> F:
    """Give a command the options that say how its source is read; `read_options` takes them.

    Example:
        >>> @click.command()
        ... @reading
        ... def show(**options: object) -> None:
        ...     print(read_options(options).text)
        >>> show(["--text", "review"], standalone_mode=False)
        ('review',)
    """
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_options(options: dict[str, Any], *, fold_columns: tuple[str, ...] = ()) -> "ReadOptions":
    """Take what `reading` gave out of a command's options.

    Args:
        options: Of the command; those of other kinds stay.
        fold_columns: Columns of folds, which each command spells in its own way.

    Raises:
        BadParameter: a kind that is none.
    """
    from fuseloom.data import ReadOptions

    kinds = _kinds(options.pop("kinds"))
    return ReadOptions(kinds=kinds, fold_columns=fold_columns, **{n: options.pop(n) for n in _NAMES})


def _kinds(pairs: tuple[str, ...]) -> dict[str, Any]:
    kinds = {}
    for pair in pairs:
        column, equals, kind = pair.rpartition("=")
        if not equals or kind not in _KINDS:
            raise click.BadParameter(
                f"must be COLUMN=KIND with {', '.join(_KINDS[:-1])} or {_KINDS[-1]}, got {pair!r}.",
                param_hint="--kind",
            )
        kinds[column] = kind
    return kinds
