"""Training by Lightning's Trainer: devices, mixed precision, several processes, and going on after a kill."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from fuseloom.errors import MissingExtraError, OptionError, RunError
from fuseloom.tasks import Task
from fuseloom.train.files import write_whole
from fuseloom.train.fit import AfterEpoch, FitConfig, FitResult, fitted_stages, seeded
from fuseloom.train.state import Progress, joined
from fuseloom.types import Batch, Selection

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

__all__ = ["TrainerConfig", "fit_with_trainer", "is_first_process"]

_LOGGERS = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}
"""Logger -> the packages it needs."""


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How Lightning's Trainer runs; with one device in float32 the weights are those of `fit`."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """What to compute on."""
    devices: int = 1
    """Processes, each with a device of its own."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """As Lightning names it; validation is in float32."""
    accumulate: int = 1
    """Into how many pieces each process divides its rows of a step, to need less memory."""
    checkpoint_steps: int = 100
    """Steps between two checkpoints; one is written after each epoch besides."""
    loggers: tuple[Literal["tensorboard", "mlflow"], ...] = ()
    """Where the numbers of each epoch go besides ``metrics.jsonl`` and ``metrics.csv``: to a folder
    ``tensorboard``, and a database ``mlflow.db`` or the server that ``MLFLOW_TRACKING_URI`` names."""

    def __post_init__(self) -> None:
        for name in ("devices", "accumulate", "checkpoint_steps"):
            if (value := getattr(self, name)) < 1:
                raise OptionError(f"{name} must be at least 1, got {value}.")
        for name, known in (("accelerator", ("auto", "cpu", "gpu")), ("precision", _PRECISIONS)):
            if (value := getattr(self, name)) not in known:
                raise OptionError(f"{name} must be one of {', '.join(known)}, got {value!r}.")
        if unknown := sorted(set(self.loggers) - _LOGGERS.keys()):
            raise OptionError(f"loggers must be of {', '.join(sorted(_LOGGERS))}, got {unknown[0]!r}.")


_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def fit_with_trainer(  # noqa: PLR0913  what `fit` takes, and how the Trainer runs
    build: Callable[[], nn.Module],
    train: Batch | Selection,
    valid: Batch | Selection,
    task: Task,
    config: FitConfig,
    *,
    trainer: TrainerConfig,
    folder: Path,
    tell: Callable[[Progress], None] = lambda progress: None,
    after_epoch: AfterEpoch | None = None,
) -> tuple[nn.Module, FitResult]:
    """Build and train a model as `fit` does, by Lightning's Trainer; go on where a killed run stopped.

    Args:
        build: Makes the model, with weights drawn from torch's global generator.
        train: All training rows.
        valid: All validation rows.
        task: Gives the loss, and the metric where it says which epoch is the best.
        config: The run's settings.
        trainer: How the Trainer runs.
        folder: Gets the checkpoint, one of each stage where there are several, and what loggers write.
        tell: Called after each epoch, by the first process.
        after_epoch: Called with the model as `fit` does, by the first process.

    Raises:
        MissingExtraError: Lightning or the package of a logger is not installed.
        OptionError: the model is to be fitted in stages and has none, or classes are to be balanced and the
            task has none.
        RunError: the checkpoint is damaged.
    """
    _check_installed(trainer)
    folder.mkdir(parents=True, exist_ok=True)
    with seeded(config.seed), _quiet():
        model = build()
        stages = _Stages(train, valid, task, config=config, trainer=trainer, folder=folder)
        for stage in fitted_stages(model, config):
            stages.run(stage, model, tell=tell, after_epoch=after_epoch)
    return model.cpu().eval(), FitResult.of(joined(stages.finished))


class _Stages:
    """The stages of a run, a Trainer and a checkpoint for each; most runs have one."""

    def __init__(
        self,
        train: Batch | Selection,
        valid: Batch | Selection,
        task: Task,
        *,
        config: FitConfig,
        trainer: TrainerConfig,
        folder: Path,
    ) -> None:
        self.train, self.valid, self.task = train, valid, task
        self.config, self.trainer, self.folder = config, trainer, folder
        self.loggers = [_logger(name, folder) for name in trainer.loggers]
        self.finished: list[Progress] = []

    def run(
        self,
        stage: int,
        model: nn.Module,
        *,
        tell: Callable[[Progress], None],
        after_epoch: AfterEpoch | None,
    ) -> None:
        """Train what requires a gradient until patience ends; one that is finished only gives its weights."""
        from fuseloom.train.callbacks import BestWeights, Checkpoints, Generators, Looks
        from fuseloom.train.module import FitModule

        checkpoint = self.folder / (f"stage{stage}.ckpt" if self.config.sequential else "last.ckpt")
        before = joined(self.finished) if self.finished else None
        best = BestWeights(self.valid, tell=tell, before=before)
        module = FitModule(
            model.train(),
            self.train,
            self.task,
            self.config,
            pieces=self.trainer.accumulate,
            fused=self.trainer.precision != "16-mixed",
        )
        looks = [] if after_epoch is None else [Looks(after_epoch)]
        callbacks = [best, *looks, Generators(), Checkpoints(checkpoint, self.trainer.checkpoint_steps)]
        own = _trainer(self.trainer, self.config, callbacks, self.loggers, folder=self.folder)
        _run(own, module, checkpoint)
        model.load_state_dict(best.weights)
        self.finished.append(best.progress)


def is_first_process() -> bool:
    """Whether this is the process that writes, of those that train together.

    Raises:
        MissingExtraError: Lightning is not installed.
    """
    _check_lightning()
    from lightning.pytorch.utilities import rank_zero_only

    return int(getattr(rank_zero_only, "rank", 0)) == 0


def _trainer(
    config: TrainerConfig, fit: FitConfig, callbacks: list[Any], loggers: list[Any], *, folder: Path
) -> "Trainer":
    from lightning.pytorch import Trainer
    from lightning.pytorch.strategies import DDPStrategy

    # A model may leave parameters out: a gate that picks experts, a modality that no row of a piece has.
    several = DDPStrategy(find_unused_parameters=True)
    return Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        strategy=several if config.devices > 1 else "auto",
        precision=config.precision,
        max_epochs=fit.max_epochs,
        accumulate_grad_batches=config.accumulate,
        callbacks=callbacks,
        logger=loggers,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def _run(trainer: "Trainer", module: Any, checkpoint: Path) -> None:
    if checkpoint.is_file():
        _check_whole(checkpoint)
        trainer.fit(module, ckpt_path=checkpoint, weights_only=True)
    else:
        trainer.fit(module)


def _check_whole(checkpoint: Path) -> None:
    try:
        held = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)
        missing = {"state_dict", "optimizer_states", "loops", "processes"} - held.keys()
    except (UnpicklingError, RuntimeError, EOFError, AttributeError):
        missing = {"anything that can be read"}
    if missing:
        raise RunError(
            f"{checkpoint.name} must be a whole checkpoint of this run, got none of {sorted(missing)}. "
            "Pass --overwrite to start anew."
        )


def _logger(name: str, folder: Path) -> Any:
    from lightning.pytorch.loggers import TensorBoardLogger

    if name == "mlflow":
        return _mlflow(folder)
    return TensorBoardLogger(folder, name="tensorboard", version="")


def _mlflow(folder: Path) -> Any:
    """MLflow's logger; a run that goes on is the run that it was."""
    from lightning.pytorch.loggers import MLFlowLogger

    noted = folder / "mlflow_run.txt"
    known = noted.read_text(encoding="utf-8") if noted.is_file() else None
    # MLflow takes no folder of files any more, and a database only with the library that speaks to it.
    own = f"sqlite:///{(folder / 'mlflow.db').resolve()}"
    logger = MLFlowLogger(
        experiment_name="fuseloom",
        run_name=folder.resolve().parent.name,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", own),
        run_id=known,
    )
    if known is None and is_first_process():
        write_whole(noted, str(logger.run_id))
    return logger


def _check_lightning() -> None:
    if find_spec("lightning") is None:
        raise MissingExtraError("Training needs Lightning. Run: pip install 'fuseloom[workbench]'")


def _check_installed(config: TrainerConfig) -> None:
    _check_lightning()
    for name in config.loggers:
        if missing := [package for package in _LOGGERS[name] if find_spec(package) is None]:
            raise MissingExtraError(
                f"The logger {name!r} needs {', '.join(missing)}. Run: pip install 'fuseloom[loggers]'"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what Lightning tells about itself; warnings of what a user can change stay."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Lightning 2.6 names a class that newer versions of torch deprecate.
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            # In half precision the first step may be skipped, as its scaled loss overflows.
            warnings.filterwarnings(
                "ignore", message="Detected call of `lr_scheduler.step", category=UserWarning
            )
            # Batch norms of pretrained encoders keep their statistics.
            warnings.filterwarnings("ignore", message="Found .* in eval mode", category=UserWarning)
            yield
    finally:
        log.setLevel(level)
