import importlib
import sys

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from fuseloom import Batch, create_remedy
from fuseloom.errors import MissingExtraError, OptionError
from fuseloom.models import ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.train.remedies import Course, Remedied, Remedy, RemedyCard
from fuseloom.train.remedy_callback import RemedyCallback

TASK = Classification(["a", "b", "c"])
WIDTHS = {"text": 6, "audio": 4}
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec:FutureWarning",
    "ignore:The '.*_dataloader' does not",
    "ignore:.*does not have many workers",
)
KINDS = {"ogm": "concat", "uniform_loss": "concat", "reconboost": "concat", "rolling_query": "attention_pool"}
"""A remedy of gradients, of losses, of the order of steps, and of what is done between epochs."""


class Module(LightningModule):
    def __init__(self, fusion="concat"):
        super().__init__()
        encoders = {name: {"kind": "embedding", "in_dim": width} for name, width in WIDTHS.items()}
        self.model = build_model(ModelConfig(encoders=encoders, fusion=fusion, dim=8, dropout=0.0), TASK)
        self.optimizer = torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}

    def training_step(self, batch, batch_idx):
        raise AssertionError("The remedy's loss must stand in its place.")

    def configure_optimizers(self):
        make, options = self.optimizer
        return make(self.parameters(), **options)


class StoppedError(Exception):
    pass


class StopAt(Callback):
    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, module, *args):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            raise StoppedError


class Batches:
    """Rows in order, from where it stands."""

    def __init__(self):
        self.place = 0

    def __len__(self):
        return 4

    def __iter__(self):
        self.place %= len(self)
        parts = list(DataLoader(rows(), batch_size=6))
        while self.place < len(self):
            self.place += 1
            yield parts[self.place - 1]

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]


def rows():
    generator = torch.Generator().manual_seed(0)
    text, audio = (torch.randn(24, width, generator=generator) for width in WIDTHS.values())
    target = (text[:, 0] > 0).long() + (audio[:, 0] > 0).long()
    return TensorDataset(text, audio, torch.rand(24, generator=generator) > 0.2, target)


def as_rows(module, batch):
    text, audio, mask, target = batch
    return Batch(inputs={"text": text, "audio": audio}, masks={"audio": mask}, target=target)


def callback_for(remedy, **options):
    return RemedyCallback(remedy, TASK, batch=as_rows, **options)


def run(callback, *callbacks, module=None, epochs=2, loader=None, seed=0, accumulate=1, **options):
    module = made() if module is None else module
    torch.manual_seed(seed)
    given = {name: options.pop(name) for name in ("limit_train_batches", "precision") if name in options}
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accumulate_grad_batches=accumulate,
        callbacks=[callback, *callbacks],
        **given,
    )
    trainer.fit(module, DataLoader(rows(), batch_size=6) if loader is None else loader, **options)
    return module


def made(fusion="concat", seed=3):
    torch.manual_seed(seed)
    return Module(fusion)


def by_hand(module, remedy, *, epochs=2, accumulate=1):
    torch.manual_seed(0)
    remedied = Remedied(module, remedy, TASK)
    module.add_module("own", remedy)
    optimizer = module.configure_optimizers()
    parts = [as_rows(module, batch) for batch in DataLoader(rows(), batch_size=6)]
    for epoch in range(epochs):
        module.train()
        remedied.start_epoch(Course(epoch=epoch, num_steps=len(parts), train=lambda: parts))
        for place, part in enumerate(parts):
            for phase in remedied.phases:
                (remedied.loss(part, phase) / accumulate).backward()
                if (place + 1) % accumulate == 0:
                    remedied.before_step()
                    optimizer.step()
                    optimizer.zero_grad()
        remedied.end_epoch()
    del module._modules["own"]
    return module


def assert_same_weights(first, second):
    assert first.state_dict().keys() == second.state_dict().keys()
    for name, value in first.state_dict().items():
        assert value.equal(second.state_dict()[name]), name


