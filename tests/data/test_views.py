"""The set whose class no summary of a single view can hold, proved on pairs of rows and by training."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fuseloom.data import load
from fuseloom.data.views import Views, make_views
from fuseloom.encoders import Encoder
from fuseloom.errors import OptionError
from fuseloom.models import FusionModel
from fuseloom.nn.masked import masked_max, masked_mean
from fuseloom.registry import create, list_names, lookup
from fuseloom.tasks.classification import Classification
from fuseloom.train.fit import FitConfig, fit, predict_outputs, seeded
from fuseloom.types import Batch

MERGES = [name for name in list_names(kind="merge") if lookup(name, kind="merge").card.arity[0] <= 2]
POOLS = {"mean": masked_mean, "max": masked_max}
TASK = Classification(["shift_0", "shift_1"])
Pool = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Tokens of each view, and the class."""

    views: dict[str, Tensor]
    target: Tensor

    @classmethod
    def of(cls, data: Views, part: str) -> "Rows":
        rows = data.split == part
        target = torch.tensor([int(name.removeprefix("shift_")) for name in data.target[rows]])
        return cls(views={name: torch.from_numpy(data[name][rows]) for name in "ab"}, target=target)

    @property
    def batch(self) -> Batch:
        return Batch(inputs=self.views, target=self.target)


class PooledMap(nn.Module):
    """A perceptron of each token by itself, then one vector of all."""

    def __init__(self, width: int, dim: int, pool: Pool) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, dim))
        self.pool = pool

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.pool(self.layers(value), mask), None


class PooledEncoder(Encoder):
    def __init__(self, width: int, dim: int, pool: Pool) -> None:
        super().__init__([PooledMap(width, dim, pool)], [dim])


def pooled_model(merge: str, pool: Pool) -> FusionModel:
    """Any merge behind streams that were pooled before it."""
    encoders = {name: PooledEncoder(8, 16, pool) for name in "ab"}
    dims, level = dict.fromkeys("ab", 16), lookup(merge, kind="merge").card.level
    if level == "decision":
        heads = {name: nn.Linear(16, 2) for name in "ab"}
        return FusionModel(encoders, create(merge, dict.fromkeys("ab", 2)), heads)
    if level == "output":
        return FusionModel(encoders, create(merge, dims, dim=2), None)
    return FusionModel(encoders, create(merge, dims, dim=16), nn.Linear(16, 2))


def twins(data: Views) -> dict[str, Tensor]:
    """The same rows with the tokens of ``b`` in another order, in which they are rows of the other class."""
    own, shown = data.symbols["b"], (data.symbols["b"] + 1) % data.num_classes
    taken = np.argsort(np.argsort(shown, axis=1, kind="stable"), axis=1, kind="stable")
    order = np.take_along_axis(np.argsort(own, axis=1, kind="stable"), taken, axis=1)
    np.testing.assert_array_equal(np.take_along_axis(own, order, axis=1), shown)
    moved = np.take_along_axis(data.streams["b"], order[..., None], axis=1)
    return {"a": torch.from_numpy(data.streams["a"]), "b": torch.from_numpy(moved)}


@pytest.fixture(scope="module")
def data() -> Views:
    return make_views(400, num_tokens=8)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("merge", MERGES)
