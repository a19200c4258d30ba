"""Every finding on data made for it, and none on data without fault."""

import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseloom.data import ReadOptions, load
from fuseloom.data.checks import CheckResult, Finding, check
from fuseloom.data.media import Sound
from fuseloom.errors import DataError

ROWS = 60


def clean(seed: int = 0) -> dict[str, Any]:
    """Two modalities that say something of the target, and nothing wrong."""
    generator = np.random.default_rng(seed)
    target = np.arange(ROWS) % 3
    return {
        "a": generator.normal(size=(ROWS, 9)) + target[:, None],
        "b": generator.normal(size=(ROWS, 4, 2)),
        "target": np.array(["x", "y", "z"], dtype=object)[target],
        "split": np.array((["train"] * 4 + ["valid", "test"]) * (ROWS // 6)),
    }


def checked(data: Any, **options: Any) -> CheckResult:
    return check(load(data, ReadOptions(**options)))


def found(result: CheckResult) -> dict[str, Finding]:
    return {one.kind: one for one in result.findings}


def only(data: Any, **options: Any) -> Finding:
    (one,) = checked(data, **options).findings
    return one


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25)
def test_clean_data_have_no_finding(seed: int) -> None:
    assert checked(clean(seed)).findings == ()


def test_rows_of_both_splits_are_told_with_their_ids() -> None:
    data = clean()
    data["a"][5], data["b"][5] = data["a"][0], data["b"][0]
    one = found(checked(data))["copies-across-splits"]
    assert (one.severity, one.count, one.where) == ("error", 1, ("0 (train) = 5 (test)",))


def test_copies_within_a_split_are_no_fault() -> None:
    data = clean()
    data["a"][6], data["b"][6], data["target"][6] = data["a"][0], data["b"][0], data["target"][0]
    assert checked(data).findings == ()


def test_content_of_one_modality_in_two_splits_is_a_warning() -> None:
    data = clean()
    data["a"][5] = data["a"][0]
    one = only(data)
    assert (one.severity, one.kind, one.where) == (
        "warning",
        "copies-across-splits",
        ("0 (train) = 5 (test)",),
    )
    assert "contents of a stand" in one.what


def test_without_splits_copies_are_told_before_splits_are_made() -> None:
    data = {name: value for name, value in clean().items() if name != "split"}
    for row in (7, 8):
        data["a"][row], data["b"][row], data["target"][row] = data["a"][1], data["b"][1], data["target"][1]
    one = only(data)
    assert (one.severity, one.kind, one.count, one.where) == ("warning", "copies", 2, ("1 = 7 = 8",))


def test_folds_are_looked_at_one_by_one(npy_folder: Path) -> None:
    image, text = np.load(npy_folder / "image.npy"), np.load(npy_folder / "text.npy")
    image[3], text[3] = image[0], text[0]
    np.save(npy_folder / "image.npy", image)
    np.save(npy_folder / "text.npy", text)
    result = checked(npy_folder, target="intent", fold_columns=("fold*",))
    assert found(result)["copies-across-splits"].where == ("fold 0, p0 (train) = p3 (test)",)


def test_the_same_content_under_two_targets() -> None:
    data = clean()
    data["a"][6], data["b"][6], data["target"][6] = data["a"][0], data["b"][0], "y"
    one = only(data)
    assert (one.severity, one.kind, one.where) == ("warning", "contradictions", ("0 = 6",))


def test_two_modalities_of_the_same_content() -> None:
    data = clean()
    data["b"] = data["a"].copy()
    one = only(data)
    assert (one.kind, one.where) == ("equal-modalities", ("a", "b"))


def test_few_different_rows_repeat_by_chance_and_are_only_a_warning() -> None:
    bits = np.arange(ROWS)
    data = {"a": bits % 2, "b": bits // 2 % 2, "split": clean()["split"], "target": bits // 4 % 2}
    kinds = {(one.severity, one.kind) for one in checked(data, kinds={"a": "number", "b": "number"}).findings}
    assert ("warning", "copies-across-splits") in kinds
    assert not any(severity == "error" for severity, _ in kinds)


def test_groups_in_two_splits() -> None:
    speaker = np.array([f"s{row // 6}" for row in range(ROWS)])
    data = {**clean(), "split": np.array(["train"] * 42 + ["valid"] * 6 + ["test"] * 12)}
    data["split"][0] = "test"
    one = found(checked({**data, "speaker": speaker}, group_column="speaker"))["groups-across-splits"]
    assert (one.severity, one.count, one.where) == ("error", 1, ("s0 (test, train)",))


def test_rare_classes() -> None:
    data = clean()
    data["target"][:] = np.where(np.arange(ROWS) % 2, "x", "y")
    data["target"][[0, 6]] = "rare"
    one = only(data)
    assert (one.severity, one.kind, one.where) == ("warning", "imbalance", ("rare: 2",))


def test_numbers_to_predict_have_no_classes() -> None:
    data = {**clean(), "target": np.random.default_rng(1).normal(size=ROWS) ** 3}
    assert checked(data).findings == ()


def test_classes_without_training_rows() -> None:
    data = clean()
    data["target"][data["split"] == "test"] = "new"
    one = only(data)
    assert (one.severity, one.kind, one.where) == ("error", "untrained-classes", ("new",))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_entries_that_are_not_finite(wrong: float) -> None:
    data = clean()
    data["a"][4, 2] = data["b"][9, 1, 0] = wrong
    one, other = checked(data).findings
    assert (one.severity, one.kind, one.where, other.where) == ("warning", "not-finite", ("4",), ("9",))


def test_what_is_missing_is_not_wrong() -> None:
    data = clean()
    data["a"][4], data["b"][9], data["b"][3, 2:] = np.nan, np.nan, np.nan
    assert checked(data).findings == ()


def test_a_channel_of_a_series_may_be_missing_but_not_infinite() -> None:
    data = clean()
    data["b"][4, 1, 0] = np.nan
    assert checked(data, kinds={"b": "series"}).findings == ()
    data["b"][5, 1, 0] = np.inf
    assert only(data, kinds={"b": "series"}).where == ("5",)


def test_constant_features_columns_and_modalities() -> None:
    data = clean()
    data["a"][:, 3] = 7
    data["b"][:] = 1
    one = found(checked(data))["constant"]
    assert (one.severity, one.where) == ("warning", ("a, feature 3", "b"))
    table = table_of(colour=["red"] * ROWS, gap=["same" if row % 2 else None for row in range(ROWS)])
    tabular = ("tabular=size,colour,gap",)
    one = found(checked(table, target="y", tabular=tabular, text=("words",)))["constant"]
    assert one.where == ("tabular, column 'colour'",)


def table_of(**columns: Any) -> Any:
    import pandas as pd

    generator = np.random.default_rng(0)
    size = generator.normal(size=ROWS).round(6)
    words = [f"a text of its own, number {row}" for row in range(ROWS)]
    target = [("no", "yes")[row] for row in generator.integers(0, 2, ROWS)]
    return pd.DataFrame({"size": size, "words": words, "y": target, **columns})


def leak(column: Any, target: Any = None) -> Mapping[str, Finding]:
    own = {} if target is None else {"y": target}
    frame = table_of(leak=column, **own)
    result = checked(frame, target="y", tabular=("tabular=size,leak",), text=("words",))
    return {one.severity: one for one in result.findings if one.kind == "input-tells-target"}


LABELS = [("no", "yes")[row % 2] for row in range(ROWS)]


@pytest.mark.parametrize(
    ("column", "target", "severity"),
    [
        pytest.param(["JA" if y == "yes" else "NEIN" for y in LABELS], LABELS, "error", id="renamed class"),
        pytest.param([float(y == "yes") for y in LABELS], LABELS, "error", id="class as a number"),
        pytest.param([f"{y}{row % 4 // 2}" for row, y in enumerate(LABELS)], LABELS, "warning", id="finer"),
        pytest.param(
            [10 * (y == "yes") + row / 100 for row, y in enumerate(LABELS)], LABELS, "warning", id="ranges"
        ),
        pytest.param(np.arange(ROWS) * 3.0 + 1, np.arange(ROWS) / 7, "error", id="linear"),
        pytest.param(np.exp(-np.arange(ROWS) / 9), np.arange(ROWS) / 7, "error", id="falling"),
        pytest.param(np.arange(ROWS) ** 2 % 59, np.arange(ROWS) / 7, None, id="unrelated"),
        pytest.param([LABELS[row - (row == 9)] for row in range(ROWS)], LABELS, None, id="all but one"),
        pytest.param([f"code {row}" for row in range(ROWS)], LABELS, None, id="unlike in every row"),
    ],
)
def test_a_column_that_tells_the_target(column: Any, target: Any, severity: str | None) -> None:
    told = leak(column, target)
    assert told.keys() == ({severity} if severity is not None else set())
    if severity is not None:
        assert told[severity].where == ("tabular, column 'leak'",)


def test_a_feature_and_a_text_that_tell_the_target() -> None:
    data = clean()
    data["a"][:, 5] = np.arange(ROWS) % 3
    assert found(checked(data))["input-tells-target"].where == ("a, feature 5",)
    frame = table_of(verdict=[f"verdict: {y}" for y in LABELS], y=LABELS)
    one = found(checked(frame, target="y", tabular=("size",), text=("words", "verdict")))
    assert one["input-tells-target"].where == ("verdict",)


def test_a_leak_is_looked_for_in_every_row_of_many() -> None:
    target = np.array(["no", "yes"])[np.arange(20_000) % 2]
    column = (target == "yes").astype(float)
    wrong = column.copy()
    wrong[1] = 0  # a row that the first look does not see
    noise = np.random.default_rng(0).normal(size=(20_000, 1))
    kinds = [
        {one.kind for one in checked({"a": np.c_[leaking, noise], "b": noise * 2, "target": target}).findings}
        for leaking in (column, wrong)
    ]
    assert ["input-tells-target" in one for one in kinds] == [True, False]


@pytest.mark.parametrize(("share", "severity"), [(1.0, "error"), (0.7, "warning"), (1 / 3, None)])
def test_a_gap_that_tells_the_target(share: float, severity: str | None) -> None:
    data = clean()
    count = round(share * ROWS / 3)
    data["a"][np.flatnonzero(data["target"] == "z")[:count]] = np.nan
    others = np.flatnonzero(data["target"] != "z")
    if share < 0.5:
        data["a"][others[: 2 * count]] = np.nan
    one = found(checked(data)).get("gap-tells-target")
    assert (one and one.severity) == severity
    if one is not None:
        assert (one.where, one.count) == (("a",), count)


def test_a_gap_in_a_column_that_tells_a_number() -> None:
    target = np.random.default_rng(0).normal(size=ROWS)
    frame = table_of(died=["" if y < 0 else "2020" for y in target], y=target)
    result = checked(frame, target="y", tabular=("tabular=size,died",), text=("words",))
    one = found(result)["gap-tells-target"]
    assert (one.severity, one.where) == ("warning", ("tabular, column 'died'",))


def write_files(folder: Path, names: list[str]) -> None:
    from PIL import Image

    generator = np.random.default_rng(0)
    for name in names:
        Image.fromarray(generator.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / f"{name}.png")
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 80, "NONE", ""))
            file.writeframes(generator.integers(-99, 99, 80).astype("<i2").tobytes())