@pytest.mark.parametrize("name", KINDS)
def test_it_does_what_a_loop_of_ones_own_does(name):
    callback = callback_for(create_remedy(name))
    module = run(callback, module=made(KINDS[name]))
    own = by_hand(made(KINDS[name]), create_remedy(name))
    assert_same_weights(module, own)
    assert callback.remedied.finished() is module or "outputs" in callback.remedy.card.touches


def test_gradients_accumulate_over_batches():
    module = run(callback_for(create_remedy("ogm")), accumulate=2)
    assert_same_weights(module, by_hand(made(), create_remedy("ogm"), accumulate=2))


@pytest.mark.parametrize("step", [2, 5])
@pytest.mark.parametrize("name", ["lfm", "uniform_loss", "rolling_query"])
def test_a_run_that_is_killed_goes_on_to_the_same_end(tmp_path, name, step):
    path = tmp_path / "stopped.ckpt"
    whole = run(
        callback_for(create_remedy(name)), module=made(KINDS.get(name, "concat")), loader=Batches(), epochs=3
    )
    first = made(KINDS.get(name, "concat"))
    with pytest.raises(StoppedError):
        run(callback_for(create_remedy(name)), StopAt(step, path), module=first, loader=Batches(), epochs=3)
    again = run(
        callback_for(create_remedy(name)),
        module=made(KINDS.get(name, "concat"), seed=9),
        loader=Batches(),
        epochs=3,
        ckpt_path=path,
        weights_only=True,
    )
    assert_same_weights(whole, again)
    held = torch.load(path, weights_only=True)["state_dict"]
    assert any(key.startswith("remedy_in_care.") for key in held)


def test_two_remedies_at_once_are_refused():
    remedies = [callback_for(create_remedy(name)) for name in ("uniform_loss", "ogm")]
    module = made()
    with pytest.raises(OptionError, match="One remedy trains a model"):
        run(*remedies, module=module)
    assert "training_step" not in vars(module)
    assert "remedy_in_care" not in module._modules


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("own_step", [False, True])
def test_nothing_is_left_behind(fails, own_step):
    class Fails(Callback):
        def on_train_batch_end(self, trainer, module, *args):
            assert "remedy_in_care" in module._modules
            assert "training_step" in vars(module)
            if fails:
                raise StoppedError

    module = made()
    if own_step:
        vars(module)["training_step"] = module.training_step
    before = set(vars(module)), set(module._modules), vars(module).get("training_step")
    try:
        run(callback_for(create_remedy("uniform_loss")), Fails(), module=module, epochs=1)
    except StoppedError:
        assert fails
    left = set(vars(module)), set(module._modules), vars(module).get("training_step")
    assert left[1:] == before[1:]
    assert not {name for name in left[0] - before[0] if not name.startswith("_")} - {"prepare_data_per_node"}
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


class Watching(Remedy):
    """Notes the courses that it is given."""

    card = RemedyCard(summary="Notes.", touches=("loss",), cost="none")

    def loss(self, seen):
        return seen.loss

    def start_epoch(self, view, course):
        trial = course.optimizer([nn.Parameter(torch.ones(2))])
        state = torch.get_rng_state()
        seen = [
            [label for part in parts() for label in part.target.tolist()]
            for parts in (course.train, course.valid)
            if parts is not None
        ]
        assert torch.get_rng_state().equal(state)
        self.noted = [*getattr(self, "noted", []), (course.epoch, course.num_steps, seen, trial)]


@pytest.mark.parametrize("several", [False, True])
def test_a_course_has_the_trainers_rows_and_optimiser(several):
    valid = DataLoader(rows(), batch_size=12)
    callback = callback_for(Watching())
    module = made()
    module.optimizer = torch.optim.AdamW, {"lr": 0.125, "betas": (0.5, 0.75)}
    module.validation_step = lambda batch, batch_idx, dataloader_idx=0: None
    loader = DataLoader(rows(), batch_size=6, shuffle=True)
    run(callback, module=module, loader=loader, val_dataloaders=[valid, valid] if several else valid)
    assert [noted[:2] for noted in callback.remedy.noted] == [(0, 4), (1, 4)]
    target = rows().tensors[3].tolist()
    for _, _, (train, held), trial in callback.remedy.noted:
        assert sorted(train) == sorted(target)
        assert held == target * (2 if several else 1)
        assert isinstance(trial, torch.optim.AdamW)
        assert trial.param_groups[0]["lr"] == 0.125
        assert trial.param_groups[0]["betas"] == (0.5, 0.75)


