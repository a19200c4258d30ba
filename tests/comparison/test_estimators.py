import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fuseloom import FusionClassifier, FusionRegressor
from fuseloom.errors import DataError, ModalityError, OptionError

QUICK = {"max_epochs": 30, "dim": 16, "lr": 1e-2, "random_state": 0}
SLOW = {"check_classifiers_train", "check_regressors_train", "check_class_weight_classifiers"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([FusionClassifier(random_state=0), FusionRegressor(random_state=0)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [
        FusionClassifier(max_epochs=2, dim=4, random_state=0),
        FusionRegressor(max_epochs=2, dim=4, random_state=0),
    ]
)
def test_scikit_learns_own_checks_that_ask_no_accuracy(estimator, check):
    name = getattr(check, "func", check).__name__
    if name in SLOW:
        pytest.skip("asks for accuracy: see the slow test")
    check(estimator)


def table():
    generator = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "review": [
                ("a wonderful quiet place " if i % 2 else "a dreadful noisy hole ") + str(i)
                for i in range(120)
            ],
            "price": generator.normal(size=120),
            "colour": generator.choice(["red", "blue"], size=120),
        }
    )
    return rows, np.where(np.arange(120) % 2, "good", "bad")


def test_a_data_frame_of_text_numbers_and_categories():
    rows, target = table()
    model = FusionClassifier("sum", text=("review",), tabular=("price,colour",), **QUICK).fit(
        rows[:100], target[:100]
    )
    assert model.score(rows[100:], target[100:]) > 0.9
    assert list(model.classes_) == ["bad", "good"]
    np.testing.assert_allclose(model.predict_proba(rows[100:]).sum(1), 1)


def test_rows_that_lack_a_modality_are_served():
    rows, target = table()
    model = FusionClassifier("sum", text=("review",), tabular=("price,colour",), **QUICK).fit(rows, target)
    holes = rows.assign(review=None)
    assert model.predict(holes).shape == (120,)
    assert model.score(rows, target) > model.score(holes, target)


def test_a_dict_of_arrays_needs_the_product_of_both(product_rows):
    rows, target = product_rows
    together = FusionClassifier("low_rank", **QUICK | {"max_epochs": 100, "dropout": 0.0}).fit(rows, target)
    alone = FusionClassifier("sum", **QUICK).fit({"a": rows["a"]}, target)
    assert together.score(rows, target) > 0.9
    assert alone.score({"a": rows["a"]}, target) < 0.65


def test_equal_seeds_give_equal_predictions_and_the_generator_is_left_alone(product_rows):
    import torch

    rows, target = product_rows
    state = torch.get_rng_state()
    one, two = (FusionClassifier(**QUICK).fit(rows, target).predict_proba(rows) for _ in range(2))
    assert torch.get_rng_state().equal(state)
    np.testing.assert_array_equal(one, two)


def test_it_works_inside_scikit_learn():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(150, 4))
    pipeline = make_pipeline(StandardScaler(), FusionRegressor(**QUICK | {"dropout": 0.0}))
    assert cross_val_score(clone(pipeline), x, x @ [1.0, -2.0, 0.5, 0.0] + 3, cv=3).mean() > 0.8


def test_what_does_not_fit_is_refused(product_rows):
    rows, target = product_rows
    with pytest.raises(ModalityError, match=r"LowRank must have at least 2 modalities, got 1"):
        FusionClassifier("low_rank", **QUICK).fit({"a": rows["a"]}, target)
    with pytest.raises(DataError, match=r"different lengths|same number|must have"):
        FusionClassifier(**QUICK).fit(rows, target[:-1])
    with pytest.raises(OptionError, match=r"Did you mean 'sum'"):
        FusionClassifier("summ", **QUICK).fit(rows, target)
    with pytest.raises(ValueError, match=r"Unknown label type"):
        FusionClassifier(**QUICK).fit(rows, np.linspace(0, 1, 400))


