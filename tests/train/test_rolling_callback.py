import importlib
import subprocess
import sys
import warnings

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from fuseloom.errors import MissingExtraError, OptionError
from fuseloom.merge.attention_pool import AttentionPool
from fuseloom.nn.growing import GrowingStack
from fuseloom.nn.turned_query import turned_by
from fuseloom.train.class_adapters import adapt
from fuseloom.train.progressive_rolling import ProgressiveRolling
from fuseloom.train.rolling_callback import RollingQueryCallback
from fuseloom.train.rolling_query import RollingQuery

DIMS = {"audio": 3, "video": 5}
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec:FutureWarning", "ignore:The 'train_dataloader' does not"
)


class Module(LightningModule):
    def __init__(self, *, heads=1):
        super().__init__()
        self.merge = AttentionPool(DIMS, 8, num_heads=heads)
        self.head = nn.Linear(8, 2)

    def forward(self, audio, video):
        return self.head(self.merge({"audio": audio, "video": video}))

    def training_step(self, batch, batch_idx):
        *inputs, target = batch
        return F.cross_entropy(self(*inputs), target)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class StoppedError(Exception):
    pass


class Batches:
    """Rows in order, from where it stands."""

    def __init__(self):
        self.place = 0

    def __len__(self):
        return 3

    def __iter__(self):
        self.place %= len(self)
        whole = rows()
        while self.place < len(self):
            self.place += 1
            yield list(whole[6 * (self.place - 1) : 6 * self.place])

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]


class StopAt(Callback):
    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, module, *args):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            raise StoppedError


def rows():
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(
        torch.randn(15, 4, 3, generator=generator) + 1,
        torch.randn(15, 2, 5, generator=generator),
        torch.randint(2, (15,), generator=generator),
    )


def run(folder, *callbacks, rolling, epochs=3, heads=1, loader=None, build=Module, **options):
    torch.manual_seed(0)
    module = build(heads=heads) if build is Module else build()
    callback = RollingQueryCallback(rolling, forward=lambda module, batch: module(*batch[:-1]))
    loader = Batches() if loader is None else loader
    given = {"logger": False} | {
        name: options.pop(name) for name in ("logger", "limit_train_batches") if name in options
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        trainer = Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
            callbacks=[callback, *callbacks],
            default_root_dir=folder,
            **given,
        )
        trainer.fit(module, loader, **options)
    return module


