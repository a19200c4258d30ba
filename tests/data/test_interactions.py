from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product
from math import log2

import numpy as np
import pytest

from fuseloom.data import load
from fuseloom.data.interactions import NAMED_SETTINGS, Interactions, make_interactions
from fuseloom.errors import ModalityError, OptionError

Joint = dict[tuple[tuple[int, ...], ...], float]
"""What stands in each modality, and the label at the end -> probability."""


def mutual_information(joint: Joint, places: Sequence[int]) -> float:
    """Between the label and the modalities at these places, in bits."""
    pair: Counter[object] = Counter()
    left: Counter[object] = Counter()
    right: Counter[object] = Counter()
    for outcome, p in joint.items():
        seen, label = tuple(outcome[place] for place in places), outcome[-1]
        pair[seen, label] += p
        left[seen] += p
        right[label] += p
    return sum(p * log2(p / (left[seen] * right[label])) for (seen, label), p in pair.items() if p)


def counted(data: Interactions) -> Joint:
    """The joint distribution of the rows as they were drawn, without coins that say nothing."""
    told = {name: sum(name in bit.group for bit in data.label_bits) for name in data.streams}
    bits = [map(tuple, data.streams[name][:, :count].astype(int)) for name, count in told.items()]
    rows = zip(*bits, data.target, strict=True)
    return {row: count / len(data.target) for row, count in Counter(rows).items()}


def two_modalities(flip: float) -> Joint:
    """A redundant bit, one unique to the first modality, and a parity; the label flips the first at times."""
    joint: Counter[tuple[tuple[int, ...], ...]] = Counter()
    for shared, own, one, other, flipped in product((0, 1), repeat=5):
        label = (shared ^ flipped, own, one ^ other)
        joint[(shared, own, one), (shared, other), label] += (flip if flipped else 1 - flip) / 16
    return dict(joint)


def subsets(count: int) -> Iterable[tuple[int, ...]]:
    return (tuple(np.flatnonzero(chosen)) for chosen in product((0, 1), repeat=count) if any(chosen))


@pytest.mark.parametrize(
    ("modalities", "amounts"),
    [
        (2, {"synergistic": 1.0}),
        (2, {"redundant": 1.0, "synergistic": 0.0}),
        (2, {"unique": (1.0, 0.0), "synergistic": 0.0}),
        (2, {"redundant": 1.0, "unique": (2.0, 1.0), "synergistic": 1.0}),
        (3, {"unique": 1.0, "synergistic": 1.0}),
        (3, {"redundant": {("a", "b"): 1.0}, "synergistic": {("a", "c"): 1.0, ("b", "c"): 1.0}}),
    ],
    ids=str,
)
def test_stated_information_is_that_of_the_rows(modalities: int, amounts: dict[str, object]) -> None:
    data = make_interactions(1024, modalities, kind="discrete", seed=3, **amounts)
    joint = counted(data)
    for places in subsets(modalities):
        names = [list(data.streams)[place] for place in places]
        assert data.information(*names) == pytest.approx(mutual_information(joint, places), abs=1e-12)


@pytest.mark.parametrize("amount", [0.05, 0.3, 0.8, 1.0])
def test_stated_information_is_that_of_the_joint_distribution(amount: float) -> None:
    data = make_interactions(
        60_000, redundant=amount, unique=(1.0, 0.0), synergistic=1.0, kind="discrete", seed=1
    )
    exact = two_modalities(data.label_bits[0].flip_p)
    for places, known in {(0,): 1 + amount, (1,): amount, (0, 1): 2 + amount}.items():
        stated = data.information(*(("a", "b")[place] for place in places))
        assert stated == pytest.approx(known)
        assert mutual_information(exact, places) == pytest.approx(known, abs=1e-12)
    flipped = np.mean(data.streams["a"][:, 0] != data.label_values[:, 0])
    assert flipped == pytest.approx(data.label_bits[0].flip_p, abs=0.008)


