"""What every kind of source is turned into first: named columns and arrays over the same rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fuseloom.data.cells import Cells
from fuseloom.data.dataset import Modality, SetAside, TargetKind
from fuseloom.data.label_maps import LabelFormat
from fuseloom.errors import DataError, did_you_mean

__all__ = ["Source", "check_columns", "check_lengths"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Columns and arrays as they were found, before anything was decided about them."""

    name: str
    source_format: str
    """``table``, ``arrays`` or the name of a published set."""
    ids: Sequence[str]
    """What names the rows where no column does."""
    places: Sequence[str]
    """Where each row stands, for messages: ``reviews.csv:17``."""
    columns: Mapping[str, Cells] = field(default_factory=dict)
    """Columns that may be inputs."""
    labels: Mapping[str, Cells] = field(default_factory=dict)
    """Columns that describe rows and are never inputs."""
    arrays: Mapping[str, Modality] = field(default_factory=dict)
    """What has several values per row."""
    root: Path | None = None
    """The folder that paths in columns are relative to."""
    target: str | None = None
    """The target where the format itself says it; so for the next two."""
    target_kind: TargetKind | None = None
    label_format: LabelFormat | None = None
    """Of a target of maps, whose column holds paths."""
    split_column: str | None = None
    grouping: str | None = None
    """The label that no two splits should share, such as the speaker; kept together only where asked for."""
    tagged: bool = False
    """Whether the target is the tags of the text, one per word, with one blank between them."""
    decimal_comma: bool = False
    set_aside: tuple[SetAside, ...] = ()
    """Rows that are not in the columns and arrays."""
    problems: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Column or array -> rows that must be set aside where it is used, and why."""
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Columns of values that are nothing to learn from, and why."""
    missing: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Modality -> id of each row that stays without it, as its file cannot be had, and why."""
    notes: tuple[str, ...] = ()
    """What the reader did that a person should know."""

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, column: object) -> bool:
        return column in self.labels or column in self.columns

    def column(self, name: str, *, role: str) -> Cells:
        """The column of that name.

        Raises:
            DataError: there is none.
        """
        if name in self.labels:
            return self.labels[name]
        if name in self.columns:
            return self.columns[name]
        if name in self.arrays:
            raise DataError(f"{role} must have one value per row, got {name!r}, which has several.")
        if name in self.unusable:
            raise DataError(
                f"{role} must name a column that can be used, got {name!r}: {self.unusable[name]}."
            )
        hint = did_you_mean(name, [*self.labels, *self.columns])
        raise DataError(f"{role} must name a column of {self.name}, got {name!r}.{hint}")


def check_lengths(lengths: Mapping[str, int], *, owner: str) -> int:
    """Number of rows that all entries share.

    Raises:
        DataError: they differ, there is no entry, or no row.
    """
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
        raise DataError(f"{owner} must have the same number of rows in every entry, got {listed}.")
    rows = next(iter(lengths.values()), 0)
    if rows == 0:
        raise DataError(f"{owner} must have at least one row, got none.")
    return rows


def check_columns(names: Sequence[str], *, owner: str) -> None:
    """Refuse a name that stands twice.

    Raises:
        DataError: it does.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{owner} must name every column once, got {twice} more than once. Rename them.")
