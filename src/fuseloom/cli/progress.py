"""What a long command tells: a line that is renewed in a terminal, plain lines elsewhere."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["telling"]

_CLEAR = "\r\x1b[K"


@contextmanager
def telling(stream: TextIO) -> Iterator[Callable[[str], None]]:
    """Give what takes the lines of a progress.

    In a terminal a line that counts, as ``[3/9] about 5 s left; ...``, stands at the bottom and is replaced
    by the next one, cut to the terminal's width; all other lines stay above it. Elsewhere, as in a file or
    in the log of a cluster, each line is written as it comes.

    Args:
        stream: Standard error, mostly.

    Example:
        >>> import sys
        >>> with telling(sys.stdout) as tell:
        ...     tell("task: regression")
        ...     tell("[1/2] about 5 s left; sum, seed 0")
        task: regression
        [1/2] about 5 s left; sum, seed 0
    """
    if not stream.isatty():
        yield lambda line: _write(stream, line + "\n")
        return
    from fuseloom.report.words import fit, printable

    def tell(line: str) -> None:
        shown, width = printable(line), shutil.get_terminal_size().columns - 1
        _write(stream, _CLEAR + (fit(shown, width) if line.startswith("[") else shown + "\n"))

    try:
        yield tell
    finally:
        _write(stream, _CLEAR)


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()