def test_amounts_are_the_decomposition_of_the_information() -> None:
    """The distribution of Bertschinger et al. that is furthest from synergy cuts the parity, nothing else."""
    amount = 0.4
    data = make_interactions(200, redundant=amount, unique=(1.0, 0.0), synergistic=1.0, kind="discrete")
    joint = two_modalities(data.label_bits[0].flip_p)
    apart: Counter[tuple[tuple[int, ...], ...]] = Counter()
    for (first, second, label), p in joint.items():
        for bit in (0, 1):
            apart[first, (second[0], bit), label] += p / 2
    for kept in ((0, 2), (1, 2)):
        pairs = [Counter[object](), Counter[object]()]
        for table, pair in zip((joint, apart), pairs, strict=True):
            for outcome, p in table.items():
                pair[tuple(outcome[place] for place in kept)] += p
        assert pairs[0].keys() == pairs[1].keys()
        assert all(pairs[0][key] == pytest.approx(pairs[1][key]) for key in pairs[0])
    one, other = mutual_information(joint, [0]), mutual_information(joint, [1])
    both = mutual_information(dict(apart), [0, 1])
    stated = {bit.name: bit.amount for bit in data.label_bits}
    assert one + other - both == pytest.approx(stated["redundant"])
    assert both - other == pytest.approx(stated["unique_a"])
    assert both - one == pytest.approx(0)
    assert mutual_information(joint, [0, 1]) - both == pytest.approx(stated["synergistic"])


def test_continuous_features_tell_the_same_bits() -> None:
    """A linear map of each modality has the bits as its signs, and nothing else in it says anything."""
    amounts = {"redundant": 1.0, "unique": (1.0, 0.0), "synergistic": 1.0}
    data = make_interactions(4000, seed=5, **amounts)
    a, b = (values.astype(np.float64) for values in data.streams.values())
    redundant, unique, parity = (2 * data.label_values - 1).T
    maps = {"redundant": (a, redundant), "redundant in b": (b, redundant), "unique": (a, unique)}
    for features, bit in maps.values():
        found = features @ np.linalg.lstsq(features, bit, rcond=None)[0]
        assert np.mean((found > 0) == (bit > 0)) == 1
    # The parity is in the product of the two latent variables: the leading pair of the cross moment.
    left, strengths, right = np.linalg.svd((a * parity[:, None]).T @ b / len(a))
    assert strengths[0] > 5 * strengths[1]
    value = (a @ left[:, 0]) * (b @ right[0])
    agreement = np.mean((value > 0) == (parity > 0))  # a singular vector has no sign of its own
    assert max(agreement, 1 - agreement) > 0.98
    assert np.abs(a.T @ parity / len(a)).max() < 0.05


def test_noise_hides_bits() -> None:
    def readable(noise: float) -> float:
        data = make_interactions(2000, redundant=1.0, synergistic=0.0, noise=noise)
        features, bit = data["a"].astype(np.float64), 2 * data.label_values[:, 0] - 1
        return float(np.mean((features @ np.linalg.lstsq(features, bit, rcond=None)[0] > 0) == (bit > 0)))

    clean, noisy = readable(0.0), readable(2.0)
    assert clean == 1
    assert 0.55 < noisy < 0.8


