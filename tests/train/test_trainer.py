import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fuseloom import Alignment, Batch
from fuseloom.diagnose.gradients import GradientRecorder
from fuseloom.errors import MissingExtraError, OptionError, RunError
from fuseloom.models import ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.train import callbacks, trainer
from fuseloom.train.fit import FitConfig, fit
from fuseloom.train.trainer import TrainerConfig, fit_with_trainer

FIT = FitConfig(lr=0.01, max_epochs=3, batch_size=16, patience=3)
CPU = TrainerConfig(accelerator="cpu")


def same(one, other):
    return all(value.equal(other.state_dict()[name]) for name, value in one.state_dict().items())


def by_trainer(problem, folder, fit=FIT, config=CPU):
    return fit_with_trainer(*problem, fit, trainer=config, folder=folder)


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 1},
        {},
        {"class_weight": "balanced"},
        {"modality_dropout": 0.3},
        {"rates": {"head": 10.0}},
        {"schedule": "cosine", "warmup": 0.2},
        {"rates": {"head": 10.0}, "no_decay": {"head": "vectors"}},
        {"schedule": "linear", "planned_epochs": 9, "clip_norm": 0.1},
        {"schedule": "poly", "warmup": 0.2, "warmup_from": 0.1},
        {"clip_norm": 0.0},
        {"select": "metric", "patience": 2},
        {"select": "metric", "class_weight": "balanced"},
    ],
)
def test_both_loops_give_the_same_weights_bit_for_bit(problem, tmp_path, options):
    config = replace(FIT, lr=0.05, max_epochs=6, **options)
    plain, told = fit(*problem, config)
    state = torch.get_rng_state()
    by_lightning, also_told = by_trainer(problem, tmp_path, config)
    assert same(plain, by_lightning)
    assert replace(told, train_s=0.0) == replace(also_told, train_s=0.0)
    assert torch.get_rng_state().equal(state)
    assert not by_lightning.training
    assert len({value.untyped_storage().data_ptr() for value in by_lightning.parameters()}) > 1


def test_both_loops_show_the_same_gradients_and_nothing_changes(problem, tmp_path):
    by_fit, by_lightning = (GradientRecorder(problem[1], problem[3], model="m") for _ in range(2))
    bare, told = fit(*problem, FIT)
    plain, _ = fit(*problem, FIT, after_epoch=by_fit)
    model, also_told = fit_with_trainer(*problem, FIT, trainer=CPU, folder=tmp_path, after_epoch=by_lightning)
    assert same(bare, plain)
    assert same(bare, model)
    assert replace(told, train_s=0.0) == replace(also_told, train_s=0.0)
    assert len(by_fit.history) == 3
    assert by_fit.history == by_lightning.history
    fit_with_trainer(*problem, FIT, trainer=CPU, folder=tmp_path, after_epoch=by_lightning)
    assert len(by_lightning.history) == 3  # the run was over


def test_both_loops_look_after_each_epoch_of_each_stage(problem, tmp_path):
    staged, config = in_stages(problem, {"max_epochs": 2})
    by_fit, by_lightning = (GradientRecorder(problem[1], problem[3], model="m") for _ in range(2))
    fit(*staged, config, after_epoch=by_fit)
    fit_with_trainer(*staged, config, trainer=CPU, folder=tmp_path, after_epoch=by_lightning)
    assert by_fit.history == by_lightning.history
    assert len(by_fit.history) == 4


def test_both_loops_give_a_model_the_extras_that_it_reads(tmp_path):
    """Which token counts only the alignment says; a pair is missing from every third row."""
    encoder, generator = {"kind": "embedding", "in_dim": 2}, torch.Generator().manual_seed(0)
    rows, place = torch.randn(90, 3, 2, generator=generator), torch.arange(90) % 4
    held = Batch(
        inputs={"text": rows, "mark": torch.ones(90, 1, 2)},
        extras={
            "alignment": Alignment.from_pairs([[(int(p), 0)] * int(p < 3) for p in place]),
            "weight": torch.rand(90, generator=generator),
        },
        target=(rows[torch.arange(90), place % 3, 0] > 0).long(),
    )
    task = Classification(["no", "yes"])
    model = ModelConfig(encoders={"text": encoder, "mark": encoder}, fusion="feature_swap+concat", dim=8)

    def problem(batch):
        return (lambda: build_model(model, task)), batch, batch, task

    plain, told = fit(*problem(held), FIT)
    by_lightning, also_told = by_trainer(problem(held), tmp_path)
    assert same(plain, by_lightning)
    assert replace(told, train_s=0.0) == replace(also_told, train_s=0.0)
    unpaired = {"alignment": Alignment.from_pairs([[]] * 90), "weight": held.extras["weight"]}
    assert not same(plain, fit(*problem(replace(held, extras=unpaired)), FIT)[0])