def test_the_scale_of_the_loss_is_told(monkeypatch):
    class Scaling:
        def get_scale(self):
            return 16.0

    noted = []

    class Noting(Callback):
        def on_train_start(self, trainer, module):
            monkeypatch.setattr(trainer.precision_plugin, "scaler", Scaling(), raising=False)
            loss = callback.remedied.loss
            monkeypatch.setattr(
                callback.remedied,
                "loss",
                lambda rows, phase, scale: noted.append(scale) or loss(rows, phase, scale=scale),
            )

    callback = callback_for(create_remedy("uniform_loss"))
    run(callback, Noting(), accumulate=2, epochs=1)
    assert noted == [16.0] * 4


def test_it_works_in_bfloat16():
    module = run(callback_for(create_remedy("reconboost")), precision="bf16-mixed")
    before = made()
    assert all(value.isfinite().all() for value in module.parameters())
    assert any(not a.equal(b) for a, b in zip(module.parameters(), before.parameters(), strict=True))


def test_an_epoch_without_an_end_is_refused():
    class Endless(IterableDataset):
        def __iter__(self):
            while True:
                yield rows()[0]

    loader = DataLoader(Endless(), batch_size=2)
    with pytest.raises(OptionError, match=r"An epoch must have a last batch, .*limit_train_batches"):
        run(callback_for(create_remedy("ogm")), loader=loader)
    run(callback_for(create_remedy("ogm")), loader=loader, limit_train_batches=2, epochs=1)


def test_optimising_by_hand_is_refused():
    module = made()
    module.automatic_optimization = False
    with pytest.raises(OptionError, match="optimised automatically by one optimiser, got 1 with automatic_o"):
        run(callback_for(create_remedy("ogm")), module=module)
    assert "remedy_in_care" not in module._modules


def test_several_phases_refuse_what_they_cannot_be_part_of(monkeypatch):
    with pytest.raises(OptionError, match="accumulate_grad_batches must be 1 with ReconBoost, which steps"):
        run(callback_for(create_remedy("reconboost")), accumulate=2)
    monkeypatch.setattr("fuseloom.train.remedy_callback._scaler", lambda trainer: object())
    with pytest.raises(OptionError, match="precision must not be '16-mixed' with ReconBoost"):
        run(callback_for(create_remedy("reconboost")))


def test_gradients_that_stay_scaled_are_refused(monkeypatch):
    monkeypatch.setattr("fuseloom.train.remedy_callback._scaler", lambda trainer: object())
    module = made()
    module.optimizer = torch.optim.AdamW, {"fused": True}
    with pytest.raises(OptionError, match="optimizer must not be fused with precision '16-mixed'"):
        run(callback_for(create_remedy("ogm")), module=module)


def test_a_callback_is_that_of_one_module():
    callback = callback_for(create_remedy("uniform_loss"))
    with pytest.raises(OptionError, match="A trainer must have begun, got none"):
        callback.remedied  # noqa: B018
    module = run(callback, epochs=1)
    run(callback, module=module, epochs=1)
    with pytest.raises(OptionError, match="module must be the one that the remedy was prepared for"):
        run(callback, module=made())


def test_several_processes_must_be_connected(monkeypatch):
    monkeypatch.setattr(Trainer, "world_size", property(lambda trainer: 2))
    with pytest.raises(OptionError, match="strategy must connect its 2 processes by torch"):
        run(callback_for(create_remedy("ogm")))


def test_without_lightning_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    monkeypatch.delitem(sys.modules, "fuseloom.train.remedy_callback")
    with pytest.raises(MissingExtraError, match=r"RemedyCallback needs Lightning\. Run: pip install 'fuse"):
        importlib.import_module("fuseloom.train.remedy_callback")
