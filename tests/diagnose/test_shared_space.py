import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from fuseloom import Batch
from fuseloom.diagnose import shared_space as module
from fuseloom.diagnose.shared_space import pooled, shared_space
from fuseloom.errors import DataError, ModalityError, OptionError
from fuseloom.metrics.similarity import linear_cka, modality_gap


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair(count=200, noise=0.3, width=6, shift=0.0, seed=0):
    """Two noisy views of the same vectors."""
    base = normal(count, width, seed=seed)
    x, y = (base + noise * normal(count, width, seed=seed + 1 + k) for k in range(2))
    return {"x": x, "y": y + shift}


def compare(inputs, masks=None, permutations=100, **options):
    rows = Batch(inputs=inputs, masks=masks or {})
    return shared_space({"end": rows}, permutations=permutations, **options)


def measures(one):
    found = {"cka": one.cka, "cca": one.cca, "neighbours": one.neighbours, "matched": one.matched}
    return found | {f"{r.source}@{r.depth}": r.found for r in one.recall}


def test_two_views_of_the_same_rows_share_a_space_by_every_measure():
    (one,) = compare(pair())
    assert (one.layer, one.modalities, one.widths, one.rows) == ("end", ("x", "y"), (6, 6), 200)
    for name, found in measures(one).items():
        assert found.p == pytest.approx(1 / 101), name
        assert found.estimate.low < found.estimate.mean < found.estimate.high
        assert found.chance < found.estimate.low, name
    assert one.cka.estimate.mean == pytest.approx(linear_cka(*(v.numpy() for v in pair().values())))
    assert [(r.source, r.target, r.depth) for r in one.recall] == [
        ("x", "y", 1), ("x", "y", 5), ("x", "y", 10), ("y", "x", 1), ("y", "x", 5), ("y", "x", 10)
    ]  # fmt: skip


@pytest.mark.slow
def test_unrelated_streams_share_nothing_more_often_than_chance_says():
    """A p-value is uniform on the nulls, so few of many are small."""
    found = [
        compare({"x": normal(100, 5, seed=2 * s), "y": normal(100, 5, seed=2 * s + 1)}) for s in range(30)
    ]
    for name in measures(found[0][0]):
        ps = np.array([measures(one)[name].p for (one,) in found])
        assert (ps < 0.05).mean() <= 0.2, name
        assert 0.3 < ps.mean() < 0.75, name
    assert np.mean([one.gap.p for (one,) in found]) == pytest.approx(0.5, abs=0.2)


def test_chance_is_what_is_known_of_it():
    (one,) = compare(pair(), permutations=300)
    for recall in one.recall:
        assert recall.found.chance == pytest.approx(recall.depth / 200, rel=0.3)
    assert one.neighbours.chance == pytest.approx(10 / 199, rel=0.1)
    assert one.cca.chance == pytest.approx(0, abs=0.03)
    assert one.matched.chance == pytest.approx(0, abs=0.01)


def test_a_gap_is_seen_where_modalities_lie_apart_though_rows_match():
    near, apart = compare(pair())[0], compare(pair(shift=3.0))[0]
    values = [v.numpy() for v in pair(shift=3.0).values()]
    assert apart.gap.estimate.mean == pytest.approx(modality_gap(*values))
    assert apart.gap.p == pytest.approx(1 / 101)
    assert apart.gap.estimate.low > near.gap.estimate.mean
    assert near.gap.p > 0.01
    assert apart.cka.p == pytest.approx(1 / 101)


def test_cosines_are_means_over_pairs_of_different_rows():
    inputs = pair(count=90)
    (one,) = compare(inputs)
    x, y = (v / v.norm(dim=1, keepdim=True) for v in inputs.values())
    off = ~torch.eye(90, dtype=torch.bool)
    assert one.cosine_across == pytest.approx((x @ y.T)[off].mean().item())
    assert one.cosine_within == pytest.approx([(z @ z.T)[off].mean().item() for z in (x, y)])
    matched = (x * y).sum(1).mean().item()
    assert one.matched.estimate.mean == pytest.approx(matched - one.cosine_across)


def test_intervals_stay_within_the_limits_of_their_measure():
    (one,) = compare({"x": normal(80, 3), "y": normal(80, 3, seed=1)}, permutations=5)
    for recall in one.recall:
        assert 0 <= recall.found.estimate.low <= recall.found.estimate.mean
    (same,) = compare({"x": normal(80, 3), "y": normal(80, 3) + 0.01 * normal(80, 3, seed=2)}, permutations=5)
    assert max(found.estimate.high for n, found in measures(same).items() if n != "matched") <= 1
    assert same.gap.estimate.low >= 0


