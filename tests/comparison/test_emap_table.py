"""The EMAP table on a small set whose answer is known: the class is the sign of a product."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.svm import SVC

from fuseloom.comparison.emap_table import EmapTableConfig, Published, emap_table
from fuseloom.comparison.experiments import experiment_text, list_experiments, read_experiment
from fuseloom.comparison.polynomial_svm import PolynomialSvm, fit_polynomial_svm
from fuseloom.errors import DataError, UnknownNameError
from fuseloom.tasks.classification import Classification

PUBLISHED = Published(source="made up", columns=("X",), rows={"best model": (90.0,)})
CONFIG = EmapTableConfig(columns={"X": "sign"}, published=PUBLISHED, seeds=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    first, second = generator.choice([-1.0, 1.0], size=(2, 160, 1)) + 0.1 * generator.normal(size=(2, 160, 1))
    place = tmp_path / "data"
    place.mkdir()
    np.save(place / "first.npy", first.repeat(2, 1).astype(np.float32))
    np.save(place / "second.npy", second.astype(np.float32))
    parts = np.array(["training"] * 80 + ["validation"] * 40 + ["test"] * 40)
    rows = zip(first[:, 0] * second[:, 0] > 0, first[:, 0], parts, np.roll(parts, 40), strict=True)
    lines = [f"{'same' if same else 'other'},{value},{','.join(folds)}" for same, value, *folds in rows]
    (place / "labels.csv").write_text("\n".join(["sign,number,fold0,fold1", *lines]))
    return place


@pytest.mark.slow
def test_only_what_can_interact_finds_a_product_and_its_projection_loses_it(
    folder: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    table = emap_table(folder, tmp_path / "run", CONFIG, progress=said.append)
    (column,) = table.columns
    means = {name: score.mean for name, score in column.scores.items()}
    assert list(means) == [
        "first alone",
        "second alone",
        "linear model (additive)",
        "neural network",
        "neural network + linear logits",
        "polynomial SVM",
        "best model",
        "best model + EMAP",
    ]
    assert means["polynomial SVM"] > 0.95
    assert means["best model"] > 0.95
    assert means["linear model (additive)"] < 0.7
    assert means["best model + EMAP"] < 0.7
    assert column.gap.low is not None
    assert column.gap.low > 0.2
    assert column.best in means
    assert (column.target, column.metric, table.published) == ("sign", "auc", PUBLISHED)
    assert any("scoring the test data, once" in line for line in said)
    assert emap_table(folder, tmp_path / "run", CONFIG) == table  # what is finished is read


def test_a_target_of_numbers_is_refused(folder: Path, tmp_path: Path) -> None:
    config = EmapTableConfig(columns={"N": "number"}, published=PUBLISHED, metric="rmse")
    with pytest.raises(DataError, match="number must be one class per row, got a regression target"):
        emap_table(folder, tmp_path / "run", config)


def test_the_machine_of_the_best_strength_is_kept() -> None:
    generator = np.random.default_rng(0)
    columns = generator.normal(size=(120, 4))
    target = (columns[:, 0] * columns[:, 2] > 0).astype(np.intp)
    split = {"train": np.arange(80), "valid": np.arange(80, 120)}
    metric = Classification.metrics["auc"]
    kept = fit_polynomial_svm(columns, target, split, metric)
    reached = [
        metric.function(
            fit_polynomial_svm(columns, target, split, metric, strengths=[strength]).scores(columns[80:]),
            target[80:],
        )
        for strength in (0.1, 1.0, 10.0)
    ]
    assert metric.function(kept.scores(columns[80:]), target[80:]) == max(reached) > 0.9


def test_margins_have_a_column_per_class() -> None:
    generator = np.random.default_rng(0)
    columns, target = generator.normal(size=(60, 2)), np.arange(60) % 3
    columns[np.arange(60), target % 2] += 5 * (target < 2)
    split = {"train": np.arange(60), "valid": np.arange(60)}
    scores = fit_polynomial_svm(columns, target, split, Classification.metrics["auc"]).scores(columns)
    assert scores.shape == (60, 3)
    assert (scores.argmax(1) == target).mean() > 0.9


def test_every_figure_of_an_experiment_has_a_column_and_a_source() -> None:
    configs = {name: read_experiment(name) for name in list_experiments()}
    tables = {name: config for name, config in configs.items() if isinstance(config, EmapTableConfig)}
    assert "emap-table" in tables
    for name, config in tables.items():
        assert config.published.source
        assert {len(row) for row in config.published.rows.values()} == {len(config.published.columns)}
        assert set(config.columns) <= set(config.published.columns)
        assert f"name: {name}" in experiment_text(name)


def test_an_unknown_experiment_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown experiment 'emap-tabel'. Did you mean 'emap-table'"):
        experiment_text("emap-tabel")


def test_margins_are_those_of_the_library_and_add_up_over_modalities() -> None:
    generator = np.random.default_rng(0)
    columns, target = generator.normal(size=(90, 5)), np.arange(90) % 3
    machine = PolynomialSvm(1.0).fit(columns, target)
    scaled = (columns - columns.mean(0)) / columns.std(0)
    theirs = [
        SVC(kernel="poly", degree=2, coef0=1.0, gamma=1 / 5)
        .fit(scaled, target == k)
        .decision_function(scaled)
        for k in range(3)
    ]
    np.testing.assert_allclose(machine.scores(columns), np.stack(theirs, -1), atol=1e-8)
    apart = machine.products(columns, slice(0, 2)) + machine.products(columns, slice(2, 5))
    np.testing.assert_allclose(machine.margins(apart), machine.scores(columns), atol=1e-10)


def test_a_class_without_training_rows_is_refused() -> None:
    split = {"train": np.arange(4), "valid": np.arange(4, 6)}
    with pytest.raises(DataError, match="must be in the training rows of each fold, got none of class 2"):
        fit_polynomial_svm(
            np.zeros((6, 2)), np.array([0, 1, 0, 1, 2, 0]), split, Classification.metrics["auc"]
        )
