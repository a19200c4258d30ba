"""The stated truth of the imbalanced set: what its formulas say against Bayes classifiers on its own rows."""

from collections import Counter
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fuseloom.data import Imbalanced, load, make_imbalanced
from fuseloom.data.checks import check
from fuseloom.errors import ModalityError, OptionError

EASY, HARD, CARRIER = NormalDist().inv_cdf(0.9), NormalDist().inv_cdf((1 + 0.8**0.5) / 2), 10.0
SETTINGS = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.5), (1.0, 1.0), (2.5, 0.8)]
ROWS = 60_000
DEVIATIONS = 4.0

Sums = dict[str, NDArray[np.float64]]


@pytest.fixture
def unrotated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Directions are the axes: the first of easy, the first two of hard, the last is the carrier."""
    monkeypatch.setattr(np.linalg, "qr", lambda matrix: (np.eye(len(matrix)), matrix))


def sums_of(data: Imbalanced) -> Sums:
    """Of each row the sums over its tokens, at a deviation of one."""
    return {
        name: tokens.astype(np.float64).sum(1) / tokens.shape[1] ** 0.5
        for name, tokens in data.streams.items()
    }


def log_density(value: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    return -0.5 * (value - mean) ** 2


def evidence(data: Imbalanced, sums: Sums, quality: dict[str, NDArray[np.float64]]) -> Sums:
    """Log likelihood ``[N, 2]`` of minus and plus given a quality of each row, of each modality."""
    easy, hard = sums["easy"], sums["hard"]
    d, h = quality["easy"] * EASY * (1 + data.imbalance), quality["hard"] * HARD
    told = {name: np.empty((len(easy), 2)) for name in sums}
    for place, y in enumerate((-1, 1)):
        told["easy"][:, place] = log_density(easy[:, 0], d * y)
        coins = [log_density(hard[:, 0], h * z) + log_density(hard[:, 1], h * z * y) for z in (-1, 1)]
        told["hard"][:, place] = np.logaddexp(*coins)
    return told


def blind_evidence(data: Imbalanced, sums: Sums) -> Sums:
    """The same of somebody who sees the carrier, not the quality: a sum over its levels."""
    levels = 1 - data.noise * (np.arange(60) + 0.5) / 60
    terms: dict[str, list[NDArray[np.float64]]] = {name: [] for name in sums}
    for level in levels:
        every = {name: np.full(len(value), level) for name, value in sums.items()}
        for name, told in evidence(data, sums, every).items():
            terms[name].append(told + log_density(sums[name][:, -1], CARRIER * every[name])[:, None])
    return {name: np.logaddexp.reduce(np.stack(of), axis=0) for name, of in terms.items()}


def share_right(data: Imbalanced, told: Sums, names: tuple[str, ...]) -> float:
    total = sum(told[name] for name in names)
    return float(np.mean((total[:, 1] > total[:, 0]) == (data.target == "plus")))


@pytest.mark.parametrize("names", [("easy",), ("hard",), ("easy", "hard")], ids="+".join)
@pytest.mark.parametrize(("imbalance", "noise"), SETTINGS)
@pytest.mark.usefixtures("unrotated")
def test_the_bayes_classifier_of_its_rows_is_right_as_often_as_stated(
    imbalance: float, noise: float, names: tuple[str, ...]
) -> None:
    data = make_imbalanced(ROWS, imbalance=imbalance, noise=noise, num_tokens=2, width=3, seed=5)
    found = share_right(data, evidence(data, sums_of(data), dict(data.quality)), names)
    stated = data.best_accuracy(*names)
    assert abs(found - stated) < DEVIATIONS * (stated * (1 - stated) / ROWS) ** 0.5 + 2e-4


@pytest.mark.parametrize("names", [("easy",), ("hard",), ("easy", "hard")], ids="+".join)
@pytest.mark.usefixtures("unrotated")
def test_who_sees_the_tokens_only_comes_within_half_a_point_of_it(names: tuple[str, ...]) -> None:
    data = make_imbalanced(20_000, num_tokens=2, width=3, seed=6)
    sums = sums_of(data)
    blind = share_right(data, blind_evidence(data, sums), names)
    seeing = share_right(data, evidence(data, sums, dict(data.quality)), names)
    assert seeing - 0.005 < blind < seeing + 0.002


@pytest.mark.usefixtures("unrotated")
def test_the_carrier_tells_the_quality_to_a_tenth() -> None:
    data = make_imbalanced(20_000, seed=1)
    for name, sums in sums_of(data).items():
        errors = sums[:, -1] / CARRIER - data.quality[name]
        assert errors.std() == pytest.approx(0.1, rel=0.05)
        assert abs(errors.mean()) < DEVIATIONS * 0.1 / 20_000**0.5


def test_no_linear_function_of_hard_is_correlated_with_the_class_and_one_of_easy_is() -> None:
    data = make_imbalanced(40_000, noise=0.0, seed=2)
    sign = np.where(data.target == "plus", 1.0, -1.0)
    largest = {}
    for name, tokens in data.streams.items():
        features = tokens.reshape(len(sign), -1).astype(np.float64)
        along, _, _, _ = np.linalg.lstsq(features - features.mean(0), sign, rcond=None)
        largest[name] = float(np.corrcoef((features - features.mean(0)) @ along, sign)[0, 1] ** 2)
    assert largest["hard"] < 2 * 32 / 40_000  # what 32 features explain by chance
    size = 2 * EASY
    assert largest["easy"] == pytest.approx(size**2 / (1 + size**2), rel=0.02)


@pytest.mark.usefixtures("unrotated")
def test_either_sign_of_hard_is_a_coin_and_their_product_is_the_class() -> None:
    data = make_imbalanced(40_000, noise=0.0, num_tokens=1, width=3, seed=3)
    sign = np.where(data.target == "plus", 1.0, -1.0)
    one, other, _ = data.streams["hard"][:, 0].astype(np.float64).T
    for direction in (one, other):
        assert abs(np.mean(np.sign(direction) * sign)) < DEVIATIONS / 200
        assert abs(np.mean(direction[sign > 0] ** 2) - np.mean(direction[sign < 0] ** 2)) < 0.15
    assert np.mean(np.sign(one * other) == sign) == pytest.approx(0.9, abs=DEVIATIONS * 0.3 / 200)


@pytest.mark.usefixtures("unrotated")
def test_a_row_of_no_quality_shows_nothing() -> None:
    data = make_imbalanced(30_000, noise=1.0, num_tokens=3, width=4, seed=4)
    bad = data.quality["easy"] < 0.02
    values = data.streams["easy"][bad].astype(np.float64)
    assert bad.sum() > 400
    np.testing.assert_allclose(values.var(), 1.0, atol=0.05)


def test_qualities_are_uniform_independent_and_no_input() -> None:
    data = make_imbalanced(20_000, noise=0.6, seed=7)
    for quality in data.quality.values():
        places = np.quantile(quality, [0, 0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(places, [0.4, 0.55, 0.7, 0.85, 1.0], atol=0.01)
    assert abs(np.corrcoef(*data.quality.values())[0, 1]) < 0.03
    assert sorted(data) == ["easy", "hard", "split", "target"]
    assert len(data) == 4


@settings(max_examples=12)
@given(imbalance=st.floats(0, 3), noise=st.floats(0.05, 1))
def test_both_are_better_than_either_and_worse_rows_make_all_worse(imbalance: float, noise: float) -> None:
    data = make_imbalanced(10, imbalance=imbalance, noise=noise)
    easier = make_imbalanced(10, imbalance=imbalance, noise=noise - 0.05)
    best = {name: data.best_accuracy(name) for name in ("easy", "hard")}
    assert data.best_accuracy() > max(best.values())
    assert best["easy"] > best["hard"]
    for names in ((), ("easy",), ("hard",)):
        assert easier.best_accuracy(*names) > data.best_accuracy(*names) - 1e-4
    assert data.best_accuracy("hard", "easy") == data.best_accuracy()


@pytest.mark.parametrize("name", ["easy", "hard"])
def test_rows_in_full_quality_are_told_nine_times_in_ten_where_nothing_is_imbalanced(name: str) -> None:
    data = make_imbalanced(10, imbalance=0.0, noise=0.0)
    assert data.best_accuracy(name) == pytest.approx(0.9, abs=1e-12)


def test_more_tokens_show_the_same_in_smaller_pieces() -> None:
    few, many = (make_imbalanced(40_000, num_tokens=count, seed=8) for count in (1, 16))
    for name in ("easy", "hard"):
        spread = [
            (data.streams[name].astype(np.float64).sum(1) / data.streams[name].shape[1] ** 0.5).std()
            for data in (few, many)
        ]
        assert spread[0] == pytest.approx(spread[1], rel=0.05)


def test_classes_are_equally_frequent_in_every_split() -> None:
    data = make_imbalanced(500)
    for part, size in {"train": 300, "valid": 100, "test": 100}.items():
        assert Counter(data.target[data.split == part]) == {"plus": size // 2, "minus": size // 2}


def test_nothing_but_the_seed_decides() -> None:
    one, same, other = (make_imbalanced(100, seed=seed) for seed in (1, 1, 2))
    for name in one:
        np.testing.assert_array_equal(one[name], same[name])
    assert not np.allclose(one["easy"], other["easy"])


def test_it_is_loaded_by_name_with_its_qualities_beside_it() -> None:
    rows, data = load("imbalanced"), make_imbalanced()
    assert {name: part.values.shape for name, part in rows.modalities.items()} == {
        "easy": (2000, 4, 8),
        "hard": (2000, 4, 8),
    }
    assert rows.target is not None
    assert rows.target.tolist() == data.target.tolist()
    for name, quality in data.quality.items():
        np.testing.assert_array_equal(rows.labels[f"quality_{name}"], quality)
    assert check(rows).findings == ()


def test_it_is_loaded_as_it_is() -> None:
    data = make_imbalanced(60)
    rows = load(data)
    assert rows.target is not None
    assert (rows.target.tolist(), sorted(rows.modalities)) == (data.target.tolist(), ["easy", "hard"])
    assert rows.split is not None
    assert rows.split.tolist() == data.split.tolist()


def test_another_modality_is_refused() -> None:
    with pytest.raises(ModalityError, match=r"modalities must be of \['easy', 'hard'\], got 'text'\."):
        make_imbalanced(20).best_accuracy("text")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_rows": 9}, r"num_rows must be at least 10, got 9\."),
        ({"imbalance": -0.5}, r"imbalance must be 0 or more, got -0\.5\."),
        ({"imbalance": float("inf")}, r"imbalance must be 0 or more, got inf\."),
        ({"noise": 1.5}, r"noise must be in \[0, 1\], got 1\.5\."),
        ({"noise": float("nan")}, r"noise must be in \[0, 1\], got nan\."),
        ({"num_tokens": 0}, r"num_tokens must be at least 1, got 0\."),
        ({"width": 2}, r"width must be at least 3, got 2\."),
    ],
    ids=str,
)
def test_what_cannot_be_made_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_imbalanced(**options)  # type: ignore[arg-type]
