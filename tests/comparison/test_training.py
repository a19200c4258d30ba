from dataclasses import replace

import pytest
from safetensors.torch import load_file

from fuseloom.comparison.config import candidates
from fuseloom.comparison.fitting import taking_part
from fuseloom.comparison.jobs import load_weights
from fuseloom.comparison.measure import count_parameters
from fuseloom.comparison.pool import workers
from fuseloom.comparison.prepare import prepare
from fuseloom.comparison.training import train_all
from fuseloom.models import build_model
from fuseloom.train.fit import fit, one_thread
from fuseloom.train.journal import RunFolder


@pytest.mark.parametrize("options", [{}, {"schedule": "cosine", "warmup": 0.2}])
def test_seed_zero_goes_on_from_the_search_and_ends_as_if_trained_from_the_start(
    dataset, small, tmp_path, options
):
    config = replace(small, folds=1, learning_rates=(1e-3, 3e-3), search_epochs=2, max_epochs=6, **options)
    folds = prepare(dataset, config)
    everyone, _ = taking_part(folds, config)
    folder = RunFolder.open(tmp_path / "run", {})
    with workers(1, [fold.rows for fold in folds], folds[0].task, tmp_path) as run:
        trained = train_all(everyone, config, folder, run, lambda line: None)
    ready = folds[0]
    for one in trained:
        rows = [ready.rows.take(split, one.candidate.modalities) for split in ("train", "valid")]
        with one_thread():
            model, _ = fit(
                lambda one=one: build_model(one.candidate.model, ready.task),
                *rows,
                ready.task,
                config.fit(one.learning_rate, 0),
            )
        kept = load_file(one.weights[0][0])
        assert all(value.equal(kept[name]) for name, value in model.state_dict().items())
    assert not list((tmp_path / "run" / "weights").glob("*.state"))


def trained_with(dataset, config, out, num_workers=1):
    folds = prepare(dataset, config)
    everyone, _ = taking_part(folds, config)
    lines = []
    with workers(num_workers, [fold.rows for fold in folds], folds[0].task, out) as run:
        folder = RunFolder.open(out / "run", {"config": config.state()})
        return train_all(everyone, config, folder, run, lines.append), lines, folder


def encoder_weights(path):
    return {name: value for name, value in load_file(path).items() if name.startswith("encoders.")}


@pytest.fixture
def two_folds(small):
    return replace(
        small,
        folds=2,
        learning_rates=(1e-3, 3e-3),
        search_epochs=1,
        fusions=("sum", "cross_attention+concat"),
    )


def test_frozen_encoders_are_those_of_each_modality_alone_in_every_fold_and_seed(
    dataset, two_folds, tmp_path
):
    config = replace(two_folds, encoders="pretrained-frozen")
    trained, _, folder = trained_with(dataset, config, tmp_path)
    alone = {run.candidate.name: run for run in trained if run.candidate.role == "unimodal"}
    fused = [run for run in trained if run.candidate.role == "fusion"]
    assert [run.candidate.name for run in fused] == ["sum", "cross_attention+concat"]
    for run in fused:
        assert run.candidate.encoders == "pretrained-frozen"
        for fold in range(2):
            for seed in range(2):
                kept = encoder_weights(run.weights[fold][seed])
                wanted = [encoder_weights(one.weights[fold][seed]) for one in alone.values()]
                assert kept.keys() == {name for one in wanted for name in one}
                assert all(value.equal(kept[name]) for one in wanted for name, value in one.items())
    finished = {key for key in folder.finished if "sum" in key}
    assert all("sum (pretrained-frozen), lr" in key for key in finished)


def test_modalities_alone_are_the_same_however_the_encoders_of_fusions_start(dataset, two_folds, tmp_path):
    found = {}
    for how in ("joint", "pretrained"):
        (tmp_path / how).mkdir()
        trained, _, _ = trained_with(dataset, replace(two_folds, encoders=how), tmp_path / how)
        found[how] = {run.candidate.name: run for run in trained}
    for name in "ab":
        one, two = (load_file(found[how][name].weights[1][1]) for how in found)
        assert all(value.equal(two[key]) for key, value in one.items())
    assert found["joint"]["sum"].valid_loss != found["pretrained"]["sum"].valid_loss


def test_pretrained_encoders_are_the_start_of_a_fusion_and_learn_with_it(dataset, small, tmp_path):
    config = replace(small, folds=1, encoders="pretrained")
    trained, _, _ = trained_with(dataset, config, tmp_path)
    ready = prepare(dataset, config)[0]
    runs = {run.candidate.name: run for run in trained}
    rows = [ready.rows.take(split, ("a", "b")) for split in ("train", "valid")]

    alone = {n: load_weights(runs[n].candidate.model, runs[n].weights[0][1], ready.task) for n in "ab"}

    def started():
        model = build_model(runs["sum"].candidate.model, ready.task)
        for name, one in alone.items():
            model.encoders[name].load_state_dict(one.encoders[name].state_dict())
        return model

    with one_thread():
        model, _ = fit(started, *rows, ready.task, config.fit(runs["sum"].learning_rate, 1))
    kept = load_file(runs["sum"].weights[0][1])
    assert all(value.equal(kept[name]) for name, value in model.state_dict().items())
    before = encoder_weights(runs["a"].weights[0][1])
    assert not any(value.equal(kept[name]) for name, value in before.items() if name.endswith("weight"))


def test_a_frozen_encoder_has_no_gradient_and_no_dropout_and_is_not_counted(dataset, small):
    config = replace(small, folds=1, encoders="pretrained-frozen", dropout=0.5)
    ready = prepare(dataset, config)[0]
    frozen, joint = (
        build_model(candidates(ready.encoders, one)[2].model, ready.task) for one in (config, small)
    )
    inside = sum(value.numel() for value in frozen.encoders.parameters())
    assert count_parameters(frozen) == count_parameters(joint) - inside > 0
    rows = ready.rows.take("train", ("a", "b")).take(slice(0, 8))
    frozen.train()
    one, two = (frozen.encode(rows.inputs)[0]["a"] for _ in range(2))
    assert one.equal(two)
    assert not one.requires_grad
    joint.train()
    one, two = (joint.encode(rows.inputs)[0]["a"] for _ in range(2))
    assert not one.equal(two)


def test_what_finished_is_not_trained_again_where_fusions_wait_for_others(dataset, two_folds, tmp_path):
    config = replace(two_folds, encoders="pretrained")
    whole, _, folder = trained_with(dataset, config, tmp_path)
    keys = list(folder.finished)
    alone = [key for key in keys if "(pretrained)" not in key]
    assert keys[: len(alone)] == alone
    path = tmp_path / "run" / "journal.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[: len(alone) + 3]))
    again, rest, _ = trained_with(dataset, config, tmp_path)
    assert sum(line.startswith("[") for line in rest) == len(keys) - len(alone) - 3
    assert [run.valid_loss for run in again] == [run.valid_loss for run in whole]
    _, nothing, _ = trained_with(dataset, config, tmp_path)
    assert not any(line.startswith("[") for line in nothing)