def files_table(folder: Path, pairs: list[tuple[str, str]]) -> Path:
    lines = [f"{a}.png,{b}.wav,{'no' if row % 2 else 'yes'}" for row, (a, b) in enumerate(pairs)]
    path = folder / "rows.csv"
    path.write_text("\n".join(["photo,sound,y", *lines]), encoding="utf-8")
    return path


def test_unreadable_files_are_errors_with_file_row_and_reason(tmp_path: Path) -> None:
    names = [f"r{row}" for row in range(6)]
    write_files(tmp_path, names)
    (tmp_path / "r2.png").write_bytes((tmp_path / "r2.png").read_bytes()[:40])
    (tmp_path / "r4.wav").unlink()
    one = found(checked(files_table(tmp_path, list(zip(names, names, strict=True))), target="y"))[
        "unreadable"
    ]
    assert (one.severity, one.count) == ("error", 2)
    assert one.where[0].startswith("rows.csv:4: photo: r2.png: not a ")
    assert one.where[1].startswith("rows.csv:6: sound: r4.wav: ")


def test_rows_without_a_target_are_a_warning(reviews: Path) -> None:
    text = reviews.read_text(encoding="utf-8").replace("red,1", "red,", 1)
    reviews.write_text(text + "only,three\n", encoding="utf-8")
    result = found(checked(reviews, target="score"))
    assert (result["unlabelled"].severity, result["unlabelled"].count) == ("warning", 1)
    assert result["unlabelled"].where[0].startswith("reviews.csv:2: target 'score' must be known")
    assert result["unreadable"].where[0].startswith("reviews.csv:6: the header has 5 fields")