def saved_after_each_step(monkeypatch, tmp_path, run):
    """A run, and copies of its folder as they were after each checkpoint."""
    taken, save = [], callbacks.Checkpoints._save

    def save_and_keep(self, its_trainer):
        save(self, its_trainer)
        taken.append(shutil.copytree(self.path.parent, tmp_path / f"copy{len(taken)}"))

    with monkeypatch.context() as patched:
        patched.setattr(callbacks.Checkpoints, "_save", save_and_keep)
        return *run(tmp_path / "whole"), taken


@pytest.mark.parametrize("select", ["loss", "metric"])
def test_a_run_killed_after_any_step_ends_as_if_undisturbed(problem, tmp_path, monkeypatch, select):
    config = replace(CPU, checkpoint_steps=1)
    fit_config = replace(FIT, schedule="cosine", warmup=0.3, select=select)

    def run(folder):
        return by_trainer(problem, folder, fit_config, config)

    whole, told, taken = saved_after_each_step(monkeypatch, tmp_path, run)
    assert len(taken) == 15
    for number, folder in enumerate(taken):
        torch.manual_seed(number)
        model, also_told = run(folder)
        assert same(whole, model)
        assert (told.curve, told.scores) == (also_told.curve, also_told.scores)


def in_stages(problem, options):
    """The problem for a model whose merge is fitted in stages."""
    _, train, valid, task = problem
    encoders = {name: {"kind": "embedding", "in_dim": value.shape[1]} for name, value in train.inputs.items()}
    model = ModelConfig(encoders=encoders, fusion="mro", dim=8, dropout=0.3)
    config = replace(FIT, batch_size=35, sequential=True, lr=0.05, **options)
    return (lambda: build_model(model, task), train, valid, task), config


@pytest.mark.parametrize("options", [{"patience": 1, "max_epochs": 9}, {"schedule": "linear", "warmup": 0.5}])
def test_stages_are_fitted_to_the_same_weights(problem, tmp_path, options):
    staged, config = in_stages(problem, options)
    plain, told = fit(*staged, config)
    heard = []
    by_lightning, also_told = fit_with_trainer(
        *staged, config, trainer=CPU, folder=tmp_path, tell=heard.append
    )
    assert same(plain, by_lightning)
    assert replace(told, train_s=0.0) == replace(also_told, train_s=0.0)
    assert not same(plain, fit(*staged, replace(config, sequential=False))[0])
    assert [progress.epoch for progress in heard] == list(range(1, told.epochs + 1))
    assert heard[-1].curve == told.curve
    assert all(parameter.requires_grad for parameter in by_lightning.parameters())


def test_a_run_in_stages_killed_after_any_step_ends_as_if_undisturbed(problem, tmp_path, monkeypatch):
    staged, config = in_stages(problem, {"max_epochs": 2, "schedule": "cosine"})

    def run(folder):
        return by_trainer(staged, folder, config, replace(CPU, checkpoint_steps=1))

    whole, told, taken = saved_after_each_step(monkeypatch, tmp_path, run)
    assert len(taken) == 8
    assert sorted(path.name for path in taken[-1].glob("*.ckpt")) == ["stage0.ckpt", "stage1.ckpt"]
    for number, folder in enumerate(taken):
        torch.manual_seed(number)
        model, also_told = run(folder)
        assert same(whole, model)
        assert told.curve == also_told.curve


def test_a_model_without_stages_is_not_fitted_in_stages(problem, tmp_path):
    with pytest.raises(OptionError, match="sequential must be False for a model without stages"):
        by_trainer(problem, tmp_path, replace(FIT, sequential=True))


def test_a_run_that_patience_ended_is_not_gone_on_with(problem, tmp_path):
    config = replace(FIT, patience=1, lr=1.0, max_epochs=20)
    whole, told = by_trainer(problem, tmp_path, config)
    again, also_told = by_trainer(problem, tmp_path, config)
    assert told.epochs < 20
    assert also_told.curve == told.curve
    assert same(whole, again)


@pytest.mark.parametrize("class_weight", ["none", "balanced"])
def test_pieces_of_a_step_give_the_weights_of_the_whole(problem, tmp_path, class_weight):
    build, *rest = problem
    without_dropout = (lambda: _still(build()), *rest)
    config = replace(FIT, batch_size=23, class_weight=class_weight)
    whole, _ = fit(*without_dropout, config)
    pieces = replace(CPU, accumulate=3, checkpoint_steps=1)
    model, _ = by_trainer(without_dropout, tmp_path, config, pieces)
    _assert_near(whole.state_dict(), model.state_dict())


def _still(model):
    for part in model.modules():
        if isinstance(getattr(part, "p", None), float):
            part.p = 0.0
    return model


def _assert_near(one, other):
    # Biases of keys have no gradient but rounding, which AdamW makes large.
    for name in one.keys() - {name for name in one if "exchange" in name}:
        torch.testing.assert_close(
            one[name], other[name], atol=2e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
        )


