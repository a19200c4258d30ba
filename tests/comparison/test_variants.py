import csv
import io

import pytest

from fuseloom.comparison import trials
from fuseloom.comparison.recipe_run import RecipeResult
from fuseloom.comparison.trials import Terms
from fuseloom.comparison.variants import VariantsConfig, run_variants, variants_csv
from fuseloom.errors import OptionError

VARIANTS = {"low rank": {}, "rank 1": {"model.options.low_rank.rank": "1"}, "sum": {"model.fusion": "sum"}}
QUICK = ("fit.max_epochs=2", "model.dim=4", "data.fraction=0.1")


def config(reference="low rank", variants=VARIANTS, **terms):
    return VariantsConfig(
        name="ablation",
        variants=variants,
        reference=reference,
        terms=Terms(recipe="digits", settings=QUICK, **terms),
    )


@pytest.fixture
def scored(monkeypatch):
    """Scores that a run's fusion and seed decide, in place of training."""
    table = {"low_rank": (0.8, 0.9, 0.7), "sum": (0.7, 0.81, 0.58)}

    def run_recipe(recipe, folder):
        score = table[recipe.model.fusion][recipe.fit.seed] - (recipe.data.source == "views") * 0.2
        found = {"accuracy": score, "log_loss": 1 - score}
        return RecipeResult(
            name=recipe.name,
            seed=recipe.fit.seed,
            valid_loss=1.0,
            epochs=1,
            train_s=recipe.fit.seed + 1.0,
            parameters=recipe.model.options["low_rank"]["rank"],
            rows={},
            metric="accuracy",
            higher_is_better=True,
            scores={"valid": found, "test": found},
        )

    monkeypatch.setattr(trials, "run_recipe", run_recipe)


def test_variants_are_trained_as_they_say_and_read_again(tmp_path, monkeypatch):
    found = run_variants(config(), tmp_path)
    (table,) = found.tables
    assert [one.name for one in table.variants] == [*VARIANTS]
    whole, rank_1, added = table.variants
    assert rank_1.parameters < whole.parameters
    assert added.parameters < whole.parameters
    assert whole.test.mean == whole.runs[0].scores["test"]["accuracy"]
    assert (whole.gain, whole.test.low) == (None, None)
    monkeypatch.setattr(trials, "run_recipe", None)
    assert run_variants(config(), tmp_path) == found


@pytest.mark.usefixtures("scored")
def test_a_gain_is_in_pairs_against_the_reference_on_each_data_set(tmp_path):
    found = run_variants(config(data=("digits", "views"), seeds=3, also=("log_loss",)), tmp_path)
    assert [table.data for table in found.tables] == ["digits", "views"]
    for table, level in zip(found.tables, (0.8, 0.6), strict=True):
        whole, rank_1, added = table.variants
        assert whole.test.mean == pytest.approx(level)
        assert rank_1.gain.mean == 0
        assert added.gain.mean == pytest.approx(-0.31 / 3)
        assert added.gain.high < 0 < added.test.high - whole.test.low  # pairs tell what scores alone do not
        assert whole.also["log_loss"].mean == pytest.approx(1 - level)
        assert (whole.parameters, rank_1.parameters, whole.train_s) == (4, 1, 2.0)
    rows = list(csv.DictReader(io.StringIO(variants_csv(found))))
    assert [row["variant"] for row in rows] == [*VARIANTS] * 2
    assert [row["gain"] for row in rows][:3] == ["", "0", "-0.103333"]


@pytest.mark.usefixtures("scored")
def test_a_gain_is_positive_where_it_is_better_also_of_an_error(tmp_path):
    (table,) = run_variants(config(metric="log_loss", seeds=3), tmp_path).tables
    assert table.higher_is_better is False
    assert table.variants[2].test.mean > table.variants[0].test.mean
    assert table.variants[2].gain.mean == pytest.approx(-0.31 / 3)


def test_a_reference_is_one_of_the_variants():
    with pytest.raises(
        OptionError, match=r"reference must be one of the var.*, got 'low rnk'\. Did you mean"
    ):
        config(reference="low rnk")


def test_a_wrong_variant_is_found_before_anything_is_trained(tmp_path):
    with pytest.raises(OptionError, match=r"Unknown setting 'fit\.lrr'"):
        run_variants(config(variants={**VARIANTS, "faster": {"fit.lrr": "1"}}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
