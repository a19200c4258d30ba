"""One model trained by a recipe: from data to a saved model with its scores."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fuseloom.comparison.config import CompareConfig
from fuseloom.comparison.evaluate import score_all
from fuseloom.comparison.measure import count_parameters
from fuseloom.comparison.prepare import Prepared, fingerprint, prepare, suggested_task
from fuseloom.comparison.training import Progress as Say
from fuseloom.comparison.watching import Seen, Watch
from fuseloom.data import Dataset, load, make_splits
from fuseloom.data.cells import as_strings
from fuseloom.data.dataset import Modality
from fuseloom.data.preprocessing import Preprocessor, Store
from fuseloom.errors import DataError, OptionError, did_you_mean
from fuseloom.models import FusionModel, ModelConfig, build_model
from fuseloom.models.dense_systems import GridPredictor, build_dense, named_dense_system
from fuseloom.models.picture_systems import PictureSystem
from fuseloom.models.systems import named_system
from fuseloom.registry import lookup
from fuseloom.train.files import write_whole
from fuseloom.train.fit import FitConfig, FitResult, weighted_task
from fuseloom.train.journal import RunFolder, refuse_foreign, scratch
from fuseloom.train.lock import holding
from fuseloom.train.metrics import metrics_csv, metrics_lines
from fuseloom.train.predictions import predictions_csv
from fuseloom.train.recipe import DataSettings, Recipe, recipe_yaml
from fuseloom.train.saved import SavedModel
from fuseloom.train.starting import start_from
from fuseloom.train.state import Progress
from fuseloom.train.trainer import fit_with_trainer, is_first_process
from fuseloom.train.windows import exact_predictions

__all__ = ["RecipeResult", "run_recipe"]

_KEY = "train"
_ENCODERS = "encoders."
_IN_MEMORY = Store()


@dataclass(frozen=True, kw_only=True)
class RecipeResult:
    """How a run went, and how good its model is."""

    name: str
    seed: int
    valid_loss: float | None
    epochs: int
    train_s: float
    parameters: int
    rows: Mapping[str, int]
    """Split -> its rows."""
    metric: str
    """The default one of the task."""
    higher_is_better: bool
    """Of that metric."""
    scores: Mapping[str, Mapping[str, float | None]]
    """Split -> metric -> score of the validation and test rows, and of test rows under each condition; None
    where it is not defined."""
    watched: Mapping[str, Sequence[Seen]] = field(default_factory=dict)
    """Who looked at the model -> what was seen after each epoch."""


def run_recipe(
    recipe: Recipe, out: Path, *, overwrite: bool = False, progress: Say = lambda line: None
) -> RecipeResult | None:
    """Train the model of a recipe, score it with every metric of its task, and save it.

    The folder gets ``config.yaml`` (the recipe with all its settings), ``metrics.jsonl`` and
    ``metrics.csv`` (losses of each epoch), ``watched.jsonl`` (what was seen after each epoch, where the
    recipe has who looks), ``checkpoints/``, ``predictions.csv`` (of the test rows), ``scores.json`` and
    ``model/``.

    Args:
        recipe: What to train on what.
        out: Run folder; one that holds an unfinished run of the same recipe and data is continued, and a
            finished one only read.
        overwrite: Remove the run that ``out`` holds first.
        progress: Called with a line for a person, now and then.

    Returns:
        The result; None in a process that only helps the first one.

    Raises:
        DataError: the data cannot be learnt from.
        MissingExtraError: Lightning is not installed.
        OptionError: the fusion cannot take the data, or a setting is out of its range.
        RunError: ``out`` holds something else.
    """
    dataset = load(recipe.data.source, recipe.data.read)
    if not is_first_process():
        with TemporaryDirectory() as room:
            ready = _prepared(dataset, recipe, Store(folder=Path(room)))
            _fit(recipe, ready, _model(recipe, ready), out, progress)
        return None
    refuse_foreign(out)
    with holding(out), scratch(out) as place:
        return _run(recipe, dataset, out, place, overwrite=overwrite, progress=progress)


def _run(
    recipe: Recipe, dataset: Dataset, out: Path, room: Path, *, overwrite: bool, progress: Say
) -> RecipeResult:
    ready = _prepared(dataset, recipe, Store(folder=room))
    model = _model(recipe, ready)
    for line in (*ready.notes, *(f"set aside {row.where}: {row.reason}" for row in dataset.set_aside[:10])):
        progress(line)
    request = {"recipe": recipe.state(), "data": fingerprint([ready])}
    folder = RunFolder.open(out, request, overwrite=overwrite)
    write_whole(out / "config.yaml", recipe_yaml(recipe))
    if _KEY not in folder.finished:
        folder.record(_KEY, asdict(_train(recipe, ready, model, out, progress)))
    return RecipeResult(**folder.finished[_KEY])


def _prepared(dataset: Dataset, recipe: Recipe, store: Store = _IN_MEMORY) -> Prepared:
    whole, dataset = dataset, _part(dataset, recipe.data)
    folds = 1 if not dataset.folds else None
    config = CompareConfig(
        task=recipe.data.task,
        split_seed=recipe.data.split_seed,
        folds=folds,
        encoder=_encoders(dataset, recipe),
        embedding_encoder=recipe.model.embedding_encoder,
    )
    system = named_system(_config(recipe))
    extras = {} if system is None else system.extras()
    ready = prepare(dataset, config, store, least=1, extras=extras)[0]
    return replace(
        ready,
        task=ready.task.configured(recipe.data.task_options),
        conditions=_conditions(whole, ready, recipe.data.conditions),
    )


def _conditions(whole: Dataset, ready: Prepared, column: str | None) -> dict[str, NDArray[np.intp]]:
    """Test rows, and rows that the data put in no split, by the values of a column."""
    if column is None:
        return {}
    if column not in whole.labels:
        known = [*whole.labels]
        hint = did_you_mean(column, known)
        raise DataError(f"conditions must name a label of {whole.name}, {known}, got {column!r}.{hint}")
    chosen = np.zeros(len(whole), dtype=np.bool_) if whole.split is None else whole.split == ""
    chosen[ready.rows.split["test"].numpy()] = True
    cells = as_strings(whole.labels[column])
    values = sorted({str(cell) for cell, one in zip(cells, chosen, strict=True) if one})
    return {f"{column} {value}": np.flatnonzero(chosen & (cells == value)) for value in values}


def _encoders(dataset: Dataset, recipe: Recipe) -> tuple[str, ...]:
    """Those of the modalities that are learnt from."""
    chosen, named = recipe.data.modalities, recipe.model.encoders
    wanted = [name for name in named if not chosen or name in chosen]
    if missing := [name for name in wanted if name not in dataset.modalities]:
        there = [*dataset.modalities]
        raise DataError(
            f"{dataset.name} must have {missing[0]!r}, whose encoder the recipe {recipe.name!r} names, "
            f"got {there}. To learn from {there[0]} alone: --set data.modalities=[{there[0]}] "
            "--set model.fusion=concat."
        )
    return tuple(f"{name}={named[name]}" for name in wanted)


def _is_learnt(recipe: Recipe, modality: str) -> bool:
    """Whether the run learns from it; settings of other modalities are left out."""
    return not recipe.data.modalities or modality in recipe.data.modalities


def _starts(recipe: Recipe) -> dict[str, str]:
    starts = recipe.model.start
    return {name: run for name, run in starts.items() if name == "backbone" or _is_learnt(recipe, name)}


def _fit_config(recipe: Recipe) -> FitConfig:
    settings = recipe.fit
    return replace(
        settings,
        rates={
            part: rate
            for part, rate in settings.rates.items()
            if not part.startswith(_ENCODERS) or _is_learnt(recipe, part.split(".")[1])
        },
        augment={
            "+".join(kept): wanted
            for names, wanted in settings.augment.items()
            if (kept := [name for name in names.split("+") if name == "*" or _is_learnt(recipe, name)])
        },
    )


def _part(dataset: Dataset, settings: DataSettings) -> Dataset:
    """The data with some modalities and a share of the training and validation rows.

    Rows that are left out are in no split.
    """
    if settings.modalities:
        dataset = _with_modalities(dataset, settings.modalities)
    if settings.fraction == 1:
        return dataset
    if dataset.target is None:
        raise DataError("target must be given to train, got none. Name it with --target.")
    name = settings.task if settings.task is not None else suggested_task(dataset)
    by_class = lookup(name, kind="task").stratified
    folds = 1 if not dataset.folds else None
    split = make_splits(dataset, stratify=by_class, seed=settings.split_seed, folds=folds)[0]
    classes = dataset.target if by_class else np.zeros(len(dataset))
    generator, split = np.random.default_rng(settings.split_seed), split.copy()
    for part in ("train", "valid"):
        for label in np.unique(classes):
            rows = generator.permutation(np.flatnonzero((split == part) & (classes == label)))
            split[rows[round(len(rows) * settings.fraction) :]] = ""
    how = f"split and drawn with seed {settings.split_seed}" if dataset.split is None else "by class"
    note = f"fraction: {settings.fraction:g} of the training and validation rows, {how}"
    return replace(dataset, split=split, folds=(), groups=None, notes=(*dataset.notes, note))


def _with_modalities(dataset: Dataset, names: Sequence[str]) -> Dataset:
    known = [*dataset.modalities]
    if unknown := sorted(set(names) - set(known)):
        hint = did_you_mean(unknown[0], known)
        raise OptionError(f"modalities must be some of {known}, got {unknown[0]!r}.{hint}")
    schema = replace(dataset.schema, modalities={name: dataset.schema.modalities[name] for name in names})
    return replace(dataset, modalities={name: dataset.modalities[name] for name in names}, schema=schema)


def _config(recipe: Recipe) -> ModelConfig:
    """What the recipe alone says of its model."""
    settings = recipe.model
    return ModelConfig(
        encoders={},
        fusion=settings.fusion,
        dim=settings.dim,
        dropout=settings.dropout,
        options=settings.options,
        trunk=settings.trunk,
    )


def _model(recipe: Recipe, ready: Prepared) -> ModelConfig:
    return replace(
        _config(recipe), encoders=dict(ready.encoders), anchor=ready.anchor, extras=dict(ready.extras)
    )


def _fit(
    recipe: Recipe, ready: Prepared, config: ModelConfig, out: Path, say: Say
) -> tuple[Any, FitResult, Watch]:
    train, valid = (ready.rows.take(split, tuple(config.encoders)) for split in ("train", "valid"))
    assert train.target is not None
    task = weighted_task(ready.task, train.target, recipe.fit.class_weight)
    watch = Watch(recipe.watch, valid, task, file=out / "watched.jsonl", say=say)

    def tell(progress: Progress) -> None:
        watch.epoch = progress.epoch
        write_whole(out / "metrics.jsonl", metrics_lines(progress))
        write_whole(out / "metrics.csv", metrics_csv(progress))
        learnt, valid = progress.curve[-1]
        score = f" and {task.default_metric} {progress.scores[-1]:.4f}" if progress.scores else ""
        best = ", best so far" if progress.waited == 0 else ""
        say(f"epoch {progress.epoch}: training loss {learnt:.4f}, validation loss {valid:.4f}{score}{best}")

    def built() -> FusionModel | GridPredictor:
        model = build_dense(config, ready.task) if ready.task.on_grid else build_model(config, ready.task)
        for line in start_from(model, _starts(recipe)):
            say(line)
        return model

    model, told = fit_with_trainer(
        built,
        train,
        valid,
        ready.task,
        _fit_config(recipe),
        trainer=recipe.trainer,
        folder=out / "checkpoints",
        tell=tell,
        after_epoch=watch if recipe.watch else None,
    )
    return model, told, watch


def _train(recipe: Recipe, ready: Prepared, config: ModelConfig, out: Path, say: Say) -> RecipeResult:
    model, told, watch = _fit(recipe, ready, config, out, say)
    scores, tables = {}, {}
    for split in ("valid", "test"):
        rows = ready.rows.take(split, tuple(config.encoders))
        assert rows.target is not None
        predictions = exact_predictions(model, ready.task, rows, _texts(ready, split))
        scores[split] = score_all(ready.task, predictions, rows.target.numpy())
        tables[split] = _table(ready, split, predictions)
    if ready.conditions:
        scores |= _scores_under(ready, model, tuple(config.encoders))
    result = RecipeResult(
        name=recipe.name,
        seed=recipe.fit.seed,
        valid_loss=told.valid_loss if np.isfinite(told.valid_loss) else None,
        epochs=told.epochs,
        train_s=told.train_s,
        parameters=count_parameters(model),
        rows={split: len(places) for split, places in ready.rows.split.items()},
        metric=ready.task.default_metric,
        higher_is_better=ready.task.metrics[ready.task.default_metric].higher_is_better,
        scores=scores,
        watched=watch.seen,
    )
    served, of_served = _served(model, config)
    saved = SavedModel(
        model=served,
        config=of_served,
        task=ready.task,
        schema=ready.dataset.schema,
        preprocessors=ready.preprocessors,
        summary=_model_card(recipe, ready, result),
    )
    saved.save(out / "model")
    write_whole(out / "predictions.csv", tables["test"])
    write_whole(out / "scores.json", json.dumps(asdict(result), indent=1))
    return result


def _served(model: Any, config: ModelConfig) -> tuple[Any, ModelConfig]:
    """The model without what only training needs, and the configuration that builds it so."""
    system, on_grid = named_system(config), named_dense_system(config)
    if system is not None:
        return system.served(model, config)
    return on_grid.served(model, config) if isinstance(on_grid, PictureSystem) else (model, config)


def _scores_under(
    ready: Prepared, model: nn.Module, modalities: tuple[str, ...]
) -> dict[str, dict[str, float | None]]:
    places = {name: torch.from_numpy(rows) for name, rows in ready.conditions.items()}
    given = replace(ready, rows=replace(ready.rows, split={**ready.rows.split, **places}))
    found = {}
    for name in places:
        rows = given.rows.take(name, modalities)
        assert rows.target is not None
        predictions = exact_predictions(model, ready.task, rows, _texts(given, name))
        found[name] = score_all(ready.task, predictions, rows.target.numpy())
    return found


def _texts(ready: Prepared, split: str) -> dict[str, tuple[Modality, Preprocessor]]:
    """Those at whose words the task predicts, with what encodes them."""
    if not (name := ready.anchor):
        return {}
    rows = ready.rows.split[split].numpy()
    return {name: (ready.dataset.modalities[name].take(rows), ready.preprocessors[name])}


def _table(ready: Prepared, split: str, predictions: NDArray[Any]) -> str:
    rows, data = ready.rows.split[split].numpy(), ready.dataset
    assert data.target is not None
    columns = ready.task.target_columns(data.target[rows]) | ready.task.columns(predictions)
    return predictions_csv([data.ids[row] for row in rows], columns)


def _model_card(recipe: Recipe, ready: Prepared, result: RecipeResult) -> str:
    metric = ready.task.default_metric
    score = result.scores["test"][metric]
    return (
        f"# {recipe.model.fusion} for {ready.dataset.name}\n\n{recipe.summary}\n\n"
        f"- Task: {ready.task.name}\n- Modalities: {', '.join(ready.encoders)}\n"
        f"- Test {metric}: {'not defined' if score is None else f'{score:.4f}'} "
        f"on {result.rows['test']} rows\n- Seed: {recipe.fit.seed}\n"
        "- Predict: `fuseloom predict THIS_FOLDER rows.csv`\n"
    )