def test_other_widths_are_compared_by_what_needs_no_common_width():
    inputs = pair()
    inputs["y"] = inputs["y"] @ normal(6, 9, seed=9)
    (one,) = compare(inputs)
    assert (one.recall, one.gap, one.matched, one.cosine_across) == ((), None, None, None)
    assert max(found.p for found in (one.cka, one.cca, one.neighbours)) < 0.02
    assert one.cca.estimate.mean > 0.8


def test_a_linear_map_hides_from_cosines_and_not_from_cca():
    inputs = pair(noise=0.05)
    inputs["y"] = inputs["y"] @ torch.linalg.qr(normal(6, 6, seed=5))[0]
    (one,) = compare(inputs)
    assert one.cca.estimate.mean > 0.95
    assert one.recall[0].found.estimate.mean < 0.1


def test_the_regulariser_is_large_where_few_rows_meet_many_features():
    plenty, few = (
        compare(pair(count=2000, width=4), permutations=20),
        compare(pair(100, 1.0, 40), permutations=20),
    )
    assert plenty[0].regulariser < 0.1 < few[0].regulariser
    assert few[0].cca.estimate.mean > 0.2


def test_the_interval_of_cka_holds_what_many_rows_say():
    big = [v.numpy() for v in pair(count=20000, noise=1.0).values()]
    truth = linear_cka(*big)
    covered = 0
    for start in range(0, 20000, 500):
        part = {n: torch.from_numpy(v[start : start + 500]) for n, v in zip("xy", big, strict=True)}
        interval = module._cka(
            *(v.numpy() for v in part.values()), np.arange(500)[None].repeat(2, 0)
        ).estimate
        covered += interval.low < truth < interval.high
    assert 34 <= covered <= 40  # of 40, 38 expected


def test_rows_that_lack_a_modality_do_not_count():
    inputs = pair()
    holes = {name: value.clone() for name, value in inputs.items()}
    holes["x"][:20], holes["y"][20:50] = torch.nan, 1e9
    masks = {"x": torch.arange(200) >= 20, "y": (torch.arange(200) < 20) | (torch.arange(200) >= 50)}
    (one,), (expected,) = compare(holes, masks), compare({n: v[50:] for n, v in inputs.items()})
    assert one.rows == 150
    assert one == expected
    assert holes["x"][:20].isnan().all()


def test_tokens_and_maps_are_averaged_over_what_is_real():
    tokens, mask = normal(2, 3, 4), torch.tensor([[True, True, False], [False, False, False]])
    tokens[0, 2] = torch.nan
    means, there = pooled(tokens, mask)
    torch.testing.assert_close(means, torch.stack([tokens[0, :2].mean(0), torch.zeros(4).double()]))
    assert there.tolist() == [True, False]
    maps = normal(2, 4, 3, 5)
    torch.testing.assert_close(pooled(maps)[0], maps.mean((2, 3)))
    real = normal(2, 3, 5, seed=1) > 0
    expected = (maps[1] * real[1]).sum((1, 2)) / real[1].sum()
    torch.testing.assert_close(pooled(maps, real)[0][1], expected)


def test_every_two_modalities_are_compared_at_every_layer():
    rows = Batch(inputs={name: normal(90, 3, seed=k) for k, name in enumerate("abc")})
    found = shared_space({"early": rows, "late": rows}, permutations=5)
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    assert [(one.layer, one.modalities) for one in found] == [
        (n, p) for n in ("early", "late") for p in pairs
    ]
    assert json.loads(json.dumps(asdict(found[0])))["modalities"] == ["a", "b"]


def test_the_same_seed_gives_the_same_numbers_and_no_generator_moves():
    torch.manual_seed(3)
    before, state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert compare(pair(), permutations=10) == compare(pair(), permutations=10)
    assert torch.get_rng_state().equal(before)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_of_very_many_rows_a_sample_counts(monkeypatch):
    monkeypatch.setattr(module, "_MOST_ROWS", 150)
    (one,) = compare(pair(count=400), permutations=5)
    assert one.rows == 150
    assert one.recall[0].found.chance < 0.05


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        (pair(), {"permutations": 0}, OptionError, "permutations must be at least 1, got 0"),
        ({"x": normal(90, 2)}, {}, ModalityError, r"'end' must have two or more modalities, got \['x'\]"),
        (pair(count=79), {}, DataError, "'x' and 'y' at 'end' must share at least 80 rows, got 79"),
        ({"x": normal(90, 2), "y": torch.ones(90, 2)}, {}, DataError, "must vary, got a stream that is the"),
        ({"x": normal(90, 2), "y": normal(90, 2) / 0}, {}, DataError, "must be finite, got NaN or infinite"),
    ],
)
def test_what_cannot_be_compared_is_refused(inputs, options, error, message):
    with pytest.raises(error, match=message):
        compare(inputs, **options)
