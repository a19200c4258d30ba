import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from fuseloom.errors import MissingExtraError, OptionError, RunError
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
    "options", [{"patience": 1}, {}, {"class_weight": "balanced"}, {"modality_dropout": 0.3}]
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


def test_a_run_killed_after_any_step_ends_as_if_undisturbed(problem, tmp_path, monkeypatch):
    config, save = replace(CPU, checkpoint_steps=1), callbacks.Checkpoints._save
    taken = []

    def save_and_keep(self, its_trainer):
        save(self, its_trainer)
        taken.append(shutil.copy(self.path, tmp_path / f"{len(taken)}.ckpt"))

    monkeypatch.setattr(callbacks.Checkpoints, "_save", save_and_keep)
    whole, told = by_trainer(problem, tmp_path / "whole", config=config)
    monkeypatch.undo()
    assert len(taken) == 15
    for number, checkpoint in enumerate(taken):
        folder = tmp_path / f"again{number}"
        folder.mkdir()
        shutil.copy(checkpoint, folder / "last.ckpt")
        torch.manual_seed(number)
        model, also_told = by_trainer(problem, folder, config=config)
        assert same(whole, model)
        assert told.curve == also_told.curve


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
model = ModelConfig(encoders=encoders, fusion="low_rank", dim=8, dropout=0.0)
folder, devices = Path(sys.argv[1]), int(sys.argv[2])
found, told = fit_with_trainer(
    lambda: build_model(model, task),
    rows.take(slice(0, 70)),
    rows.take(slice(70, 670)),
    task,
    FitConfig(lr=0.01, max_epochs=int(sys.argv[3]), batch_size=23),
    trainer=TrainerConfig(accelerator="cpu", devices=devices, accumulate=2, checkpoint_steps=2),
    folder=folder,
)
if is_first_process():
    save_file(found.state_dict(), folder / f"weights{sys.argv[3]}.safetensors")
"""


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_and_go_on_after_a_stop(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    for folder, devices, epochs in (("one", 1, 3), ("two", 2, 1), ("two", 2, 3)):
        command = [sys.executable, str(program), str(tmp_path / folder), str(devices), str(epochs)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
    one, two = (load_file(tmp_path / folder / "weights3.safetensors") for folder in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-3)
    before = load_file(tmp_path / "two" / "weights1.safetensors")
    assert not all(value.equal(before[name]) for name, value in two.items())


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


def test_a_logger_without_its_package_names_what_to_install(problem, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "find_spec", lambda name: None if name == "mlflow" else object())
    with pytest.raises(MissingExtraError, match=r"'mlflow' needs a package\. Run: pip install mlflow-skinny"):
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


def test_stages_are_left_to_the_plain_loop(problem, tmp_path):
    with pytest.raises(OptionError, match="sequential must be False with Lightning's Trainer, got True"):
        by_trainer(problem, tmp_path, replace(FIT, sequential=True))


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
