"""Every input that a person may come with: an error that says what to do, a row set aside, or it works."""

import io
import os
import pickle
import re
import struct
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from fuseloom.data import ReadOptions, encode, fit_preprocessors, load
from fuseloom.errors import DataError, FuseloomError, ModalityError

ROWS = 12
PRICE = ReadOptions(target="y", tabular=("price",))
PHOTO = ReadOptions(target="y", image=("photo",), tabular=("price",))
SOUND = ReadOptions(target="y", audio=("sound",), tabular=("price",))
STEPS = ReadOptions(target="y", array=("steps",), tabular=("price",))
ANY = ReadOptions(target="y")


class Bomb:
    """A pickle of it leaves a file behind where it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


@dataclass(frozen=True)
class Case:
    """An input, and what must come of it: ``refused``, or all ``rows`` but those ``aside`` are kept."""

    name: str
    make: Callable[[Path], Any]
    _: KW_ONLY
    options: ReadOptions = PRICE
    refused: str = ""
    error: type[FuseloomError] = DataError
    rows: int = ROWS
    aside: Mapping[str, str] = field(default_factory=dict)
    """Where -> regular expression of the reason."""
    then: Callable[[Any], bool] = lambda rows: True
    """What must hold of the rows besides."""


def table(*lines: str, end: str = "\n", header: str = "note,price,y") -> str:
    good = [f"fine {row},{row}.5,{'ab'[row % 2]}" for row in range(ROWS)]
    return end.join([header, *good, *lines]) + end


def csv_file(text: str | bytes, name: str = "rows.csv") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


def beside(column: str, good: bytes, bad: bytes | Callable[[Path], None], end: str) -> Callable[[Path], Path]:
    """A table with a column of files, of which the last is the bad one."""

    def make(folder: Path) -> Path:
        (folder / f"good{end}").write_bytes(good)
        odd = folder / f"odd{end}"
        odd.write_bytes(bad) if isinstance(bad, bytes) else bad(odd)
        lines = [f"good{end},{row}.5,{'ab'[row % 2]}" for row in range(ROWS - 1)]
        path = folder / "rows.csv"
        path.write_text("\n".join([f"{column},price,y", *lines, f"odd{end},3,b"]), encoding="utf-8")
        return path

    return make


def picture(mode: str = "RGB", kind: str = "PNG", size: tuple[int, int] = (9, 7)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 128 if mode in ("L", "1", "I;16") else tuple([90] * len(mode))).save(file, kind)
    return file.getvalue()


def bomb_png() -> bytes:
    """A PNG that says it has 2.5 thousand million pixels."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)),
        (b"IDAT", b"x"),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def wave(subtype: str = "PCM_16", samples: int = 800, value: float = 0.25) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full(samples, value), 8000, format="WAV", subtype=subtype)
    return file.getvalue()


def array_bytes(array: Any, *, pickled: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=pickled)
    return file.getvalue()


def arrays(**changed: Any) -> Callable[[Path], Path]:
    """A folder of arrays; bytes are written as they are, an array by numpy.save."""

    def make(folder: Path) -> Path:
        generator = np.random.default_rng(0)
        whole: dict[str, Any] = {
            "text": generator.normal(size=(ROWS, 3)),
            "steps": generator.normal(size=(ROWS, 4, 2)),
            "labels": np.arange(ROWS) % 2,
        }
        for name, value in {**whole, **changed}.items():
            ending = "" if name.endswith((".npz", ".csv")) else ".npy"
            content = value if isinstance(value, bytes) else array_bytes(value)
            (folder / f"{name.replace('__', '.')}{ending}").write_bytes(content)
        return folder

    return make


