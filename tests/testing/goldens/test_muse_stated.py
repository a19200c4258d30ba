"""Cases of MuSE whose expected values stand in their JSON: each value counts, and files may be absent."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fuseloom.testing.verify import verify_case

HOME = Path(__file__).parents[2] / "goldens" / "muse"
ALTERED: dict[str, tuple[str, Callable[[Any], None], str]] = {
    "entity": ("ner_f1", lambda j: j["cases"][0]["muse_bio"]["gold_entities"][0].pop(), "muse_bio.gold"),
    "score": (
        "ner_f1",
        lambda j: j["cases"][0]["umt_ner_evaluate"].update(f1=0.5),
        "umt_ner_evaluate.scores",
    ),
    "type": ("ner_f1", lambda j: j["cases"][0]["muse_bio"]["per_class"].pop("PER"), "muse_bio.types"),
    "accuracy": (
        "ner_f1",
        lambda j: j["cases"][0]["umt_ner_evaluate"].update(token_accuracy=0),
        "token_accuracy",
    ),
    "loss": ("mner_eval_01_droplast", lambda j: j["results"].update(loss=1.0), "output.loss"),
    "found": ("mner_eval_01_droplast", lambda j: j.update(n_right=1), "output.counts"),
    "piece": ("mner_features_01", lambda j: j["examples"][0]["input_ids"].reverse(), "example0.input_ids"),
    "caption": ("mner_features_01", lambda j: j["examples"][1]["caption"].reverse(), "example1.caption"),
    "mean": ("mner_features_01", lambda j: j["config"].update(mean=[0, 0, 0]), "mean and std must be"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_value_is_noticed(tmp_path: Path, name: str) -> None:
    stored, alter, reason = ALTERED[name]
    held = json.loads((HOME / f"{stored}.json").read_text("utf-8"))
    alter(held)
    tensors = HOME / f"{stored}.safetensors"
    if tensors.is_file():
        shutil.copy(tensors, tmp_path)
    (tmp_path / f"{stored}.json").write_text(json.dumps(held), "utf-8")
    found = verify_case(tmp_path / f"{stored}.json")
    assert found.status == "failed"
    assert reason in found.reason


def test_files_that_are_not_there_are_not_compared(
    goldens_dir: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Path(shutil.copy(goldens_dir / "muse" / "mner_dataset_stats.json", tmp_path))
    monkeypatch.delenv("FUSELOOM_TEST_DATA", raising=False)
    none = verify_case(case)
    assert (none.status, "Set FUSELOOM_TEST_DATA to the folder" in none.reason) == ("failed", True)
    folder = tmp_path / "some" / "twitter2017"
    folder.mkdir(parents=True)
    shutil.copy(data_dir / "twitter2017" / "valid.txt", folder)
    monkeypatch.setenv("FUSELOOM_TEST_DATA", str(folder.parent))
    found = verify_case(case)
    assert (found.status, found.reason) == ("ok", "")
    assert {check.name.split(".")[1] for check in found.checks} == {"twitter2017/valid"}
    text = (folder / "valid.txt").read_text("utf-8")
    (folder / "valid.txt").write_text(text.replace("B-PER", "B-LOC", 1), "utf-8")
    assert "twitter2017/valid.tag_counts" in verify_case(case).reason
