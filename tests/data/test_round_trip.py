"""What is read for training, and the same read again for prediction, must be encoded alike."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from PIL import Image as Picture

from fuseloom.data import (
    ReadOptions,
    encode,
    fit_preprocessors,
    load,
    preprocessors_from_state,
    preprocessors_state,
    read_rows,
    schema_from_state,
    schema_state,
)
from fuseloom.data.media import Sound

ROWS = 8
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (ROWS, 9, 8, 3), dtype=np.uint8)
WAVES = RNG.uniform(-0.5, 0.5, (ROWS, 700))
VECTORS = RNG.normal(size=(ROWS, 3))
STEPS = RNG.normal(size=(ROWS, 5, 2))
TIMES = np.sort(RNG.uniform(0, 9, (ROWS, 5)), axis=1)
TEXTS = [f"words that are long enough not to be a category, number {row}" for row in range(ROWS)]
PRICES = [row + 0.5 for row in range(ROWS)]
CLASSES = ["no", "yes"] * (ROWS // 2)


def png(row: int) -> bytes:
    file = io.BytesIO()
    Picture.fromarray(PIXELS[row]).save(file, "PNG")
    return file.getvalue()


def wav(row: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, WAVES[row], 8000, format="WAV", subtype="FLOAT")
    return file.getvalue()


def table(folder: Path, *, labelled: bool) -> Path:
    for row in range(ROWS):
        (folder / f"p{row}.png").write_bytes(png(row))
        (folder / f"s{row}.wav").write_bytes(wav(row))
        np.save(folder / f"v{row}.npy", VECTORS[row])
    columns: dict[str, Any] = {
        "photo": [f"p{row}.png" for row in range(ROWS)],
        "clip": [f"s{row}.wav" for row in range(ROWS)],
        "vector": [f"v{row}.npy" for row in range(ROWS)],
        "note": TEXTS,
        "price": PRICES,
        **({"y": CLASSES} if labelled else {}),
    }
    path = folder / f"rows{labelled}.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def lines(folder: Path, *, labelled: bool) -> Path:
    path = folder / f"rows{labelled}.jsonl"
    rows = [
        {"v": VECTORS[row].tolist(), "steps": STEPS[row, : 1 + row % 5].tolist(), "note": TEXTS[row]}
        | ({"y": CLASSES[row]} if labelled else {})
        for row in range(ROWS)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def parquet(folder: Path, *, labelled: bool) -> Path:
    path = folder / f"rows{labelled}.parquet"
    columns = {
        "v": VECTORS.tolist(),
        "photo": [png(row) for row in range(ROWS)],
        "clip": [{"bytes": wav(row), "path": f"{row}.wav"} for row in range(ROWS)],
        "price": PRICES,
        **({"y": CLASSES} if labelled else {}),
    }
    pq.write_table(pa.table(columns), path)
    return path


def shards(folder: Path, *, labelled: bool) -> Path:
    path = folder / f"rows{labelled}.tar"
    with tarfile.open(path, "w") as archive:
        for row in range(ROWS):
            members = {"png": png(row), "wav": wav(row), "json": json.dumps({"price": PRICES[row]}).encode()}
            for end, content in {**members, **({"y.cls": CLASSES[row].encode()} if labelled else {})}.items():
                info = tarfile.TarInfo(f"{row}.{end}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def arrays(folder: Path, *, labelled: bool) -> Path:
    place = folder / f"arrays{labelled}"
    place.mkdir()
    np.save(place / "v.npy", VECTORS)
    np.save(place / "photo.npy", PIXELS)
    np.savez(place / "steps.npz", values=STEPS, time=TIMES, mask=STEPS[..., 0] > -1)
    pd.DataFrame(VECTORS, columns=["a", "b", "c"]).to_csv(place / "sensors.csv", index=False)
    if labelled:
        np.save(place / "y.npy", np.array(CLASSES))
    return place


def archive(folder: Path, *, labelled: bool) -> Path:
    path = folder / f"rows{labelled}.npz"
    extra = {"y": np.array(CLASSES)} if labelled else {}
    np.savez(path, v=VECTORS, steps=STEPS, photo=PIXELS, **{"steps.time": TIMES}, **extra)
    return path


def mapping(folder: Path, *, labelled: bool) -> dict[str, Any]:
    return {
        "v": torch.from_numpy(VECTORS),
        "steps": [STEPS[row, : 1 + row % 5] for row in range(ROWS)],
        "steps.time": [TIMES[row, : 1 + row % 5] for row in range(ROWS)],
        "photo": list(PIXELS),
        "clip": [Sound(wave, 8000) for wave in WAVES],
        "note": TEXTS,
        **({"y": CLASSES} if labelled else {}),
    }


SOURCES = [table, lines, parquet, shards, arrays, archive, mapping]
KINDS = {
    table: {"photo": "image", "clip": "audio", "vector": "embedding", "note": "text", "tabular": "table"},
    lines: {"v": "embedding", "steps": "embedding", "note": "text"},
    parquet: {"v": "embedding", "photo": "image", "clip": "audio", "tabular": "table"},
    shards: {"image": "image", "audio": "audio", "tabular": "table"},
    arrays: {"photo": "image", "sensors": "embedding", "steps": "series", "v": "embedding"},
    archive: {"v": "embedding", "steps": "series", "photo": "image"},
    mapping: {"v": "embedding", "steps": "series", "photo": "image", "clip": "audio", "note": "text"},
}


@pytest.mark.parametrize("make", SOURCES)
def test_rows_read_for_prediction_are_encoded_as_in_training(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    rows = load(make(tmp_path, labelled=True), ReadOptions(target="y"))
    assert {name: modality.kind for name, modality in rows.modalities.items()} == KINDS[make]
    assert rows.target.tolist() == CLASSES
    fitted = fit_preprocessors(rows, np.arange(6))
    inputs, masks = encode(rows, fitted)
    schema = schema_from_state(json.loads(json.dumps(schema_state(rows.schema))))
    again = preprocessors_from_state(json.loads(json.dumps(preprocessors_state(fitted))))
    assert (schema, again) == (rows.schema, fitted)
    new = read_rows(make(tmp_path, labelled=False), schema)
    assert (new.target, new.set_aside, new.notes) == (None, (), ())
    others, other_masks = encode(new, again)
    for name in inputs:
        torch.testing.assert_close(others[name], inputs[name], rtol=0, atol=0, equal_nan=True)
        assert torch.equal(other_masks[name], masks[name])
        assert masks[name].any()


@pytest.mark.parametrize("make", SOURCES)
def test_any_modality_may_be_absent_from_new_rows(make: Callable[..., Any], tmp_path: Path) -> None:
    rows = load(make(tmp_path, labelled=True), ReadOptions(target="y"))
    fitted = fit_preprocessors(rows, np.arange(6))
    inputs, _ = encode(rows, fitted)
    present = {"price": [1.0, 2.0]} if "tabular" in fitted else {"v": VECTORS[:2]}
    new = read_rows(present, rows.schema)
    others, masks = encode(new, fitted)
    there = "tabular" if "tabular" in fitted else "v"
    assert masks[there].all()
    for name in inputs.keys() - {there}:
        assert f"{name}: missing in every row" in new.notes
        assert not masks[name].any()
        assert not others[name].any()
        assert others[name].dtype == inputs[name].dtype
        assert others[name].shape[2:] == inputs[name].shape[2:]
        assert len(others[name]) == 2
