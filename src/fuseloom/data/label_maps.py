"""Maps of labels over the pixels of a scene: what is where."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.grid import Grid
from fuseloom.data.maps import map_numbers, map_picture
from fuseloom.data.media import read_item, reason_of
from fuseloom.errors import DataError, OptionError

__all__ = ["IGNORED", "LabelFormat", "LabelMap", "read_label_format", "read_labels"]

IGNORED = 255
"""The label of pixels that are not to be learnt from or scored."""

_COLUMNS = ("label", "name", "color")
_LISTED = 12
_COLOUR = re.compile(r"#([0-9a-fA-F]{6})")

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class LabelFormat:
    """What the numbers, or the colours, of a file say is there.

    Labels are counted from 0 in the order of ``names``. A file of NYUDv2, where 0 is nothing and 1 is a wall,
    has ``LabelFormat(names=("wall", ...), numbers=(1, ...), ignored=(0,))``.

    Raises:
        OptionError: no label or more than 255, as many numbers as names are not, or a number that is two
            things.
    """

    names: tuple[str, ...] = ()
    """What labels are called; by default the numbers of the files are the labels, and their names."""
    numbers: tuple[int, ...] = ()
    """The number of each label in the files; by default 0, 1, and so on."""
    ignored: tuple[int, ...] = (IGNORED,)
    """Numbers that mean that a pixel does not count."""
    palette: tuple[tuple[Colour, int], ...] = ()
    """Red, green and blue with the number that they stand for, of pictures in colours."""
    channel: int | None = None
    """Which number is the label, from 0, of files with several per pixel; by default there must be one."""

    def __post_init__(self) -> None:
        if len(self.names) > IGNORED:
            raise OptionError(f"names must be of at most {IGNORED} labels, got {len(self.names)}.")
        if self.numbers and len(self.numbers) != len(self.names):
            raise OptionError(
                f"numbers must be one per name, {len(self.names)}, or none, got {len(self.numbers)}."
            )
        known = [*self.numbers, *self.ignored]
        if twice := sorted({one for one in known if known.count(one) > 1}):
            raise OptionError(f"numbers and ignored must each be one thing, got {twice[0]} twice.")

    def state(self) -> dict[str, Any]:
        """Plain JSON values that `from_state` takes."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Restore from `state`."""
        palette = tuple(((red, green, blue), number) for (red, green, blue), number in state["palette"])
        plain = {name: tuple(state[name]) for name in ("names", "numbers", "ignored")}
        return cls(palette=palette, channel=state.get("channel"), **plain)


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelMap:
    """The labels of one scene, read when they are needed."""

    item: Any
    """As of `read_labels`."""
    form: LabelFormat = field(default_factory=LabelFormat)

    @property
    def names(self) -> tuple[str, ...]:
        """What labels are called, if that is known."""
        return self.form.names

    def read(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Labels ``[H, W]``, ``IGNORED`` where none counts.

        Args:
            size: Height and width, to which the whole map is brought, by the nearest pixel; its own by
                default.

        Raises:
            DataError: as of `read_labels`, with the item's name.
        """
        labels = read_item(partial(read_labels, form=self.form), self.item)
        if size is None or size == labels.shape:
            return labels
        grid = Grid(height=size[0], width=size[1], squash=True)
        return labels[np.ix_(*grid.places(*labels.shape))]


def read_labels(item: Any, form: LabelFormat = LabelFormat()) -> NDArray[np.uint8]:
    """Labels ``[H, W]`` of the pixels of a scene; ``IGNORED`` for those that do not count.

    Args:
        item: As of `fuseloom.data.maps.read_map`, of whole numbers, or in the colours of a palette; a picture
            that has a palette of its own is read by its numbers.
        form: What numbers and colours mean.

    Raises:
        DataError: as of `read_map`; or a number that is no label, or a colour that is none of the palette.

    Example:
        >>> read_labels(np.array([[0, 2], [1, 255]])).tolist()
        [[0, 2], [1, 255]]
        >>> rooms = LabelFormat(names=("wall", "floor"), numbers=(1, 2), ignored=(0,))
        >>> read_labels(np.array([[0, 2], [1, 1]]), rooms).tolist()
        [[255, 1], [0, 0]]
    """
    colours = _colours(item) if form.palette else None
    numbers = (
        map_numbers(item, by_number=True, channel=form.channel)[..., 0]
        if colours is None
        else _of_palette(colours, form)
    )
    known = form.numbers if form.numbers else range(len(form.names) if form.names else IGNORED)
    look_up = _in_bytes if numbers.dtype == np.uint8 else _in_numbers
    labels = look_up(numbers, known, form.ignored)
    if (wrong := numbers[labels < 0]).size:
        raise DataError(
            f"labels must be {_said(known)}, or one of {list(form.ignored)} for pixels that do not count, "
            f"got {wrong[0]:g} in {wrong.size} of {numbers.size} pixels"
        )
    return labels.astype(np.uint8)


def _in_bytes(numbers: NDArray[Any], known: Sequence[int], ignored: Sequence[int]) -> NDArray[np.int16]:
    """Labels of numbers of a byte, which most files have, by a table; -1 where a number is none."""
    table = np.full(256, -1, dtype=np.int16)
    for label, number in [*enumerate(known), *((IGNORED, number) for number in ignored)]:
        if 0 <= number < len(table):
            table[number] = label
    labels: NDArray[np.int16] = table[numbers]
    return labels


def _in_numbers(numbers: NDArray[Any], known: Sequence[int], ignored: Sequence[int]) -> NDArray[np.int16]:
    """The same of any numbers."""
    order = np.argsort(known)
    steps = np.asarray(known, dtype=np.float64)[order]
    places = np.searchsorted(steps, numbers.astype(np.float64)).clip(max=len(steps) - 1)
    labels = np.where(steps[places] == numbers, order[places], -1)
    return np.where(np.isin(numbers, ignored), IGNORED, labels).astype(np.int16)


def read_label_format(path: Path | str) -> LabelFormat:
    r"""What labels are called, from a table with the columns ``label``, ``name`` and, if need be, ``color``.

    A line each says what number a label has in the files, what it is called, and for pictures in colours
    which one it has (``#ff8000``). Pixels of a label without a name do not count; nor do those of 255.

    Raises:
        DataError: the file cannot be read, lacks a column, or holds what is no number, colour or label.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "labels.csv").write_text("label,name\n0,\n1,road\n2,sky\n")
        ...     read_label_format(Path(folder) / "labels.csv").names
        ('road', 'sky')
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name} must be a table that can be read, got: {reason_of(error)}.") from None
    if not lines or any(column not in lines[0] for column in _COLUMNS[:2]):
        found = [*lines[0]] if lines else "no line"
        raise DataError(f"{path.name} must have the columns label and name, got {found}.")
    entries = [_entry(line, f"{path.name}:{place}") for place, line in enumerate(lines, start=2)]
    named = [(number, name) for number, name, _ in entries if name]
    if not named:
        raise DataError(f"{path.name} must name a label, got no name.")
    ignored = [number for number, name, _ in entries if not name]
    if IGNORED not in [number for number, _, _ in entries]:
        ignored.append(IGNORED)
    try:
        return LabelFormat(
            names=tuple(name for _, name in named),
            numbers=tuple(number for number, _ in named),
            ignored=tuple(ignored),
            palette=tuple((colour, number) for number, _, colour in entries if colour is not None),
        )
    except OptionError as error:
        raise DataError(f"{path.name}: {error}") from None


