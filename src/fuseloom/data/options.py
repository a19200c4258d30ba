"""What a person may say about a source instead of leaving it to inference."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fuseloom.data.dataset import ColumnKind

__all__ = ["ReadOptions"]


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read a source; whatever is not said is inferred, and `Dataset.notes` says how.

    Naming any column as an input (``text`` to ``array``) leaves all other columns out.
    """

    target: str | None = None
    """Column or key to predict."""
    labels: str | None = None
    """Table that says what labels are called, where the target is maps of them, see `read_label_format`."""
    text: tuple[str, ...] = ()
    """One text modality each: ``COLUMN`` or ``NAME=COLUMN``."""
    tabular: tuple[str, ...] = ()
    """One modality each of numbers and categories: ``COLUMN,COLUMN`` or ``NAME=COLUMN,COLUMN``."""
    image: tuple[str, ...] = ()
    """One modality each of pictures: a column of paths, or an array, ``COLUMN`` or ``NAME=COLUMN``."""
    map: tuple[str, ...] = ()
    """The same of maps of numbers, such as depth or temperature, whose files may have 16 bits."""
    audio: tuple[str, ...] = ()
    """The same of recordings."""
    array: tuple[str, ...] = ()
    """The same of ``.npy`` files: vectors, or sequences of them."""
    kinds: Mapping[str, ColumnKind | Literal["classes", "labels", "series", "embedding", "ignore"]] = field(
        default_factory=dict
    )
    """Column -> kind, where the inferred one is wrong; ``ignore`` leaves the column or array out.

    A target is ``number``, ``category``, ``classes`` (lists of them, empty where a row has none) or
    ``labels`` (paths of maps of them). An array of three axes is steps in time as ``series``, tokens as
    ``embedding``.
    """
    id_column: str | None = None
    """Column whose values name the rows."""
    split_column: str | None = None
    """Column that says train, valid or test."""
    group_column: str | None = None
    """Column of what must not be divided between splits: the speaker, the patient."""
    fold_columns: tuple[str, ...] = ()
    """The same for several folds, a column each; ``fold*`` stands for all that match."""

    @property
    def inputs(self) -> dict[ColumnKind, tuple[str, ...]]:
        """Kind -> columns named one modality each."""
        names: tuple[ColumnKind, ...] = ("text", "image", "map", "audio", "array")
        return {name: getattr(self, name) for name in names}

    @property
    def named(self) -> tuple[str, ...]:
        """All entries that name inputs."""
        return (*(entry for entries in self.inputs.values() for entry in entries), *self.tabular)
