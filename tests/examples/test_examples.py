"""Every example runs as its reader would run it, and says what it promises."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fuseloom.data import load, read_rows

FOLDER = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(FOLDER / name), *arguments], capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout


def test_every_example_has_a_test_and_is_short() -> None:
    tested = set(re.findall(r'"(\d\d_\w+\.py)"', Path(__file__).read_text("utf-8")))
    files = sorted(FOLDER.glob("*.py"))
    assert {file.name for file in files} == tested
    assert all(len(file.read_text("utf-8").splitlines()) < 100 for file in files)


def test_the_fusion_learns_what_no_modality_says_alone() -> None:
    accuracy = float(run("01_create_a_fusion.py").split()[1].rstrip(","))
    assert accuracy > 0.9


@pytest.mark.slow
def test_the_contract_accepts_the_one_and_refuses_the_other() -> None:
    kept, broken = run("02_check_your_own_part.py").splitlines()
    assert kept == "Product keeps the contract."
    assert broken.startswith("Centred does not: centred breaks 'samples_independent'")


def test_the_rows_are_those_of_the_embedded_set(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    run("03_rows_to_predict.py", str(table))
    digits = load("digits")
    rows = read_rows(str(table), digits.schema)
    with table.open(encoding="utf-8", newline="") as file:
        drawn = [row["digit"] for row in csv.DictReader(file)]
    assert digits.target is not None
    assert len(set(drawn)) > 3
    picked = np.arange(0, len(digits), 225)
    assert drawn == digits.target[picked].tolist()
    for name, modality in rows.modalities.items():
        np.testing.assert_array_equal(modality.values, digits.modalities[name].values[picked])


def test_the_tables_of_the_reviews_are_the_printed_ones() -> None:
    pytest.importorskip("statsmodels.api", exc_type=ImportError)
    said = run("04_reviews_regression.py")
    weights = [
        tuple(map(float, re.findall(r" (-?\d\.\d\d)  \(", part))) for part in said.split("score ~")[1:]
    ]
    assert weights == [(4.63, 1.20), (5.29, 1.19, -1.69), (5.79, 0.68, -2.94, 1.29)]
    assert "from a critic 1.97" in said