def test_files_joined_to_the_wrong_rows(tmp_path: Path) -> None:
    names = [f"r{row}" for row in range(10)]
    write_files(tmp_path, names)
    assert checked(files_table(tmp_path, list(zip(names, names, strict=True))), target="y").findings == ()
    shifted = list(zip(names, names[1:] + names[:1], strict=True))
    one = only(files_table(tmp_path, shifted), target="y")
    assert (one.severity, one.kind, one.count) == ("error", "misaligned", 10)
    assert one.where[0] == "0: photo 'r0', sound 'r1'"


def test_the_same_picture_in_two_rows(tmp_path: Path) -> None:
    names = [f"r{row}" for row in range(10)]
    write_files(tmp_path, names)
    (tmp_path / "r7.png").write_bytes((tmp_path / "r1.png").read_bytes())
    path = files_table(tmp_path, list(zip(names, names, strict=True)))
    one = only(path, target="y")
    assert (one.kind, one.where) == ("copies", ("1 = 7",))
    assert "of another one in photo" in one.what


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    names = [f"r{row}" for row in range(6)]
    write_files(tmp_path, names)
    rows = load(files_table(tmp_path, list(zip(names, names, strict=True))), target="y")
    (tmp_path / "r3.png").unlink()
    with pytest.raises(
        DataError, match=r"r3\.png must still be there, got: no such file or directory\. Check"
    ):
        check(rows)


def test_recordings_and_pictures_in_memory_are_compared() -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 255, (12, 8, 8), dtype=np.uint8)
    pixels[9] = pixels[2]
    sounds = [Sound(samples=generator.normal(size=50).astype(np.float32), rate=8000) for _ in range(12)]
    sounds[9] = Sound(samples=sounds[2].samples, rate=16000)
    one = only({"image": pixels, "audio": sounds, "target": ["x", "y"] * 6})
    assert (one.kind, one.where) == ("copies", ("2 = 9",))
    assert "in image" in one.what


def test_errors_come_first() -> None:
    data = clean()
    data["a"][:, 3] = 7
    data["target"][data["split"] == "test"] = "new"
    assert [one.severity for one in checked(data).findings] == ["error", "warning"]
    assert checked(data).count("error") == checked(data).count("warning") == 1
