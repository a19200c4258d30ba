"""What is seen of a model while it trains, and that it trains as if nobody had looked."""

import json

import pytest
from safetensors.torch import load_file

from fuseloom.comparison.recipe_run import run_recipe
from fuseloom.data.scenes.ner import write_ner_scenes
from fuseloom.errors import DataError, OptionError
from fuseloom.train.recipe import read_recipe

BOTH = "watch=[shared-space, gradient-norms]"
ALL = "watch=[shared-space, gradient-norms, costs]"


class KilledError(Exception):
    pass


def recipe(*more):
    quick = ["fit.max_epochs=3", "model.dim=8", "fit.batch_size=400", "model.fusion=cross_attention+sum"]
    return read_recipe("digits", [*quick, *more])


def test_a_run_that_is_watched_is_the_run_that_it_would_have_been(tmp_path):
    alone = run_recipe(recipe(), tmp_path / "alone")
    watched = run_recipe(recipe(ALL), tmp_path / "watched")
    assert alone.watched == {}
    assert not (tmp_path / "alone" / "watched.jsonl").exists()
    assert watched.scores == alone.scores
    one, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("alone", "watched"))
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)
    for costs in watched.watched["costs"]:
        assert costs["step of 64, ms"] > costs["row, ms"] > 0
        assert costs["peak MB"] > 4 * watched.parameters / 1e6


def test_what_is_seen_is_told_and_written_for_each_epoch(tmp_path):
    result = run_recipe(recipe(BOTH), tmp_path)
    assert sorted(result.watched) == ["gradient-norms", "shared-space"]
    assert [[one["epoch"] for one in seen] for seen in result.watched.values()] == [[1, 2, 3]] * 2
    space, norms = result.watched["shared-space"], result.watched["gradient-norms"]
    for where in ("before exchange", "before merge"):
        assert all(0 <= one[f"top / bottom {where}: gap"] <= 2 for one in space)
        assert all(0 <= one[f"top / bottom {where}: recall@10"] <= 1 for one in space)
    assert space[0] != {**space[2], "epoch": 1}
    assert all(one["top: task"] > 0 and one["bottom: task"] > 0 for one in norms)
    lines = [json.loads(line) for line in (tmp_path / "watched.jsonl").read_text().splitlines()]
    assert [line for line in lines if line.pop("watcher") == "gradient-norms"] == norms
    assert run_recipe(recipe(BOTH), tmp_path) == result


def test_a_run_that_was_stopped_keeps_what_was_seen(tmp_path):
    def stop(line):
        if line.startswith("epoch 2"):
            raise KilledError

    whole = run_recipe(recipe(BOTH), tmp_path / "whole")
    with pytest.raises(KilledError):
        run_recipe(recipe(BOTH), tmp_path / "stopped", progress=stop)
    assert len((tmp_path / "stopped" / "watched.jsonl").read_text().splitlines()) == 2
    assert run_recipe(recipe(BOTH), tmp_path / "stopped").watched == whole.watched


def test_what_cannot_be_watched_is_refused_before_training(tmp_path):
    with pytest.raises(
        OptionError, match=r"watch must be of costs, gradient-norms, shared-space, got 'shared'\."
    ):
        run_recipe(recipe("watch=[shared]"), tmp_path / "unknown")
    space = "watch=[shared-space]"
    with pytest.raises(DataError, match=r"shared-space must have at least 80 validation rows, got \d+"):
        run_recipe(recipe(space, "data.fraction=0.05"), tmp_path / "few")
    with pytest.raises(DataError, match=r"shared-space must have two modalities or more, got \['top'\]"):
        run_recipe(recipe(space, "data.modalities=[top]", "model.fusion=concat"), tmp_path / "one")
    assert not [*tmp_path.glob("*/metrics.jsonl")]


def test_a_model_that_diverged_is_trained_on_with_nothing_seen(tmp_path):
    told = []
    result = run_recipe(recipe(BOTH, "fit.lr=1e30", "fit.clip_norm=0"), tmp_path, progress=told.append)
    assert result.watched["shared-space"][-1] == {"epoch": result.epochs}
    assert any(line.startswith(f"shared-space after epoch {result.epochs}: ") for line in told)
    assert result.watched["gradient-norms"][-1]["top: task"] is None


def test_each_decoder_of_muse_pulls_at_the_encoder_that_it_reads(tmp_path, small_muse):
    write_ner_scenes(tmp_path / "scenes", sentences={"train": 12, "valid": 4, "test": 4})
    options = json.dumps({"muse": small_muse})
    given = [f"data.source={tmp_path / 'scenes'}", "model.fusion=muse", f"model.options={options}"]
    quick = ["model.dim=8", "fit.max_epochs=1", "fit.batch_size=12", "watch=[gradient-norms]"]
    (seen,) = run_recipe(read_recipe(None, [*given, *quick]), tmp_path / "run").watched["gradient-norms"]
    reached = {name for name, norm in seen.items() if norm > 0} - {"epoch"}
    assert reached == {"text: task", "image: task", "image: captioning", "text: painting"}
    assert seen["text: captioning"] == seen["image: painting"] == 0
