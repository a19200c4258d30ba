"""Files in the formats that the readers take, as small as they can be."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Write = Callable[..., Path]
Paint = Callable[..., None]

REVIEWS = """review,price,stars,colour,score
"A fine, long film about nothing at all, told twice",3.5,4,red,1
Dull from the first minute to the very last of them,2.0,1,blue,0
"He said ""no"" and meant it, which I liked a lot",NA,5,red,1
Never again will I sit through such a thing as this,9.25,2,,0
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write text, by default in UTF-8, and return the path."""

    def to_file(text: str, name: str = "reviews.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(encoding))
        return path

    return to_file


@pytest.fixture
def reviews(write: Write) -> Path:
    """A table of text, numbers and categories."""
    return write(REVIEWS)


@pytest.fixture
def npy_folder(tmp_path: Path) -> Path:
    """Two arrays with labels in a CSV file."""
    folder = tmp_path / "posts"
    folder.mkdir()
    generator = np.random.default_rng(0)
    np.save(folder / "image.npy", generator.normal(size=(6, 3)))
    np.save(folder / "text.npy", generator.normal(size=(6, 2, 4)).astype(np.float32))
    lines = ["id,intent,fold0"]
    splits = ["training", "training", "validation", "test", "training", "test"]
    lines += [f"p{row},{'sell' if row % 2 else 'show'},{split}" for row, split in enumerate(splits)]
    (folder / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def mosi_folder(tmp_path: Path) -> Path:
    """The six files of CMU-MOSI, with three rows for training and two for test."""
    folder = tmp_path / "mosi"
    folder.mkdir()
    labels = {"train": [0, 1, 1], "test": [1, 0]}
    for place, (modality, width) in enumerate({"text": 3, "audio": 2, "video": 4}.items()):
        for split, classes in labels.items():
            rows = [
                ",".join(f'"{v}"' for v in [*(place + row + i / 8 for i in range(width)), label])
                for row, label in enumerate(classes)
            ]
            (folder / f"{modality}_{split}.csv").write_bytes("".join(f"{r}\r\n" for r in rows).encode())
    return folder


@pytest.fixture
def mfeat_folder(tmp_path: Path) -> Path:
    """The six files of UCI Multiple Features, with four digits."""
    folder = tmp_path / "mfeat"
    folder.mkdir()
    modalities = ["fou", "fac", "kar", "pix", "zer", "mor"]
    for width, modality in enumerate(modalities, start=1):
        lines = [",".join([*map(str, range(width)), "0"])]
        lines += [",".join([*(str(row + i / 4) for i in range(width)), str(row)]) for row in range(4)]
        (folder / f"mfeat-{modality}.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def paint(tmp_path: Path) -> Paint:
    """Write pixels to a picture in a folder of the test, which is made."""

    def to_file(name: str, pixels: np.ndarray) -> None:
        pictures = pytest.importorskip("PIL.Image")
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures.fromarray(pixels).save(path)

    return to_file
