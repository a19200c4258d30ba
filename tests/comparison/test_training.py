from dataclasses import replace

from safetensors.torch import load_file

from fuseloom.comparison.fitting import taking_part
from fuseloom.comparison.pool import workers
from fuseloom.comparison.prepare import prepare
from fuseloom.comparison.training import train_all
from fuseloom.models import build_model
from fuseloom.train.fit import fit, one_thread
from fuseloom.train.journal import RunFolder


def test_seed_zero_goes_on_from_the_search_and_ends_as_if_trained_from_the_start(dataset, small, tmp_path):
    config = replace(small, learning_rates=(1e-3, 3e-3), search_epochs=2, max_epochs=6)
    folds = prepare(dataset, config)
    everyone, _ = taking_part(folds, config)
    folder = RunFolder.open(tmp_path / "run", {})
    with workers(1, [folds[0].rows], folds[0].task, tmp_path) as run:
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