PROGRAM = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from fuseloom import Batch
from fuseloom.diagnose.gradients import GradientRecorder
from fuseloom.models import ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.train.fit import FitConfig
from fuseloom.train.trainer import TrainerConfig, fit_with_trainer, is_first_process

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
values = {name: torch.randn(670, 4, generator=generator) for name in ("text", "audio")}
target = (values["text"][:, 0] > 0).long() + (values["audio"][:, 0] > 0).long()
rows = Batch(inputs=values, target=target)
task = Classification(["a", "b", "c"])
encoders = {name: {"kind": "embedding", "in_dim": 4} for name in values}
sequential = sys.argv[4] == "in_stages"
model = ModelConfig(encoders=encoders, fusion="mro" if sequential else "low_rank", dim=8, dropout=0.0)
folder, devices = Path(sys.argv[1]), int(sys.argv[2])
recorder = GradientRecorder(rows.take(slice(0, 70)), task, model="m")
found, told = fit_with_trainer(
    lambda: build_model(model, task),
    rows.take(slice(0, 70)),
    rows.take(slice(70, 670)),
    task,
    FitConfig(lr=0.01, max_epochs=int(sys.argv[3]), batch_size=23, sequential=sequential),
    trainer=TrainerConfig(accelerator="cpu", devices=devices, accumulate=2, checkpoint_steps=2),
    folder=folder,
    after_epoch=recorder,
)
assert bool(recorder.history) == is_first_process()
if is_first_process():
    save_file(found.state_dict(), folder / f"weights{sys.argv[3]}.safetensors")
"""


def run_program(tmp_path, folder, *, devices, epochs, how="at_once"):
    """Train in processes of their own; gives the weights."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, str(program), str(tmp_path / folder), str(devices), str(epochs), how]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return load_file(tmp_path / folder / f"weights{epochs}.safetensors")


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_and_go_on_after_a_stop(tmp_path):
    one = run_program(tmp_path, "one", devices=1, epochs=3)
    before = run_program(tmp_path, "two", devices=2, epochs=1)
    two = run_program(tmp_path, "two", devices=2, epochs=3)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-3)
    assert not all(value.equal(before[name]) for name, value in two.items())


@pytest.mark.slow
def test_two_processes_fit_stages_to_the_weights_of_one(tmp_path):
    one, two = (
        run_program(tmp_path, f"{devices}", devices=devices, epochs=3, how="in_stages") for devices in (1, 2)
    )
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-3)


def test_mixed_precision_learns_in_float32(problem, tmp_path):
    model, told = by_trainer(problem, tmp_path, config=replace(CPU, precision="bf16-mixed"))
    plain, _ = fit(*problem, FIT)
    assert {value.dtype for value in model.state_dict().values() if value.is_floating_point()} == {
        torch.float32
    }
    assert told.curve[-1][1] < told.curve[0][1]
    assert not same(plain, model)


def test_losses_go_to_tensorboard(problem, tmp_path):
    by_trainer(problem, tmp_path, config=replace(CPU, loggers=("tensorboard",)))
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_the_epochs_of_all_stages_are_numbered_on_for_a_logger(problem, tmp_path):
    staged, config = in_stages(problem, {"max_epochs": 2})
    _, told = by_trainer(staged, tmp_path, config, replace(CPU, loggers=("tensorboard",)))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("valid_loss")] == [1, 2, 3, 4]
    logged = [event.value for event in events.Scalars("valid_loss")]
    assert logged == pytest.approx([valid for _, valid in told.curve])


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the library that MLflow's database speaks through
def test_losses_go_to_mlflow_and_a_run_that_goes_on_is_the_same_run(problem, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow: pip install 'fuseloom[loggers]'")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config, folder = replace(CPU, loggers=("mlflow",)), tmp_path / "mine" / "checkpoints"
    by_trainer(problem, folder, replace(FIT, max_epochs=2), config)
    _, told = by_trainer(problem, folder, FIT, config)
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("fuseloom")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    logged = [
        [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        for name in ("train_loss", "valid_loss")
    ]
    curve = zip(*told.curve, strict=True)
    assert logged == [[(step, pytest.approx(v)) for step, v in enumerate(c, start=1)] for c in curve]
    assert len(told.curve) == 3


def test_a_logger_without_its_package_names_what_to_install(problem, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "find_spec", lambda name: None if name == "mlflow" else object())
    message = r"'mlflow' needs mlflow\. Run: pip install 'fuseloom\[loggers\]'"
    with pytest.raises(MissingExtraError, match=message):
        by_trainer(problem, tmp_path, config=replace(CPU, loggers=("mlflow",)))


def test_without_lightning_the_message_names_the_install_command(problem, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"needs Lightning\. Run: pip install 'fuseloom\[workbench\]'"
    ):
        by_trainer(problem, tmp_path)


def test_a_damaged_checkpoint_is_refused(problem, tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(RunError, match=r"last\.ckpt must be a whole checkpoint of this run.*--overwrite"):
        by_trainer(problem, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": 0}, "devices must be at least 1, got 0"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"precision": "16"}, "precision must be one of 32-true, bf16-mixed, 16-mixed, got '16'"),
        ({"accelerator": "abacus"}, "accelerator must be one of auto, cpu, gpu, got 'abacus'"),
        ({"loggers": ("wandb",)}, "loggers must be of mlflow, tensorboard, got 'wandb'"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        TrainerConfig(**options)
