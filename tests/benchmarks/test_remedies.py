"""The program that tries remedies where the truth is known."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def program() -> Any:
    return import_module("remedies")


@pytest.fixture
def written() -> Any:
    return import_module("remedy_tables")


def draw(seed: int, **accuracies: float) -> dict[str, Any]:
    runs = {name.removeprefix("plain"): {"accuracy": value, "air": 0.1} for name, value in accuracies.items()}
    return {"setting": [0.0, 1.0], "seed": seed, "best": {"easy": 0.9}, "alone": {"easy": 0.8}, "runs": runs}


def test_a_draw_trains_without_a_remedy_and_with_each(program: Any) -> None:
    job = program.Job(
        data="imbalanced",
        setting=(1.0, 1.0),
        seed=100,
        folder="",
        epochs=1,
        remedies=("ogm", "mmcosine", "umt"),
    )
    found = program.run(job)
    assert list(found["runs"]) == ["", "ogm", "mmcosine", "umt"]
    assert set(found["alone"]) == {"easy", "hard"}
    assert found["best"]["easy + hard"] > found["best"]["easy"] > found["best"]["hard"]
    for name, one in found["runs"].items():
        assert 0.4 < one["accuracy"] < found["best"]["easy + hard"] + 0.05
        assert ("mass" in one) is (name != "mmcosine"), "what predicts by parts of its own has no attention"
    assert -1 <= found["runs"][""]["follows"] <= 1


def test_qualities_that_do_not_vary_cannot_be_followed(program: Any) -> None:
    job = program.Job(data="imbalanced", setting=(0.0, 0.0), seed=100, folder="", epochs=1, remedies=())
    assert "follows" not in program.run(job)["runs"][""]


def test_gains_are_in_pairs_and_judged_together(written: Any) -> None:
    noise = np.random.default_rng(0).normal(0, 0.001, 10)
    draws = [
        draw(n, plain=0.8 + n / 100, good=0.85 + n / 100 + e, bad=0.7 + n / 100 - e, same=0.8 + n / 100 + e)
        for n, e in enumerate(noise)
    ]
    found = written.summary(draws)
    assert (found["good"]["verdict"], found["bad"]["verdict"]) == ("helps", "harms")
    assert "verdict" not in found["same"]
    assert found["good"]["gain"] == pytest.approx(0.05 + noise.mean())
    assert found["good"]["gain_low"] < found["good"]["gain"] < found["good"]["gain_high"]
    assert "gain" not in found[""]


def test_results_are_stored_and_not_repeated(
    program: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "found.json"
    held = {"format_version": 1, "draws": [draw(100, plain=0.8, ogm=0.9), draw(101, plain=0.8, ogm=0.9)]}
    for one in held["draws"]:
        one["setting"] = [0.0, 0.5]
    path.write_text(json.dumps(held), "utf-8")
    monkeypatch.setattr(program, "run", None)
    assert program.main(["imbalanced", "--settings", "1", "--draws", "2", "--json", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "(0.0, 0.5), 2 draws; at most: easy 0.900" in shown
    assert "ogm" in shown
    assert json.loads(path.read_text("utf-8")) == held


def test_levels_of_noise_are_drawn_for_each_row_of_digits(data_dir: Path) -> None:
    found = import_module("noisy_digits").noisy_digits(data_dir / "av-digits", worst=1.0, seed=3)
    assert {name: len(rows) for name, rows in found.splits.items()} == {
        "train": 600,
        "valid": 300,
        "test": 800,
    }
    assert found.better.shape == (800,)
    assert -1 < found.better.min() < -0.5 < 0.5 < found.better.max() < 1
    spread = found.splits["test"].inputs["image"][:, :, :14].std((1, 2)).double().numpy()
    assert np.corrcoef(spread, found.better)[0, 1] < -0.3, "worse pictures vary more"
