"""The program runs on a twin of the set, and its claims are judged by what was measured."""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fuseloom.comparison.evidence import Evidence
from fuseloom.comparison.statistics import Statistics
from fuseloom.tasks.classification import Classification


def test_the_quick_run_prints_every_claim_and_writes_it(av_digits_twin: Path, tmp_path: Path) -> None:
    program, path = import_module("av_digits"), tmp_path / "found.json"
    done = CliRunner().invoke(
        program.main, [str(av_digits_twin), "--rows", "60", "--quick", "--json", str(path)]
    )
    assert done.exit_code == 1, done.output  # one epoch on noise: no claim can hold
    found = json.loads(path.read_text("utf-8"))
    assert len(found["claims"]) == 7
    assert all(claim["what"] in done.stdout for claim in found["claims"])
    assert "NOT SO" in done.stdout


@pytest.mark.parametrize(("hidden", "holds"), [(0, True), (40, False)])
def test_claims_follow_the_scores(hidden: int, holds: bool) -> None:
    program = import_module("av_digits")
    target = np.arange(400) % 2
    right = np.eye(2)[target]

    def wrong(*rows: slice) -> list[list[np.ndarray]]:
        outputs = right.copy()
        for part in rows:
            outputs[part] = 1 - outputs[part]
        return [[outputs]]

    evidence = Evidence(
        predictions={
            "image": wrong(slice(0, 60)),
            "audio": wrong(slice(100, 150)),
            "fused": wrong(slice(0, 4)),
            "fused, image only": wrong(slice(0, 60 + hidden)),
            "fused, audio only": wrong(slice(100, 150)),
        },
        targets=[target],
        units=[np.arange(400)],
    )
    judged = {
        claim.what: claim
        for claim in program._judged(Statistics(evidence, Classification.metrics["accuracy"]))
    }
    assert len(judged) == 7
    for what, claim in judged.items():
        assert claim.holds is (holds or not what.startswith("fused with image only"))
    lost = judged["fused with image only - image alone: at least -0.01"]
    assert lost.found.mean == pytest.approx(-hidden / 400)


def test_only_what_is_asked_for_is_present() -> None:
    import torch

    from fuseloom.types import Batch

    program = import_module("av_digits")
    real = torch.tensor([True, False])
    rows = Batch(inputs={"a": torch.ones(2, 1), "b": torch.ones(2, 1)}, masks={"a": real, "b": real})
    alone = program._without_others(rows, "b")
    assert alone.masks["a"].tolist() == [False, False]
    assert alone.masks["b"].tolist() == [True, False]
    assert program._only(rows, ["a"]).inputs.keys() == {"a"}
