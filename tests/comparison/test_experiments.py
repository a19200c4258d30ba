"""Experiments as YAML: those of the package hold together, and a user's own are read or answered."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from fuseloom.comparison.emap_table import EmapTableConfig
from fuseloom.comparison.experiments import (
    experiment_kind,
    experiment_text,
    is_experiment,
    list_experiments,
    read_experiment,
    summary_of,
)
from fuseloom.comparison.sweep import SweepConfig
from fuseloom.comparison.trials import Terms
from fuseloom.comparison.variants import VariantsConfig
from fuseloom.errors import FuseloomError, OptionError, RunError, UnknownNameError
from fuseloom.train.recipe import read_recipe

SWEEP = """
kind: sweep
summary: How wide?
recipe: digits
data: [digits, views]
seeds: 3
metric: auc
also: [log_loss]
set: {fit.max_epochs: 2, model.options.low_rank.rank: 2}
grid:
  model.dim: [8, 16]
  fit.lr: [1e-3, 0.01]
  data.task: [null, classification]
  fit.sequential: [true]
sources: {seeds: enough}
"""
VARIANTS = """
kind: variants
name: ablation
recipe: digits
reference: whole
variants:
  whole: {}
  sum: {model.fusion: sum, model.options: {}}
"""


def written(folder: Path, text: str, name: str = "mine.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def numbers(value: Any, inside: str = "") -> list[str]:
    """Places of all numbers."""
    if isinstance(value, dict):
        return [place for key, one in value.items() for place in numbers(one, f"{inside}.{key}".lstrip("."))]
    if isinstance(value, list):
        return [place for one in value for place in numbers(one, inside)]
    return [inside] if isinstance(value, int | float) and not isinstance(value, bool) else []


@pytest.mark.parametrize("name", list_experiments())
def test_every_number_of_an_experiment_has_a_source_and_its_settings_are_there(name: str) -> None:
    given = yaml.safe_load(experiment_text(name))
    sources = given.pop("sources")
    given.pop("published", None)  # names its own source
    without = [
        place for place in numbers(given) if not any(f"{place}.".startswith(f"{key}.") for key in sources)
    ]
    assert not without
    assert all(len(source) > 5 for source in sources.values())
    assert given["name"] == name
    assert len(summary_of(name)) > 20
    config = read_experiment(name)
    if isinstance(config, EmapTableConfig):
        return
    ways = (
        [{key: value} for key, values in config.grid.items() for value in values]
        if isinstance(config, SweepConfig)
        else config.variants.values()
    )
    for way in ways:
        read_recipe(config.terms.recipe, [*config.terms.settings, *(f"{k}={v}" for k, v in way.items())])


def test_a_sweep_of_the_users_own_is_read(tmp_path: Path) -> None:
    config = read_experiment(written(tmp_path, SWEEP))
    assert config == SweepConfig(
        name="mine",
        summary="How wide?",
        grid={
            "model.dim": ["8", "16"],
            "fit.lr": ["1e-3", "0.01"],
            "data.task": ["null", "classification"],
            "fit.sequential": ["true"],
        },
        terms=Terms(
            recipe="digits",
            data=("digits", "views"),
            seeds=3,
            settings=("fit.max_epochs=2", "model.options.low_rank.rank=2"),
            metric="auc",
            also=("log_loss",),
        ),
    )


def test_variants_of_the_users_own_are_read_and_a_recipe_lies_beside_them(tmp_path: Path) -> None:
    config = read_experiment(written(tmp_path, VARIANTS.replace("recipe: digits", "recipe: my.yaml")))
    assert isinstance(config, VariantsConfig)
    assert (config.name, config.reference) == ("ablation", "whole")
    assert config.variants == {"whole": {}, "sum": {"model.fusion": "sum", "model.options": "{}"}}
    assert config.terms == Terms(recipe=str(tmp_path / "my.yaml"))


def test_experiments_and_recipes_are_told_apart(tmp_path: Path) -> None:
    assert is_experiment(written(tmp_path, SWEEP))
    assert not is_experiment(written(tmp_path, "name: mine\n"))
    assert not is_experiment("digits")
    assert experiment_kind(written(tmp_path, VARIANTS)) == "variants"
    with pytest.raises(
        UnknownNameError, match=r"Unknown recipe or experiment 'digit'\. Did you mean 'digits'"
    ):
        is_experiment("digit")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            SWEEP.replace("kind: sweep", "kind: swep"),
            OptionError,
            "kind must be one of emap-table, sweep, vari",
        ),
        (SWEEP.replace("seeds: 3", "seed: 3"), OptionError, "Unknown key 'seed' in .* Did you mean 'seeds'"),
        (
            SWEEP.replace("recipe: digits", ""),
            OptionError,
            "must have 'recipe', as every experiment of kind 'sw",
        ),
        (SWEEP.replace("seeds: 3", "seeds: few"), OptionError, "seeds must be a number, got 'few'"),
        (SWEEP.replace("[8, 16]", "8"), OptionError, r"grid\.model\.dim must be a list, got 8"),
        (SWEEP.replace("[digits, views]", "digits"), OptionError, "data must be a list, got 'digits'"),
        (
            SWEEP.replace("metric: auc", "metric: acu"),
            OptionError,
            "Unknown metric 'acu'. Did you mean 'auc'",
        ),
        (VARIANTS.replace("whole: {}", "whole: 3"), OptionError, r"variants\.whole must be settings by name"),
        (
            VARIANTS.replace("reference: whole", "reference: all"),
            OptionError,
            "reference must be one of the var",
        ),
        ("- a", RunError, "must hold settings by name, got list"),
        ("a: [", RunError, "must be YAML, got"),
    ],
)
def test_a_wrong_file_is_answered(
    tmp_path: Path, text: str, error: type[FuseloomError], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_experiment(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(RunError, match=r"nowhere\.yaml must be an experiment in YAML that can be read"):
        read_experiment("nowhere.yaml")
