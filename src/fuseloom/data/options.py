"""What a person may say about a source instead of leaving it to inference."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fuseloom.data.dataset import ColumnKind

__all__ = ["ReadOptions"]


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read a source; whatever is not said is inferred, and `Dataset.notes` says how.

    Naming any column under ``text`` or ``tabular`` leaves all other columns out.
    """

    target: str | None = None
    """Column or key to predict."""
    text: tuple[str, ...] = ()
    """One text modality each: ``COLUMN`` or ``NAME=COLUMN``."""
    tabular: tuple[str, ...] = ()
    """One modality each of numbers and categories: ``COLUMN,COLUMN`` or ``NAME=COLUMN,COLUMN``."""
    kinds: Mapping[str, ColumnKind | Literal["ignore"]] = field(default_factory=dict)
    """Column -> kind, where the inferred one is wrong; ``ignore`` leaves the column or array out."""
    id_column: str | None = None
    """Column whose values name the rows."""
    split_column: str | None = None
    """Column that says train, valid or test."""
    fold_columns: tuple[str, ...] = ()
    """The same for several folds, a column each; ``fold*`` stands for all that match."""
