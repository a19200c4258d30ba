"""Overlapping parts of a text that is too long to be read at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Windows", "find_windows"]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How a long text is divided."""

    num_words: int
    """Of the text."""
    parts: tuple[tuple[int, int], ...]
    """First word of each window and the word behind its last; both grow. They miss words that are too long
    for any window."""


def find_windows(sizes: Sequence[int], *, room: int, most: int) -> Windows | None:
    """Divide a text so that each word has words around it in one of the windows; None where it fits whole.

    Each window is as long as fits, and begins in the middle of the one before; the last ends with the text.

    Args:
        sizes: Room that each word takes.
        room: Of a window.
        most: Words of a window.

    Example:
        >>> find_windows([1] * 9, room=4, most=9).parts
        ((0, 4), (2, 6), (4, 8), (5, 9))
        >>> find_windows([1, 1, 9, 1, 1], room=4, most=9).parts
        ((0, 2), (3, 5))
    """
    if sum(sizes) <= room and len(sizes) <= most:
        return None
    ends = np.cumsum([0, *sizes])
    too_long = [place for place, size in enumerate(sizes) if size > room]
    parts: list[tuple[int, int]] = []
    start = 0
    for stop in (*too_long, len(sizes)):
        if start < stop:
            parts.extend(_of_run(ends, start, stop, room=room, most=most))
        start = stop + 1
    return Windows(num_words=len(sizes), parts=tuple(parts))


def _of_run(
    ends: np.ndarray[tuple[int, ...], np.dtype[np.int64]], start: int, stop: int, *, room: int, most: int
) -> list[tuple[int, int]]:
    """Windows of words of which each fits alone."""

    def reach(first: int) -> int:
        fitting = int(np.searchsorted(ends, ends[first] + room, side="right")) - 1
        return min(fitting, first + most, stop)

    parts = [(start, reach(start))]
    while (behind := parts[-1][1]) < stop:
        first = parts[-1][0] + max(1, (behind - parts[-1][0]) // 2)
        while reach(first) == behind:
            first += 1
        if reach(first) == stop:
            while first > start and reach(first - 1) == stop:
                first -= 1
        parts.append((first, reach(first)))
    return parts