def lists_of_classes():
    """Rows of two modalities, and three classes: one of each modality and one of both."""
    generator = np.random.default_rng(0)
    rows = {"a": generator.normal(size=(300, 3)), "b": generator.normal(size=(300, 2))}
    flags = [rows["a"][:, 0] > 0, rows["b"][:, 0] > 0, rows["a"][:, 1] + rows["b"][:, 1] > 0]
    return rows, np.stack(flags, axis=1).astype(int)


def test_several_classes_of_a_row_are_an_indicator():
    rows, target = lists_of_classes()
    model = FusionClassifier("sum", **QUICK | {"max_epochs": 100}).fit(rows, target)
    probabilities = model.predict_proba(rows)
    np.testing.assert_array_equal(model.predict(rows), probabilities >= 0.5)
    assert (model.predict(rows) == target).mean(0).min() > 0.85
    assert model.score(rows, target) == (model.predict(rows) == target).all(1).mean()
    assert model.classes_.tolist() == [0, 1, 2]


def test_a_sparse_indicator_is_the_same_as_a_dense_one():
    rows, target = lists_of_classes()
    dense, sparse = (FusionClassifier("sum", **QUICK).fit(rows, y) for y in (target, csr_array(target)))
    np.testing.assert_array_equal(dense.predict_proba(rows), sparse.predict_proba(rows))


def test_several_numbers_of_a_row_are_predicted_each_in_its_units(product_rows):
    rows, _ = product_rows
    target = np.stack([10 + rows["a"][:, 0], 100 * rows["b"][:, 0]], axis=1)
    model = FusionRegressor("sum", **QUICK | {"max_epochs": 100, "dropout": 0.0}).fit(rows, target)
    predicted = model.predict(rows)
    errors = np.abs(predicted - target).mean(0) / target.std(0)
    assert errors.max() < 0.2
    assert model.score(rows, target) == pytest.approx(r2_score(target, predicted))


def rare():
    """Rows that tell a rare class badly."""
    generator = np.random.default_rng(0)
    target = (generator.uniform(size=600) < 0.1).astype(int)
    values = target[:, None] + generator.normal(size=(600, 2))
    return {"a": values[:, :1], "b": values[:, 1:]}, target


def recall(model, rows, target):
    return (model.predict(rows)[target == 1] == 1).mean()


@pytest.mark.parametrize("weight", ["balanced", {0: 1.0, 1: 9.0}])
def test_a_rare_class_that_weighs_more_is_found_more_often(weight):
    rows, target = rare()
    plain, weighted = (
        FusionClassifier("sum", class_weight=w, **QUICK).fit(rows, target) for w in (None, weight)
    )
    assert recall(plain, rows, target) < 0.45 < 0.65 < recall(weighted, rows, target)


@pytest.mark.parametrize("weight", ["balanced", [{1: 9.0}, {}]])
def test_of_several_classes_each_has_weights_of_its_own(weight):
    rows, target = rare()
    both = np.stack([target, 1 - target], axis=1)
    plain, weighted = (
        FusionClassifier("sum", class_weight=w, **QUICK).fit(rows, both) for w in (None, weight)
    )
    found = [model.predict(rows)[target == 1, 0].mean() for model in (plain, weighted)]
    assert found[0] < 0.45 < 0.65 < found[1]


@pytest.mark.parametrize("weight", [{0: 2.0}, [{1: 2.0}], "even"])
def test_weights_that_are_not_one_dict_per_class_are_refused(weight):
    rows, target = lists_of_classes()
    with pytest.raises(OptionError, match="class_weight must be 'balanced' or a list of 3 dicts"):
        FusionClassifier("sum", class_weight=weight, **QUICK).fit(rows, target)


def test_columns_of_more_than_two_values_are_no_indicator():
    rows, target = lists_of_classes()
    with pytest.raises(DataError, match="target must be columns of 0 and 1 for multilabel, got 2 among"):
        FusionClassifier("sum", **QUICK).fit(rows, target * 2)
