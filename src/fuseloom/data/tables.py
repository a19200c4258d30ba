"""CSV and TSV files, read row by row so that one bad line costs one row."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from fuseloom.data.cells import clean
from fuseloom.data.dataset import SetAside
from fuseloom.data.files import file_bytes
from fuseloom.data.source import Source, check_columns
from fuseloom.errors import DataError

__all__ = ["read_table"]

_DELIMITERS = (",", ";", "\t")
_SNIFFED_RECORDS = 100
_LONGEST_CELL = 1 << 22
"""Characters, a long book; Python's own limit is that of a long article. Behind a quote that nobody closed,
so much is read in vain."""


def read_table(path: Path) -> Source:
    """Read a file of comma, semicolon or tab separated values in UTF-8 whose first line names the columns.

    With semicolons a comma may be the decimal point. A record that cannot be split into the header's fields
    is set aside.

    Raises:
        DataError: the file is empty, has no row, is not text in UTF-8 or names a column twice.
    """
    lines = list(io.StringIO(_decoded(path), newline=""))
    delimiter = _sniff(lines)
    records = ((line, r) for line, r in _records(lines, delimiter) if isinstance(r, str) or not _blank(r))
    header = _header(path, next(records, (1, "the file is empty"))[1])
    rows: list[list[str]] = []
    places: list[str] = []
    set_aside: list[SetAside] = []
    for line, record in records:
        place = f"{path.name}:{line}"
        if isinstance(record, list) and len(record) == len(header):
            rows.append(record)
            places.append(place)
            continue
        wrong = f"the header has {len(header)} fields, this row {len(record)}"
        set_aside.append(SetAside(where=place, reason=record if isinstance(record, str) else wrong))
    if not rows:
        found = f"none that can be read; {set_aside[0].where}: {set_aside[0].reason}" if set_aside else "none"
        raise DataError(f"{path.name} must have rows below its header, got {found}.")
    return Source(
        name=path.name,
        source_format="table",
        ids=_row_numbers(places, set_aside),
        places=places,
        columns={name: clean(cells) for name, cells in zip(header, zip(*rows, strict=True), strict=True)},
        root=path.parent,
        decimal_comma=delimiter == ";",
        set_aside=tuple(set_aside),
    )


def _decoded(path: Path) -> str:
    data = file_bytes(path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path.name} must be text in UTF-8, got UTF-16. Save it again as UTF-8.")
    if b"\0" in data:
        raise DataError(f"{path.name} must be a text file of separated values, got binary data.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path.name} must be text in UTF-8, got byte {data[error.start]:#04x} in line {line}. Convert "
            f"it: iconv -f latin1 -t utf-8 {path.name} > utf8-{path.name}"
        ) from None


def _sniff(lines: Sequence[str]) -> str:
    def score(delimiter: str) -> tuple[float, int]:
        sample = [fields for _, fields in islice(_records(lines, delimiter), _SNIFFED_RECORDS)]
        widths = [len(fields) for fields in sample if isinstance(fields, list) and not _blank(fields)]
        if not widths or widths[0] < 2:
            return 0.0, 0
        return widths.count(widths[0]) / len(widths), widths[0]

    return max(_DELIMITERS, key=score)


def _records(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the line each record begins at with its fields, or why it cannot be read.

    A record over several lines that cannot be read, or has another length than the first, is taken for a
    quote that nobody closed: reading resumes on its second line, so that it does not swallow the rows below.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))  # of the process, and only ever raised
    start, width = 0, 0
    while start < len(lines):
        begin = start
        rest = (lines[i] for i in range(start, len(lines)))
        reader = csv.reader(rest, delimiter=delimiter, strict=True)
        try:
            for fields in reader:
                yield begin + 1, fields
                end = start + reader.line_num
                width = width if width else len(fields)
                if end > begin + 1 and len(fields) != width:
                    break
                begin = end
            else:
                return
        except csv.Error as error:
            yield begin + 1, f"not readable as separated values: {error}"
        start = begin + 1


def _blank(fields: list[str]) -> bool:
    return not fields or (len(fields) == 1 and not fields[0].strip())


def _header(path: Path, record: list[str] | str) -> list[str]:
    if isinstance(record, str):
        raise DataError(f"{path.name} must begin with a line that names its columns, got none: {record}.")
    names = [name.strip() for name in record]
    names = [name if name else f"unnamed {position}" for position, name in enumerate(names, start=1)]
    check_columns(names, owner=path.name)
    return names


def _row_numbers(places: Sequence[str], set_aside: Sequence[SetAside]) -> list[str]:
    """Number the rows from zero as they stand in the file, those set aside included."""
    lines = [(int(place.rpartition(":")[2]), True) for place in places]
    lines += [(int(row.where.rpartition(":")[2]), False) for row in set_aside]
    return [str(number) for number, (_, kept) in enumerate(sorted(lines)) if kept]