def by_hand(rolling, *, epochs=3, heads=1):
    torch.manual_seed(0)
    module = Module(heads=heads).train()
    rolling.attach(module)
    optimizer = module.configure_optimizers()
    loader = DataLoader(rows(), batch_size=6)
    for _ in range(epochs):
        for step, batch in enumerate(loader):
            with rolling.watching(module, step, len(loader)):
                loss = module.training_step(batch, step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rolling.end_epoch(module, (module(*batch[:-1]) for batch in loader))
    return module


def assert_same_weights(first, second):
    assert first.state_dict().keys() == second.state_dict().keys()
    for name, value in first.state_dict().items():
        assert value.equal(second.state_dict()[name]), name


@pytest.mark.parametrize("heads", ["shared", "each"])
def test_it_does_what_a_loop_of_ones_own_does(tmp_path, heads):
    ours, theirs = (RollingQuery(max_rotations=2, window=2, heads=heads) for _ in range(2))
    module = run(tmp_path, rolling=theirs, heads=2)
    assert_same_weights(module, by_hand(ours, heads=2))
    assert theirs.log == ours.log
    assert [roll.decision for roll in theirs.log] == ["rotated", "rotated", "enough"]
    assert not any(part._forward_hooks for part in module.modules())


@pytest.mark.parametrize("step", [1, 5])
def test_a_run_that_is_killed_goes_on_to_the_same_end(tmp_path, step):
    options = {"max_rotations": 2, "cooldown": 1, "window": 2}
    whole, first, second = (RollingQuery(**options) for _ in range(3))
    module = run(tmp_path, rolling=whole)
    path = tmp_path / "stopped.ckpt"
    with pytest.raises(StoppedError):
        run(tmp_path, StopAt(step, path), rolling=first)
    again = run(tmp_path, rolling=second, ckpt_path=path, weights_only=True)
    assert_same_weights(module, again)
    assert second.log == whole.log
    assert [roll.decision for roll in whole.log] == ["rotated", "cooling down", "rotated"]


def test_an_error_in_a_watched_step_leaves_no_hook(tmp_path):
    class Breaks(Callback):
        def on_before_backward(self, trainer, module, loss):
            self.module = module
            assert module.merge._forward_hooks
            raise StoppedError

    breaks = Breaks()
    with pytest.raises(StoppedError):
        run(tmp_path, breaks, rolling=RollingQuery(window=3))
    assert not breaks.module.merge._forward_hooks


def test_the_rates_are_logged(tmp_path):
    rolling = RollingQuery(heads="each")
    run(tmp_path, rolling=rolling, heads=2, epochs=2, logger=CSVLogger(tmp_path, name="", version=""))
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    columns = [line.split(",") for line in lines]
    for head, name in enumerate(("air", "air.1")):
        logged = [float(line[columns[0].index(name)]) for line in columns[1:]]
        assert logged == pytest.approx([roll.rates[head] for roll in rolling.log])


def test_an_epoch_without_an_end_is_refused(tmp_path):
    class Endless(IterableDataset):
        def __iter__(self):
            while True:
                yield rows()[0]

    loader = DataLoader(Endless(), batch_size=2)
    with pytest.raises(OptionError, match=r"An epoch must have a last batch, .*limit_train_batches"):
        run(tmp_path, rolling=RollingQuery(), loader=loader)
    module = run(tmp_path, rolling=RollingQuery(), loader=loader, limit_train_batches=2, epochs=1)
    assert len(turned_by(module.merge.query)) == 1


def test_processes_that_are_not_connected_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(Trainer, "world_size", property(lambda trainer: 2))
    with pytest.raises(
        OptionError,
        match=r"strategy must connect its 2 processes by torch\.distributed, got SingleDeviceStrategy\. Use",
    ):
        run(tmp_path, rolling=RollingQuery())


def test_one_process_needs_no_group(tmp_path):
    rolling = RollingQuery()
    run(tmp_path, rolling=rolling, epochs=1)
    assert rolling.group is None


PROCESSES = """
import os
import sys

import torch
from lightning.pytorch import LightningModule, Trainer
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from fuseloom import Batch, create_remedy
from fuseloom.models import ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.train.remedy_callback import RemedyCallback
from fuseloom.train.rolling_callback import RollingQueryCallback
from fuseloom.train.rolling_query import RollingQuery

torch.set_num_threads(1)
TASK = Classification(["a", "b"])


class Module(LightningModule):
    def __init__(self):
        super().__init__()
        encoders = {name: {"kind": "projection", "in_dim": 3} for name in ("audio", "video")}
        self.model = build_model(
            ModelConfig(encoders=encoders, fusion="attention_pool", dim=8, dropout=0.0), TASK
        )

    def training_step(self, batch, batch_idx):
        audio, video, target = batch
        return F.cross_entropy(self.model({"audio": audio, "video": video}), target)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)

    def train_dataloader(self):
        generator = torch.Generator().manual_seed(0)
        rows = TensorDataset(
            torch.randn(24, 4, 3, generator=generator) + 1,
            torch.randn(24, 2, 3, generator=generator),
            torch.randint(2, (24,), generator=generator),
        )
        world = self.trainer.world_size
        places = DistributedSampler(rows, world, self.trainer.global_rank, shuffle=False)
        return DataLoader(rows, batch_size=6 // world, sampler=places)


def train(callback, devices):
    torch.manual_seed(0)
    module = Module()
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto",
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[callback], use_distributed_sampler=False,
    )
    trainer.fit(module)
    return module


def read(module, batch):
    return module.model({"audio": batch[0], "video": batch[1]})


def rows_of(module, batch):
    return Batch(inputs={"audio": batch[0], "video": batch[1]}, target=batch[2])


if __name__ == "__main__":
    devices, path = int(sys.argv[1]), sys.argv[2]
    made = {"roll": lambda: RollingQueryCallback(RollingQuery(max_rotations=2), forward=read)}
    for name in ("ogm", "uniform_loss", "rolling_query"):
        made[name] = lambda name=name: RemedyCallback(create_remedy(name), TASK, batch=rows_of)
    found = {name: train(make(), devices).state_dict() for name, make in made.items()}
    if os.environ.get("LOCAL_RANK", "0") == "0":
        torch.save(found, path)
"""


@pytest.mark.slow
def test_two_processes_do_what_one_does_on_all_rows(tmp_path):
    program = tmp_path / "processes.py"
    program.write_text(PROCESSES)
    found = []
    for devices in (1, 2):
        command = [sys.executable, str(program), str(devices), str(tmp_path / f"{devices}.pt")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found.append(torch.load(tmp_path / f"{devices}.pt", weights_only=True))
    for name, wanted in found[0].items():
        assert wanted.keys() == found[1][name].keys()
        for path, value in wanted.items():
            torch.testing.assert_close(found[1][name][path], value, msg=f"{name}: {path}")
    turned = [path for path in found[0]["roll"] if path.endswith("rotation.vectors")]
    assert [len(found[0]["roll"][path]) for path in turned] == [2]


def test_without_lightning_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    monkeypatch.delitem(sys.modules, "fuseloom.train.rolling_callback")
    with pytest.raises(
        MissingExtraError, match=r"needs Lightning\. Run: pip install 'fuseloom\[workbench\]'"
    ):
        importlib.import_module("fuseloom.train.rolling_callback")


def test_a_progressive_rolling_is_trained_as_well(tmp_path):
    class Stacked(Module):
        def __init__(self):
            super().__init__()
            self.stack = GrowingStack(
                [nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True) for _ in range(2)]
            )
            self.lift = nn.ModuleDict({name: nn.Linear(width, 8) for name, width in DIMS.items()})

        def forward(self, audio, video):
            tokens = torch.cat([self.lift["audio"](audio), self.lift["video"](video)], 1)
            return self.head(self.stack(torch.cat([tokens.mean(1, keepdim=True), tokens], 1))[:, 0])

    tokens = {"audio": slice(1, 5), "video": slice(5, None)}
    rolling = ProgressiveRolling(
        find=lambda model: model.stack, adapt=lambda layer: adapt(layer.self_attn, tokens), epochs=1
    )
    module = run(tmp_path, rolling=rolling, build=Stacked, epochs=2)
    assert module.stack.depth == 2
    assert [len(turned_by(layer.self_attn)) for layer in module.stack.layers] == [1, 1]