def _entry(line: Mapping[str, str | None], where: str) -> tuple[int, str, Colour | None]:
    number, name, colour = ((line.get(column) or "").strip() for column in _COLUMNS)
    if not number.isdecimal():
        raise DataError(f"{where}: label must be a whole number, got {number!r}.")
    if not colour:
        return int(number), name, None
    if (found := _COLOUR.fullmatch(colour)) is None:
        raise DataError(f"{where}: color must be six digits such as #ff8000, got {colour!r}.")
    red, green, blue = bytes.fromhex(found[1])
    return int(number), name, (red, green, blue)


def _said(known: Sequence[int]) -> str:
    listed = list(known)
    if listed == list(range(len(listed))):
        return f"whole numbers from 0 to {len(listed) - 1}"
    return f"one of {listed}" if len(listed) <= _LISTED else f"one of {listed[:_LISTED]} and so on"


def _colours(item: Any) -> NDArray[Any] | None:
    """Red, green and blue ``[H, W, 3]``; nothing of a picture or an array of numbers."""
    if isinstance(item, np.ndarray):
        return item if item.ndim == 3 and item.shape[2] > 1 else None
    if isinstance(item, Path) and item.suffix.lower() == ".npy":
        return None
    mode, _ = map_picture(item)
    return map_picture(item, colours=True)[1] if mode.startswith(("RGB", "CMYK", "YCbCr")) else None


def _of_palette(colours: NDArray[Any], form: LabelFormat) -> NDArray[np.float64]:
    if colours.shape[2] < len("RGB"):
        raise DataError(f"pictures of labels in colours must be [H, W, 3], got shape {colours.shape}")
    codes = _code(colours[..., :3].astype(np.int64))
    order = {int(_code(np.array(colour))): number for colour, number in form.palette}
    known = np.array(sorted(order), dtype=np.int64)
    places = np.searchsorted(known, codes).clip(max=len(known) - 1)
    if (strange := known[places] != codes).any():
        first = tuple(colours[strange][0, :3].tolist())
        raise DataError(
            f"colours must be of the palette, got {first} in {int(strange.sum())} of {codes.size} pixels"
        )
    found: NDArray[np.float64] = np.array([order[int(code)] for code in known], dtype=np.float64)[places]
    return found


def _code(colours: NDArray[Any]) -> NDArray[np.int64]:
    code: NDArray[np.int64] = colours @ np.array([65536, 256, 1])
    return code