def test_whatever_the_merge_pooled_views_cannot_tell_a_row_from_its_twin(
    merge: str, pool: str, data: Views
) -> None:
    """Rows and their twins have different classes, so half of the answers are wrong, exactly."""
    with seeded(0):
        model = pooled_model(merge, POOLS[pool]).double().eval()
        for parameter in model.parameters():
            parameter.data.normal_(std=0.5)
    rows = {name: torch.from_numpy(data.streams[name]).double() for name in "ab"}
    with torch.no_grad():
        own, moved = model(rows), model({name: value.double() for name, value in twins(data).items()})
    assert own.std(0).min() > 1e-6
    torch.testing.assert_close(own, moved, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("merge", MERGES)
def test_whatever_the_merge_pooled_views_teach_nothing(merge: str) -> None:
    """The accuracy of a trained model is that of a coin: within four deviations over 1,600 new rows."""
    data = make_views(8000, num_tokens=8, seed=1)
    train, valid, test = (Rows.of(data, part) for part in ("train", "valid", "test"))
    config = FitConfig(lr=3e-3, max_epochs=6, patience=6, batch_size=128)
    few = train.batch.take(slice(0, 1500))
    model, _ = fit(lambda: pooled_model(merge, masked_mean), few, valid.batch, TASK, config)
    right = predict_outputs(model, test.batch).argmax(1) == test.target.numpy()
    assert abs(right.mean() - data.pooled_accuracy) < 4 * 0.5 / len(right) ** 0.5


class Identity(Encoder):
    def __init__(self) -> None:
        super().__init__([Unchanged()], [8])


class Unchanged(nn.Module):
    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return value, mask


@pytest.mark.slow
def test_an_exchange_between_the_tokens_solves_it() -> None:
    data = make_views()
    train, valid, test = (Rows.of(data, part) for part in ("train", "valid", "test"))
    dims = dict.fromkeys("ab", 8)

    def build() -> FusionModel:
        exchange = create("pixel_attention", dims)
        merge = create("concat", dims, dim=16)
        return FusionModel({n: Identity() for n in "ab"}, merge, nn.Linear(16, 2), exchanges={0: exchange})

    config = FitConfig(lr=1e-2, max_epochs=60, patience=60)
    model, _ = fit(build, train.batch, valid.batch, TASK, config)
    right = predict_outputs(model, test.batch).argmax(1) == test.target.numpy()
    assert right.mean() > 0.97


@pytest.mark.parametrize(("num_classes", "num_tokens"), [(2, 8), (3, 6), (4, 4)])
def test_the_class_is_how_the_views_pair(num_classes: int, num_tokens: int) -> None:
    data = make_views(300, num_classes=num_classes, num_tokens=num_tokens)
    shift = (data.symbols["b"] - data.symbols["a"]) % num_classes
    assert (shift == shift[:, :1]).all()
    assert data.target.tolist() == [f"shift_{k}" for k in shift[:, 0]]
    assert data.pooled_accuracy == 1 / num_classes
    for shown in data.symbols.values():
        counts = {tuple(np.bincount(row, minlength=num_classes)) for row in shown}
        assert counts == {(num_tokens // num_classes,) * num_classes}


def test_a_view_alone_is_equally_frequent_in_any_order_in_both_classes() -> None:
    data = make_views(24_000, num_tokens=4, seed=2)
    orders = sorted(set(permutations((0, 0, 1, 1))))
    for name, k in product("ab", range(2)):
        rows = data.target == f"shift_{k}"
        counts = Counter(map(tuple, data.symbols[name][rows].tolist()))
        expected = rows.sum() / len(orders)
        assert sorted(counts) == orders
        assert sum((counts[o] - expected) ** 2 / expected for o in orders) < 25  # chi-squared, 5 degrees


def test_a_token_shows_its_symbol_whatever_its_size(data: Views) -> None:
    for name, tokens in data.streams.items():
        values = tokens.reshape(-1, 8).astype(np.float64)
        shown = 2 * data.symbols[name].reshape(-1) - 1
        found = values @ np.linalg.lstsq(values, shown, rcond=None)[0]
        assert np.mean((found > 0) == (shown > 0)) == 1


def test_classes_are_equally_frequent_in_every_split(data: Views) -> None:
    for part, size in {"train": 240, "valid": 80, "test": 80}.items():
        assert Counter(data.target[data.split == part]) == {"shift_0": size // 2, "shift_1": size // 2}


def test_nothing_but_the_seed_decides() -> None:
    one, same, other = (make_views(100, seed=seed) for seed in (1, 1, 2))
    for name in one:
        np.testing.assert_array_equal(one[name], same[name])
    assert not np.allclose(one["a"], other["a"])


def test_it_is_loaded_by_name_and_as_it_is(data: Views) -> None:
    named, given = load("views"), load(data)
    assert {name: part.values.shape for name, part in named.modalities.items()} == {
        "a": (2000, 4, 8),
        "b": (2000, 4, 8),
    }
    assert named.target is not None
    assert named.target.tolist() == make_views().target.tolist()
    assert given.target is not None
    assert given.target.tolist() == data.target.tolist()
    assert given.split is not None
    assert given.split.tolist() == data.split.tolist()
    assert len(data) == len(list(data)) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, r"num_classes must be at least 2, got 1\."),
        ({"num_rows": 9}, r"num_rows must be at least 10, got 9\."),
        ({"num_tokens": 7}, r"num_tokens must be a positive multiple of num_classes=2, got 7\."),
        ({"num_tokens": 0}, r"num_tokens must be a positive multiple of num_classes=2, got 0\."),
        ({"width": 1}, r"width must be at least num_classes=2, got 1\."),
    ],
    ids=str,
)
def test_what_cannot_be_made_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_views(**options)
