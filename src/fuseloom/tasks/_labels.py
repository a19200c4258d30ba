"""Lists of classes in one string: ``rock;pop``."""

from typing import Any

from numpy.typing import NDArray

__all__ = ["SEPARATORS", "find_separator", "split_labels"]

SEPARATORS = (";", "|")


def find_separator(target: NDArray[Any]) -> str | None:
    """The separator that stands in most strings ``[N]``, the first of these where they tie, None without."""
    counts = {mark: sum(mark in str(value) for value in target) for mark in SEPARATORS}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else None


def split_labels(text: str, separator: str) -> list[str]:
    """Classes of one string, without blanks around them.

    Example:
        >>> split_labels("rock; pop;", ";")
        ['rock', 'pop']
    """
    return [name for part in text.split(separator) if (name := part.strip())]
