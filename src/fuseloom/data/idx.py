"""Arrays of bytes in the IDX format of MNIST, compressed with gzip."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import DataError

__all__ = ["read_idx"]

_BYTES = 0x08
_LARGEST = 2**28


def read_idx(path: Path, *, axes: int) -> NDArray[np.uint8]:
    """Read one array; no more is unpacked than its first bytes announce.

    Args:
        path: A ``.gz`` file: two zeros, the type, the number of axes, the size of each, then the values.
        axes: How many there must be.

    Raises:
        DataError: another format, other axes, over 256 MiB, or more or fewer values than announced.
    """
    try:
        with gzip.open(path) as file:
            start = file.read(4)
            if start != bytes((0, 0, _BYTES, axes)):
                raise DataError(
                    f"{path.name} must be an IDX file of bytes with {axes} axes, got one that begins with "
                    f"{start.hex() or 'nothing'}."
                )
            sizes = struct.unpack(f">{axes}I", file.read(4 * axes))
            count = math.prod(sizes)
            if count > _LARGEST:
                raise DataError(f"{path.name} must hold at most {_LARGEST:,} values, got {count:,}.")
            values = file.read(count + 1)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path.name} must be a whole file, got: {error}. Download it again.") from None
    if len(values) != count:
        found = "more" if len(values) > count else f"{len(values):,}"
        raise DataError(f"{path.name} must hold the {count:,} values it announces, got {found}.")
    return np.frombuffer(values, dtype=np.uint8).reshape(sizes)
