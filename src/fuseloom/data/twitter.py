"""twitter2015, twitter2017, MT-Product: entities in tweets and product titles, each with a picture."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fuseloom.data.dataset import Text
from fuseloom.data.source import Source
from fuseloom.data.tagged import read_tagged
from fuseloom.errors import DataError

__all__ = [
    "FILES",
    "READERS",
    "find_set",
    "parsed_digest",
    "read_mt_product",
    "read_twitter2015",
    "read_twitter2017",
]

FILES = ("train.txt", "valid.txt", "test.txt")
"""What the folder of each set holds."""

_FIRST = re.compile(r"IMGID:\s*(\S+)\s*\n")
_ID_2017 = re.compile(r"\d\d_\d\d_\d+(_\d+)?|[A-Z]_\d+")
_IDEOGRAPH = re.compile("[\u4e00-\u9fff]")
_START = 4096


@dataclass(frozen=True)
class _Known:
    types: Mapping[str, str]
    """Type as the files spell it -> as it is called."""
    digests: Mapping[str, str]
    """Split -> what `parsed_digest` gives of the published file."""


_OF_2017 = {kind: kind for kind in ("LOC", "MISC", "ORG", "PER")}
_KNOWN = {
    "twitter2015": _Known(
        {**_OF_2017, "OTHER": "MISC"},
        {
            "train": "1741e0b895e37dae6fd4db49c84958048bade6992314b159680c1358a4dbec64",
            "valid": "edf361a1845505dd64bdeb11559bc7146234bb22811e6a9d3a12a81cc2d170c2",
            "test": "dd74eb9791c7386a1826a228db97dd82a977b441a5e2deb64316622b486fe708",
        },
    ),
    "twitter2017": _Known(
        _OF_2017,
        {
            "train": "cf0ea1a60726969173ba6caafbb5972549bf5bf01c6d5fc3f8238014b7d8acd4",
            "valid": "3b5674281a8ff181184f00fa3fde0ce58eea04ffaa35c6b5d770eeafe75d1a4b",
            "test": "a57e212d17e93dc821de46192ff57a3517993225823c475458176d47f899db57",
        },
    ),
    "mt-product": _Known(
        {"MISC": "MISC"},
        {
            "train": "04c8b5b3ca2dd5b9920ade2dd30b5837ff1d8efc0b94064e0d2f7e31c9b73a67",
            "valid": "acd091141710ce01937d3eedba36ccb80e3888aaf30eda5d2544bc42af499ebe",
            "test": "592d7523e5589508a7ea3f7195656fe584ef9ec79a89fc9a93a2c1bfed2966de",
        },
    ),
}


def read_twitter2015(folder: Path | str, *, images: Path | str | None = None) -> Source:
    """Read twitter2015 as UMT and MuSE publish it: 4,000, 1,000 and 3,257 tweets with a picture each.

    The type that the files call OTHER is MISC, as in the official readers. 374 tags ``I-`` continue no
    entity: papers count each as an entity of its own, and so does the default score. A folder of the same
    name with four lines per sample is of another task, target-oriented sentiment, and is refused.

    Data: Zhang et al., 2018, doi:10.1609/aaai.v32i1.11962; files and splits of github.com/jefferyYu/UMT.

    Args:
        folder: Holds ``train.txt``, ``valid.txt`` and ``test.txt``.
        images: Holds ``<id>.jpg``; by default ``twitter2015_images`` in or beside the folder, ``images`` in
            it, or the folder itself.

    Raises:
        DataError: files that are not of the set's format or scheme.
    """
    return _read("twitter2015", Path(folder), images)


def read_twitter2017(folder: Path | str, *, images: Path | str | None = None) -> Source:
    """Read twitter2017 as UMT and MuSE publish it: 3,373, 723 and 723 tweets with a picture each.

    Data: Lu et al., 2018, doi:10.18653/v1/P18-1185; files and splits of github.com/jefferyYu/UMT.

    Args:
        folder: Holds ``train.txt``, ``valid.txt`` and ``test.txt``.
        images: Holds ``<id>.jpg``; by default ``twitter2017_images`` in or beside the folder, ``images`` in
            it, or the folder itself.

    Raises:
        DataError: files that are not of the set's format or scheme.
    """
    return _read("twitter2017", Path(folder), images)


def read_mt_product(folder: Path | str, *, images: Path | str | None = None) -> Source:
    """Read MT-Product as MuSE publishes it: 2,680, 893 and 895 Chinese titles, a character per line.

    Each title names one product, of type MISC.

    Data: github.com/RecklessRonan/MuSE.

    Args:
        folder: Holds ``train.txt``, ``valid.txt`` and ``test.txt``.
        images: Holds ``<id>.jpg``; by default ``mt-product_images`` in or beside the folder, ``images`` in
            it, or the folder itself.

    Raises:
        DataError: files that are not of the set's format or scheme.
    """
    return _read("mt-product", Path(folder), images)


READERS: Mapping[str, Callable[[Path], Source]] = {
    "mt-product": read_mt_product,
    "twitter2015": read_twitter2015,
    "twitter2017": read_twitter2017,
}
"""Name of a set -> its reader."""


def find_set(folder: Path) -> str | None:
    """Which of the sets the files of a folder are: told by ids of pictures, else by types and script."""
    if not all((folder / file).is_file() for file in FILES):
        return None
    text = (folder / FILES[0]).read_text("utf-8-sig", "replace")
    image = _FIRST.match(text)
    if image is None:
        return None
    if not image[1].isdecimal():
        return "twitter2017" if _ID_2017.fullmatch(image[1]) else None
    numeric = {"twitter2015": "-OTHER" in text, "mt-product": _IDEOGRAPH.search(text[:_START]) is not None}
    return next((name for name, told in numeric.items() if told), None)


def parsed_digest(rows: Iterable[tuple[str, str, str]]) -> str:
    """SHA-256 of sentences, whatever the ends of lines: id with ``.jpg``, words and tags with tabs between.

    Args:
        rows: Id, text and joined tags of each.
    """
    digest = hashlib.sha256()
    for image, text, tags in rows:
        digest.update("\t".join((f"{image}.jpg", *text.split(" "), *tags.split(" "))).encode() + b"\n")
    return digest.hexdigest()


def _read(name: str, folder: Path, images: Path | str | None) -> Source:
    if absent := [file for file in FILES if not (folder / file).is_file()]:
        raise DataError(f"{folder.name} must hold {', '.join(FILES)}, got no {absent[0]}.")
    known = _KNOWN[name]
    source = read_tagged(folder, images=images, types=known.types, name=name)
    renamed = [f"{old} is read as {new}" for old, new in known.types.items() if old != new]
    notes = [f"tags: type {one}" for one in renamed] + _unlike(source, known.digests)
    return replace(source, source_format=name, notes=(*notes, *source.notes))


def _unlike(source: Source, digests: Mapping[str, str]) -> list[str]:
    """A note for each split that is not the published one."""
    text = source.arrays["text"]
    assert isinstance(text, Text)
    columns = (source.labels["picture"], text.values, source.labels["tags"])
    rows = list(zip(*columns, source.labels["split"], strict=True))
    other = [
        split
        for split, published in digests.items()
        if parsed_digest((image, text, tags or "") for image, text, tags, of in rows if of == split)
        != published
    ]
    listed = ", ".join(other)
    return [f"splits: {listed} not as published, so scores compare with no paper's"] if other else []