def parquet(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        columns = {
            "price": [row + 0.5 for row in range(ROWS)],
            "note": [f"fine {row}" for row in range(ROWS)],
            "y": ["ab"[row % 2] for row in range(ROWS)],
        }
        path = folder / "rows.parquet"
        changed = change(columns)
        pq.write_table(changed if isinstance(changed, pa.Table) else pa.table(changed), path)
        return path

    return make


def json_lines(*lines: str, extra: str = "") -> Callable[[Path], Path]:
    good = [
        f'{{"note": "fine {row}", "price": {row}.5, "y": "{"ab"[row % 2]}"{extra}}}' for row in range(ROWS)
    ]
    return csv_file("\n".join([*good, *lines]), "rows.jsonl")


def shard(*members: tuple[str, bytes] | tarfile.TarInfo, cut: int | None = None) -> Callable[[Path], Path]:
    """A tar file of good rows and the members given."""

    def make(folder: Path) -> Path:
        good = [
            member
            for row in range(ROWS)
            for member in (
                (f"{row:03}.png", picture()),
                (f"{row:03}.json", f'{{"price": {row}.5}}'.encode()),
                (f"{row:03}.cls", b"ab"[row % 2 : row % 2 + 1]),
            )
        ]
        path = folder / "rows.tar"
        with tarfile.open(path, "w") as archive:
            for member in (*good, *members):
                if isinstance(member, tarfile.TarInfo):
                    archive.addfile(member)
                else:
                    info = tarfile.TarInfo(member[0])
                    info.size = len(member[1])
                    archive.addfile(info, io.BytesIO(member[1]))
        if cut is not None:
            path.write_bytes(path.read_bytes()[:cut])
        return path

    return make


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def mapping(**changed: Any) -> Callable[[Path], dict[str, Any]]:
    whole = {"text": np.ones((ROWS, 3)), "sound": np.ones((ROWS, 2)), "y": list("ab" * (ROWS // 2))}
    return lambda folder: {k.replace("__", "."): v for k, v in {**whole, **changed}.items() if v is not None}


def loop(path: Path) -> None:
    path.symlink_to(path.with_name(f"back-{path.name}"))
    path.with_name(f"back-{path.name}").symlink_to(path)


def unreadable(folder: Path) -> Path:
    path = csv_file(table())(folder)
    path.chmod(0)
    return path


def categories(folder: Path) -> Path:
    lines = [f"n{row},{row % 7},{'ab'[row % 2]}" for row in range(1_000_000)]
    return csv_file("kind,price,y\n" + "\n".join(lines))(folder)


def mask_of(name: str) -> Callable[[Any], list[bool]]:
    """The mask that rows of a modality get, one entry each."""

    def of(rows: Any) -> list[bool]:
        _, masks = encode(rows, fit_preprocessors(rows, np.arange(len(rows))))
        return masks[name].reshape(len(rows), -1).any(1).tolist()

    return of


def left_out(text: str) -> Callable[[Any], bool]:
    return lambda rows: any(re.search(text, note) for note in rows.notes)


EVEN = [{"k": 1}] * ROWS
NO_READ = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
SLOW = {"a million categories": pytest.mark.slow, "a table that nobody may read": NO_READ}

# fmt: off
TABLES = [
    Case("an empty file", csv_file(""), refused=r"rows\.csv must begin with a line that names"),
    Case("a header only", csv_file("note,price,y\n"), refused=r"rows\.csv must have rows below"),
    Case("one row", csv_file("price,y\n1,a\n"), rows=1),
    Case("ragged rows", csv_file(table("short,1", "long,1,a,b")), rows=ROWS + 2,
         aside={"rows.csv:14": "header has 3 fields, this row 2", "rows.csv:15": "this row 4"}),
    Case("a quote never closed", csv_file(table('"open,3,a', "next,4,b")), rows=ROWS + 2,
         aside={"rows.csv:14": "not readable as separated values|header has 3 fields"}),
    Case("bytes of two encodings", csv_file(table().encode() + "müde,3,a\n".encode("latin-1")),
         refused=r"rows\.csv must be text in UTF-8, got byte 0xfc in line 14\. Convert it: iconv"),
    Case("UTF-16", csv_file(table().encode("utf-16")),
         refused=r"rows\.csv must be text in UTF-8, got UTF-16\. Save it again as UTF-8"),
    Case("a byte order mark", csv_file(b"\xef\xbb\xbf" + table(header="price,note,y").encode()),
         options=ReadOptions(target="y", tabular=("note",))),
    Case("CR line ends", csv_file(table(end="\r")), then=lambda rows: rows.ids[-1] == "11"),
    Case("CR LF line ends", csv_file(table(end="\r\n"))),
    Case("NUL bytes", csv_file(table("a\0b,1,a")),
         refused=r"rows\.csv must be a text file of separated values, got binary data"),
    Case("a cell of 10 MB", csv_file(table("x" * 10_000_000 + ",1,a")), rows=ROWS + 1,
         aside={"rows.csv:14": "field larger than field limit"}),
    Case("semicolons with decimal commas",
         csv_file("price;y\n" + "".join(f"{row},25;{'ab'[row % 2]}\n" for row in range(ROWS))),
         then=lambda rows: rows.modalities["tabular"].numbers["price"][3] == 3.25),
    Case("tabs", csv_file(table().replace(",", "\t"), "rows.tsv")),
    Case("a column named twice", csv_file(table(header="price,price,y")),
         refused=r"rows\.csv must name every column once, got \['price'\] more than once\. Rename them"),
    Case("columns called like our options",
         csv_file(table(header="target,tabular,kinds").replace("\nfine", "\nok")),
         options=ReadOptions(target="kinds", text=("words=target",), tabular=("table=tabular",))),
    Case("a name that containers use", csv_file(table(header="keys,price,y")),
         options=ReadOptions(target="y", text=("keys",), tabular=("price",)),
         refused=r"'keys' of rows\.csv cannot be a modality.*--text description=keys", error=ModalityError),
    Case("a name with the mark of an exchange", csv_file(table(header="a_from_b,price,y")),
         options=ReadOptions(target="y", text=("a_from_b",), tabular=("price",)),
         refused=r"'a_from_b' of rows\.csv cannot be a modality.*--text description=a_from_b",
         error=ModalityError),
    Case("a name that begins with a digit", csv_file(table(header="1st,price,y")),
         options=ReadOptions(target="y", text=("1st",), tabular=("price",)),
         refused=r"'1st' of rows\.csv cannot be a modality.*--text description=1st", error=ModalityError),
    Case(
        "infinity and words among numbers",
        csv_file(table("x,inf,a", "x,-Infinity,b", "x,1e999,a", "x,cheap,b", "x,NaN,a")),
        options=ReadOptions(target="y", tabular=("price",), kinds={"price": "number"}), rows=ROWS + 5, aside={
            "rows.csv:14": "column 'price' must be a finite number, got 'inf'",
            "rows.csv:15": "got '-Infinity'", "rows.csv:16": "got '1e999'", "rows.csv:17": "got 'cheap'",
        },
    ),
    Case("a target that is not known", csv_file(table("x,1,", "x,2,?")), rows=ROWS + 2,
         aside={"rows.csv:14": "target 'y' must be known, got no value", "rows.csv:15": "target 'y'"}),
    Case("no target anywhere", csv_file("price,y\n1,\n2,NA\n"),
         refused=r"rows\.csv must have at least one usable row, got 2 set aside, the first rows\.csv:2"),
    Case("a constant target", csv_file("price,y\n" + "1,a\n" * ROWS)),
    Case("a class per row", csv_file("price,y\n" + "".join(f"1,c{row}\n" for row in range(ROWS))),
         then=lambda rows: len(set(rows.target)) == ROWS),
    Case("a modality whose cells are all empty", csv_file("note,price,y\n" + ",1,a\n,2,b\n"),
         options=ReadOptions(target="y", text=("note",), tabular=("price",)), rows=2,
         then=lambda rows: mask_of("note")(rows) == [False, False]),
    Case("no column of that name", csv_file(table()), options=ReadOptions(target="y", tabular=("prize",)),
         refused=r"tabular must name a column of rows\.csv, got 'prize'\. Did you mean 'price'"),
    Case("a path with spaces and umlauts", csv_file(table(), "meine Körbe/rows der  Größe.csv")),
    Case("a million categories", categories, options=ReadOptions(target="y", tabular=("kind", "more=price")),
         rows=1_000_000),
    Case("a table that nobody may read", unreadable, refused=r"rows\.csv must be a file that can be"),
    Case("no such file", lambda folder: folder / "no.csv", refused=r"No such file or folder"),
    Case("a name too long for a file", lambda folder: folder / ("x" * 300 + ".csv"),
         refused=r"source must be a file or folder that (can be read|is there)"),
    Case("a link in a loop", lambda folder: [loop(folder / "rows.csv"), folder / "rows.csv"][1],
         refused=r"source must be a file or folder that is there, got .*rows\.csv"),
    Case("a pickle called csv", csv_file(pickle.dumps(Bomb(), 4) + b"\0"),
         refused=r"rows\.csv must be a text file of separated values, got binary data"),
    Case("a pickle", csv_file(pickle.dumps(Bomb()), "rows.pkl"), refused="a pickle, which is never"),
    Case("an empty folder", lambda folder: folder,
         refused=r"must hold an array <modality>\.npy per modality, .* got an empty folder"),
]
PICTURES = [
    Case(
        f"a picture: {name}", beside("photo", picture(), bad, ".png"), options=PHOTO,
        aside={"rows.csv:13": f"^photo: odd.png: {reason}"} if reason else {},
    )
    for name, bad, reason in [
        ("truncated", picture(size=(60, 60))[:-40], "not a whole picture"),
        ("empty", b"", "not a picture in a known format"),
        ("text", b"hello", "not a picture in a known format"),
        ("a bomb", bomb_png(), "not a whole picture: .*decompression bomb"),
        ("a folder", lambda path: path.mkdir(), "a folder, not a file"),
        ("missing", lambda path: None, "no such file"),
        ("a link in a loop", loop, "not a whole picture: too many levels of symbolic links"),
        ("a pipe", lambda path: os.mkfifo(path), "not a regular file"),
        ("a pickle", pickle.dumps(Bomb()), "not a picture in a known format"),
        ("CMYK", picture("CMYK", "JPEG"), ""), ("RGBA", picture("RGBA"), ""),
        ("16 bits", picture("I;16"), ""), ("one bit", picture("1"), ""),
        ("one pixel", picture(size=(1, 1)), ""),
    ]
] + [
    Case("pictures none of which is there", csv_file("photo,price,y\na.png,1,a\nb.png,2,b\n"), options=PHOTO,
         refused=r"usable row, got 2 set aside, the first rows\.csv:2: photo: a\.png: no such file"),
    Case("a picture that a row lacks", lambda folder: [
             (folder / "a.png").write_bytes(picture()), csv_file("photo,price,y\na.png,1,a\n,2,b\n")(folder),
         ][1], options=PHOTO, rows=2, then=lambda rows: mask_of("photo")(rows) == [True, False]),
]
RECORDINGS = [
    Case(
        f"a recording: {name}", beside("sound", wave(), bad, ".wav"), options=SOUND,
        aside={"rows.csv:13": f"^sound: odd.wav: {reason}"} if reason else {},
    )
    for name, bad, reason in [
        ("truncated", wave()[:-100], "not a whole recording: 1544 of 1644 bytes"),
        ("without a sample", wave(samples=0), "a recording without a sample"),
        ("empty", b"", "not a whole recording"),
        ("of NaN", wave("FLOAT", value=np.nan), "a recording with samples that are not finite"),
        ("text", b"hello", "not a whole recording"), ("24 bits", wave("PCM_24"), ""),
        ("8 bits", wave("PCM_U8"), ""), ("one sample", wave(samples=1), ""),
        ("of unknown length, as streams have it", wave()[:4] + b"\xff\xff\xff\xff" + wave()[8:], ""),
    ]
]
ARRAY_FILES = [
    Case(
        f"an array in a file: {name}", beside("steps", array_bytes(np.ones((4, 2))), bad, ".npy"),
        options=STEPS, aside={"rows.csv:13": f"^steps: {reason}"} if reason else {},
    )
    for name, bad, reason in [
        (
            "a pickle", pickle.dumps(Bomb()),
            r"odd\.npy: must be an array written by numpy\.save, got a pickle",
        ), ("of objects", array_bytes(np.array([Bomb()]), pickled=True), r"odd\.npy: .* never loaded"),
        ("truncated", array_bytes(np.ones((4, 2)))[:-8], r"odd\.npy: must be a plain array"),
        ("of another width", array_bytes(np.ones((4, 3))), r"must be numbers \[T, 2\] as in most rows"),
        ("of strings", array_bytes(np.array(["a"])), r"must be numbers \[T, 2\] as in most rows"),
        ("a folder", lambda path: path.mkdir(), r"odd\.npy: must be a file that can be read"),
        ("longer", array_bytes(np.ones((9, 2))), ""), ("without a step", array_bytes(np.ones((0, 2))), ""),
    ]
]
ARRAYS = [
    Case("a pickle called npy", arrays(sound=pickle.dumps(Bomb())), options=ReadOptions(),
         refused=r"sound\.npy must be an array written by numpy\.save, got a pickle, which is never loaded"),
    Case("an array of objects", arrays(sound=array_bytes(np.array([Bomb()] * ROWS), pickled=True)),
         options=ReadOptions(), refused=r"sound\.npy must be a plain array .* save numbers or strings"),
    Case("an archive with a pickle", lambda folder: [
             np.savez(folder / "rows.npz", a=np.array([Bomb()] * 3), y=[0, 1, 0]), folder / "rows.npz",
         ][1], refused=r"rows\.npz must be an archive of plain arrays .* never loaded"),
    Case("a truncated archive", csv_file(b"PK\x03\x04" + b"\0" * 60, "rows.npz"),
         refused=r"rows\.npz must be an archive of plain arrays written by numpy\.savez"),
    Case("arrays of different lengths", arrays(sound=np.ones((3, 2))), options=ReadOptions(),
         refused=r"must have the same number of rows in every entry, got 'sound' 3, 'steps' 12"),
    Case("a mask of another shape", arrays(steps__mask=np.ones(ROWS, bool)), options=ReadOptions(),
         refused=r"steps\.mask must be bool of shape \(12, 4\) \(True = real\), got bool of shape \(12,\)"),
    Case("times of another shape", arrays(steps__time=np.ones((ROWS, 3))), options=ReadOptions(),
         refused=r"steps\.time must be numbers of shape \(12, 4\), .* got float64 of shape \(12, 3\)"),
    Case("times that go back", arrays(steps__time=np.tile([0.0, 2.0, 1.0, 3.0], (ROWS, 1))),
         options=ReadOptions(),
         refused=r"steps\.time must not decrease within a row, got such in row 0\. Sort the steps"),
    Case("times beside vectors", arrays(text__time=np.ones(ROWS)), options=ReadOptions(),
         refused=r"text\.time must stand beside steps"),
    Case("infinity everywhere", arrays(text=np.full((ROWS, 3), np.inf)), options=ReadOptions(),
         then=lambda rows: not any(mask_of("text")(rows))),
    Case("a table of words as an array", arrays(**{"sound.csv": b"a,b\n" + b"1,x\n" * ROWS}),
         options=ReadOptions(),
         refused=r"sound\.csv must hold numbers only, got 'x' in column 'b'.*--text and --tabular"),
    Case("an array in two files", arrays(**{"text.csv": b"a,b\n" + b"1,2\n" * ROWS}), options=ReadOptions(),
         refused=r"must hold every array once, got 'text' in text\.csv and text\.npy\. Remove one"),
    Case("one array instead of a folder", csv_file(array_bytes(np.ones((3, 2))), "text.npy"),
         refused=r"text\.npy must be a file of rows or a folder, got one array: pass its folder"),
    Case("lists of different lengths", mapping(text=[[1, 2], [3]] * 6), options=ANY,
         refused=r"'text' must have rows of equal length"),
    Case("sequences of different widths", mapping(text=[np.ones((2, 3))] * (ROWS - 1) + [np.ones((2, 4))]),
         options=ANY,
         aside={"row 11": r"text: must be numbers \[T, 3\] as in most rows, got float64 of shape \(2, 4\)"}),
    Case("sequences without a common width",
         mapping(text=[np.ones((2, width)) for width in range(1, ROWS + 1)]), options=ANY,
         refused=r"'text' must hold vectors \[D\] or sequences \[T, D\] of numbers and of one width"),
    Case(
        "pictures in a range nobody knows", mapping(text=np.full((ROWS, 4, 4, 3), 128.0)), options=ANY,
        refused=r"12 set aside, .* row 0: text: ndarray: pixels of float64 from 128 to 128, not from 0 to 1",
    ),
    Case("nothing to predict from", mapping(text=None, sound=None), options=ANY,
         refused=r"arrays must have a column or array to predict from, got none"),
    Case("a frame with a column of lists", lambda folder: pd.DataFrame({"a": [[1], [2]], "y": [1, 2]}),
         refused=r"'a' must hold strings, numbers or booleans, got list\. Convert it first"),
]
RECORDS = [
    Case(
        "lines that are no objects", json_lines("[1, 2]", "{", '"x"', '{"price": 1, "y": "a"'), rows=ROWS + 4,
        aside={
            "rows.jsonl:13": "must be a JSON object, got list", "rows.jsonl:14": "not JSON",
            "rows.jsonl:15": "must be a JSON object, got str", "rows.jsonl:16": "not JSON",
        },
    ),
    Case("deep nesting", json_lines('{"price": ' + "[" * 100_000 + "]" * 100_000 + "}"), rows=ROWS + 1,
         aside={"rows.jsonl:13": "not JSON in UTF-8: maximum recursion"}),
    Case("an entry twice in an object", json_lines('{"price": 1, "price": 2, "y": "a"}'), rows=ROWS + 1,
         aside={"rows.jsonl:13": "entry 'price' stands more than once"}),
    Case("a column of lists of words", json_lines(extra=', "tags": ["x", "y"]'), options=ANY,
         then=left_out(r"left out \(tags: must be numbers or lists of numbers .*\): tags")),
    Case("a column of lists of words that is asked for", json_lines(extra=', "tags": ["x", "y"]'),
         options=ReadOptions(target="y", text=("tags",)),
         refused=r"text must name a column that can be used, got 'tags': .*Join the words of a list"),
    Case("a list in a column of numbers", json_lines('{"note": "x", "price": [1, 2], "y": "a"}'),
         rows=ROWS + 1, aside={"rows.jsonl:13": "price: must be one value, got list"}),
    Case(
        "a vector of another length", lambda folder: csv_file(
            "\n".join(f'{{"v": [1, {row}], "y": {row % 2}}}' for row in range(ROWS)) + '\n{"v": [1], "y": 0}',
            "rows.jsonl",
        )(folder), options=ANY, rows=ROWS + 1,
        aside={"rows.jsonl:13": r"v: must be numbers \[2\] as in most rows, got float64 of shape \(1,\)"},
    ),
    Case("numbers that no float holds",
         json_lines('{"note": "x", "price": 1' + "0" * 400 + ', "y": "a"}', '{"price": NaN, "y": "b"}'),
         rows=ROWS + 2, aside={"rows.jsonl:13": "column 'price' must be a finite number"}),
    Case("JSON in UTF-16", csv_file('{"y": 1}'.encode("utf-16"), "rows.jsonl"),
         refused=r"rows\.jsonl must be text in UTF-8, got UTF-16\. Save it again"),
    Case("one JSON value", csv_file('[{"y": 1}]', "rows.json"),
         refused=r"rows\.json must be a file of rows .* write an object per line to a \.jsonl file"),
    Case("Parquet without the target", parquet(lambda columns: {"price": columns["price"]}),
         refused=r"target must name a column of rows\.parquet, got 'y'"),
    Case("a truncated Parquet", lambda folder: [
             path := parquet(lambda columns: columns)(folder), path.write_bytes(path.read_bytes()[:-20]),
         ][0], refused=r"rows\.parquet must be a whole Parquet file, got: "),
    Case("Parquet of nested objects", parquet(lambda columns: {**columns, "more": EVEN}), options=ANY,
         then=left_out(r"left out \('more' must hold strings, numbers or booleans, got dict.*\): more")),
    Case("Parquet that names a column twice",
         parquet(lambda columns: pa.table([columns["price"], columns["price"]], names=["p", "p"])),
         refused=r"rows\.parquet must name every column once, got \['p'\] more than once"),
    Case("Parquet without a row", parquet(lambda columns: pa.table({"price": pa.array([], pa.float64())})),
         refused=r"rows\.parquet must have at least one row, got none"),
    Case("Parquet with a damaged picture",
         parquet(lambda columns: {**columns, "photo": [picture()] * (ROWS - 1) + [picture()[:-30]]}),
         options=ANY, aside={"rows.parquet row 11": "photo: bytes: not a whole picture"}),
    Case("Parquet of bytes of no known kind",
         parquet(lambda columns: {**columns, "blob": [b"\x80\x04K"] * ROWS}), options=ANY,
         then=left_out(r"left out \('blob' must hold pictures or recordings, got bytes .*\): blob")),
]
SHARDS = [
    Case("a shard", shard(), options=ReadOptions()),
    Case("a compressed archive", csv_file(b"\x1f\x8b" + b"\0" * 30, "rows.tar.gz"),
         refused=r"rows\.tar\.gz must be a file of rows .* got a compressed archive: unpack it first"),
    Case("a compressed archive called tar", csv_file(zlib.compress(b"x" * 2000), "rows.tar"),
         refused=r"rows\.tar must be a whole tar file that is not compressed"),
    Case("a truncated shard", shard(("900.png", b"x" * 5000), cut=-9000), options=ReadOptions(),
         refused=r"rows\.tar must be a whole tar file .*unexpected end of data"),
    Case("no such shard", lambda folder: folder / "rows-{000..003}.tar",
         refused=r"source must be shards that are there, got rows-000\.tar"),
    Case("members whose names lead out of the folder",
         shard(("../out.png", picture()), ("../out.cls", b"a"), ("/abs.png", picture()), ("/abs.cls", b"b")),
         options=ReadOptions(), rows=ROWS + 2, then=lambda rows: rows.ids[-2:] == ["../out", "/abs"]),
    Case("links", shard(
             link("900.png", "/etc/hostname"), ("900.cls", b"a"), link("901.png", "000.png", tarfile.LNKTYPE)
         ), options=ReadOptions(), rows=ROWS + 2,
         aside={"rows.tar:900": "900.png: must be a plain file, got a link", "rows.tar:901": "a link"}),
    Case("members that cannot be read", shard(
             ("900.png", picture()[:-30]), ("900.cls", b"a"), ("901.json", b"{"), ("902.txt", b"\xff"),
             ("903.steps.npy", array_bytes(np.array([Bomb()]), pickled=True))
         ), options=ReadOptions(), rows=ROWS + 4, aside={
             "rows.tar:900": r"image: rows\.tar:900\.png: not a whole picture",
             "rows.tar:901": r"901\.json: not JSON",
             "rows.tar:902": r"902\.txt: must be text in UTF-8, got byte 0xff",
             "rows.tar:903": r"903\.steps\.npy: must be a plain array"
         }),
    Case("an entry that two members say", shard(("900.json", b'{"cls": "a"}'), ("900.cls", b"b")),
         options=ReadOptions(), rows=ROWS + 1,
         aside={"rows.tar:900": r"900\.cls: must say 'cls' once, got it from another member too"}),
    Case("members of unknown kind",
         shard(("000.pickle", pickle.dumps(Bomb())), ("README", b"x"), ("._000.png", b"x")),
         options=ReadOptions(), then=left_out(r"left out \(members of unknown kind\): \*\.pickle")),
    Case(
        "a shard without a row",
        lambda folder: [tarfile.open(folder / "rows.tar", "w").close(), folder / "rows.tar"][1],
        refused=r"rows\.tar must hold shards with members, got none"
    )
]  # fmt: skip
# fmt: on

CASES = [*TABLES, *PICTURES, *RECORDINGS, *ARRAY_FILES, *ARRAYS, *RECORDS, *SHARDS]


def test_there_are_many_cases_of_different_names() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=SLOW.get(case.name, ())) for case in CASES]
)
def test_nothing_is_lost_silently(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.parent.iterdir())
    place = tmp_path / "data"
    place.mkdir()
    source = case.make(place)
    if case.refused:
        with pytest.raises(case.error, match=f"(?s){case.refused}"):
            load(source, case.options)
    else:
        rows = load(source, case.options)
        assert {aside.where for aside in rows.set_aside} == set(case.aside)
        assert len(rows) + len(rows.set_aside) == case.rows
        for aside in rows.set_aside:
            assert re.search(case.aside[aside.where], aside.reason), aside.reason
        inputs, _ = encode(rows, fit_preprocessors(rows, np.arange(len(rows))))
        assert all(len(values) == len(rows) and not values.isinf().any() for values in inputs.values())
        assert case.then(rows)
    assert [path.name for path in tmp_path.iterdir()] == ["data"], "nothing is run or written"
    assert set(tmp_path.parent.iterdir()) == before
