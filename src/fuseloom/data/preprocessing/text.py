"""Text as bytes."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.dataset import Text
from fuseloom.data.preprocessing._base import Encoded, Preprocessor

__all__ = ["TextPreprocessor"]


@dataclass(frozen=True, kw_only=True)
class TextPreprocessor(Preprocessor):
    """Bytes of UTF-8, ``[N, T]``: ``T`` is the longest training text, at most ``max_bytes``.

    Longer texts are cut. A text that is missing or blank is masked as a whole.
    """

    kind = "text"
    reads = "text"
    max_bytes: ClassVar[int] = 512
    length: int

    @classmethod
    def fit(cls, modality: Text, rows: NDArray[np.intp]) -> Self:
        """Learn the length; count the texts, of all rows, that are cut."""
        longest = max((len(text) for text in _bytes(modality.values[rows])), default=0)
        length = min(max(longest, 1), cls.max_bytes)
        cut = sum(1 for text in _bytes(modality.values) if len(text) > length)
        notes = (f"{cut} of {len(modality)} texts are cut after {length} bytes",) if cut else ()
        return cls(length=length, notes=notes)

    def apply(self, modality: Text) -> Encoded:
        """Bytes ``[N, T]``, zero behind the end, and their mask."""
        texts = [text[: self.length] for text in _bytes(modality.values)]
        padded = bytearray(b"").join(text.ljust(self.length, b"\0") for text in texts)
        values = np.frombuffer(padded, dtype=np.uint8).reshape(len(texts), self.length)
        lengths = np.array([len(text) for text in texts], dtype=np.intp)
        return values, np.arange(self.length) < lengths[:, None]

    def encoder_options(self) -> dict[str, Any]:
        """None: bytes are the same 256 everywhere."""
        return {}


def _bytes(texts: NDArray[np.object_]) -> list[bytes]:
    # A lone surrogate (of a broken scrape) cannot be encoded; its place is kept by a question mark.
    return [text.encode("utf-8", "replace") if text and not text.isspace() else b"" for text in texts]