def test_no_stretch_of_rows_favours_a_combination() -> None:
    data = make_interactions(800, redundant=1.0, synergistic=1.0, kind="discrete")
    for part, size in {"train": 480, "valid": 160, "test": 160}.items():
        rows = data.split == part
        counts = Counter(
            zip(*(map(tuple, values[rows].astype(int)) for values in data.streams.values()), strict=True)
        )
        assert set(counts.values()) == {size // 8}


def test_nothing_but_the_seed_decides() -> None:
    one, same, other = (make_interactions(100, seed=seed) for seed in (1, 1, 2))
    for name in one:
        np.testing.assert_array_equal(one[name], same[name])
    assert not np.allclose(one["a"], other["a"])


def test_the_best_accuracy_counts_what_is_known() -> None:
    data = make_interactions(100, redundant=1.0, unique=(1.0, 0.0), synergistic=0.5)
    flip = data.label_bits[-1].flip_p
    assert -flip * log2(flip) - (1 - flip) * log2(1 - flip) == pytest.approx(0.5)
    assert data.best_accuracy() == pytest.approx(1 - flip)
    assert data.best_accuracy("a") == pytest.approx(0.5)
    assert data.best_accuracy("b") == pytest.approx(0.25)


def test_amounts_above_one_bit_are_several() -> None:
    data = make_interactions(100, unique={"b": 1.5}, synergistic=0.0)
    assert [(bit.name, bit.amount) for bit in data.label_bits] == [("unique_b", 1.0), ("unique_b_2", 0.5)]
    assert data.information("b") == 1.5
    assert sorted(set(data.target)) == ["u0u0", "u0u1", "u1u0", "u1u1"]


def test_widths_are_filled_with_what_says_nothing() -> None:
    data = make_interactions(4096, width=3, kind="discrete", seed=2)
    assert [values.shape for values in data.streams.values()] == [(4096, 3), (4096, 3)]
    sides = 2 * np.concatenate(list(data.streams.values()), axis=1) - 1
    assert set(np.unique(sides)) == {-1.0, 1.0}
    assert np.abs(sides.T @ sides / 4096 - np.eye(6)).max() < 0.07
    np.testing.assert_array_equal(sides[:, 0] * sides[:, 3] < 0, data.label_values[:, 0] == 1)


def test_it_is_loaded_as_it_is() -> None:
    data = make_interactions(100, ["text", "audio"])
    rows = load(data)
    assert {name: modality.values.shape for name, modality in rows.modalities.items()} == {
        "text": (100, 8),
        "audio": (100, 8),
    }
    assert rows.target is not None
    assert rows.target.tolist() == data.target.tolist()
    assert rows.split is not None
    assert Counter(rows.split.tolist()) == {"train": 60, "valid": 20, "test": 20}


@pytest.mark.parametrize("name", NAMED_SETTINGS)
def test_named_sets_have_what_their_settings_say(name: str) -> None:
    rows = load(name)
    settings = {"redundant": 0.0, "unique": 0.0, "synergistic": 1.0, **NAMED_SETTINGS[name]}
    bits = settings["redundant"] + 2 * settings["unique"] + settings["synergistic"]
    assert rows.target is not None
    counts = Counter(rows.target.tolist())
    assert len(counts) == 2**bits
    assert max(counts.values()) - min(counts.values()) <= 2
    assert sorted(rows.modalities) == ["a", "b"]


def test_a_bit_of_a_named_set_can_be_the_target() -> None:
    rows, whole = load("interactions", target="synergistic"), load("interactions")
    assert rows.target is not None
    assert whole.target is not None
    assert [label[-2:] for label in whole.target] == rows.target.tolist()
    assert rows.schema.target_kind == "category"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"redundant": -1.0}, r"redundant must be 0 bits or more, got -1\.0\."),
        ({"synergistic": float("nan")}, r"synergistic must be 0 bits or more, got nan\."),
        ({"unique": (1.0,)}, r"unique must have an amount for each of \['a', 'b'\], got \[1\.0\]\."),
        ({"unique": {"c": 1.0}}, r"unique must be given for modalities of \['a', 'b'\], got \('c',\)\."),
        (
            {"synergistic": {("a",): 1.0}},
            r"synergistic must be given for groups of two or more of \['a', 'b'\]",
        ),
        ({"redundant": {("a", "a"): 1.0}}, r"redundant must be given for groups .*, got \('a', 'a'\)\."),
        ({"synergistic": 0.0}, r"The amounts must need 1 to 16 independent bits, got 0\."),
        ({"synergistic": 9.0}, r"independent bits, got 18\. A synergistic bit needs one per modality\."),
        ({"kind": "binary"}, r"kind must be 'continuous' or 'discrete', got 'binary'\."),
        ({"noise": -0.1}, r"noise must be 0 or more, got -0\.1\."),
        (
            {"noise": 0.1, "kind": "discrete"},
            r"noise must be 0 for discrete data, got 0\.1\. State a smaller",
        ),
        ({"width": 1, "synergistic": 2.0}, r"width must be at least 2 for these amounts, got 1\."),
        ({"num_rows": 4}, r"num_rows must be at least 5, got 4\."),
    ],
    ids=str,
)
def test_what_cannot_be_made_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_interactions(**options)


@pytest.mark.parametrize(
    ("modalities", "message"),
    [
        (1, r"modalities must be 2 to 26 or their names, got 1\."),
        (["text"], r"make_interactions .* got"),
        ("ab", r"modalities must be a number or different names, got 'ab'\."),
        (["a", "a"], r"modalities must be a number or different names, got \['a', 'a'\]\."),
        (["text", "target"], r"A modality must not be called 'target', got \['text', 'target'\]\."),
    ],
    ids=str,
)
def test_modalities_that_cannot_be_are_refused(modalities: object, message: str) -> None:
    with pytest.raises(ModalityError, match=message):
        make_interactions(modalities=modalities)


def test_an_unknown_modality_is_named() -> None:
    with pytest.raises(ModalityError, match=r"modalities must be of \['a', 'b'\], got 'c'\."):
        make_interactions(50).information("c")
