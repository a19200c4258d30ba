import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from fuseloom import Batch, create_remedy
from fuseloom.train.fit import FitConfig, fit
from fuseloom.train.remedies import Course, Encoded, Passage, Remedied
from fuseloom.train.remedies.opm import OPM, drop_rates, drop_rows, dropped_share


def rates_of(scores, **options):
    found = drop_rates(
        {n: torch.tensor(v) for n, v in scores.items()}, **{"base": 0.5, "gain": 0.5, **options}
    )
    return {name: rate.item() for name, rate in found.items()}


@pytest.mark.parametrize(("a", "v"), [(5.0, 3.0), (6.0, 1.0), (2.0, 1.9)])
def test_rates_of_two_are_those_of_the_formula(a, v):
    found = rates_of({"a": a, "v": v}, base=0.4, gain=0.3)
    assert found["a"] == pytest.approx(0.4 * (1 + 0.3 * math.tanh(a / v - 1)))
    assert found["v"] == 0


def test_of_three_each_is_compared_with_the_mean_of_its_ratios():
    found = rates_of({"a": 4.0, "v": 2.0, "t": 1.0})
    assert found["a"] == pytest.approx(0.5 * (1 + 0.5 * math.tanh((4 / 2 + 4 / 1) / 2 - 1)))
    assert found["v"] == pytest.approx(0.5 * (1 + 0.5 * math.tanh((2 / 4 + 2 / 1) / 2 - 1)))
    assert found["t"] == 0


@given(
    scores=st.lists(st.floats(0, 50, width=32), min_size=2, max_size=5),
    base=st.floats(0, 1),
    gain=st.floats(0, 9),
)
def test_rates_are_probabilities_and_the_last_is_never_dropped(scores, base, gain):
    found = rates_of({str(place): score for place, score in enumerate(scores)}, base=base, gain=gain)
    assert all(0 <= rate <= 1 for rate in found.values())
    assert found[str(scores.index(min(scores)))] == 0


def test_the_share_weighs_modalities_by_their_width():
    rates = {"a": torch.tensor(0.5), "v": torch.tensor(0.2)}
    assert dropped_share(rates, {"a": 6, "v": 2}).item() == pytest.approx((6 * 0.5 + 2 * 0.2) / 8)


@pytest.mark.parametrize("shape", [(3, 2), (3, 4, 2), (3, 2, 4, 5)])
@pytest.mark.parametrize("masked", [False, True])
def test_dropped_rows_are_absent_and_the_others_larger(shape, masked):
    value = torch.ones(shape)
    full = {2: shape[:1], 3: shape[:2], 4: (shape[0], *shape[2:])}[len(shape)]
    mask = torch.ones(full, dtype=torch.bool)
    mask[2] = False
    encoded = Encoded(
        streams={"a": value, "v": value},
        masks={"a": mask} if masked else {},
        batch=Batch(inputs={"a": value}),
    )
    rows = torch.tensor([True, False, True])
    dropped = drop_rows(encoded, {"a": rows, "v": ~rows}, torch.tensor(0.75))
    assert dropped.present("a").tolist() == [True, False, not masked]
    assert dropped.present("v").tolist() == [False, True, False]
    assert dropped.streams["a"].equal(4 * value)
    assert encoded.streams["a"].equal(value)


def test_without_batches_to_treat_training_is_the_plain_one(problem):
    of = problem(2, fusion="attention_pool", kind="projection")
    config = FitConfig(max_epochs=3, batch_size=16, lr=1e-2)
    models = [
        fit(of.build, of.train, of.valid, of.task, config, remedy=remedy)[0]
        for remedy in (
            None,
            OPM(p=0, epochs=(0, None)),
            OPM(p=1, epochs=(3, None)),
            OPM(p=1, epochs=(2, None)),
        )
    ]
    plain, *rest = ([*model.state_dict().values()] for model in models)
    same = [all(a.equal(b) for a, b in zip(plain, other, strict=True)) for other in rest]
    assert same == [True, True, False]


@pytest.mark.parametrize(("epoch", "treated"), [(1, False), (2, True), (3, True), (4, False)])
def test_it_drops_within_its_epochs_only(problem, epoch, treated):
    of = problem(2, dropout=0.0)
    torch.manual_seed(0)
    remedied = Remedied(of.build(), OPM(p=1, base=1, gain=0, epochs=(2, 4)), of.task)
    remedied.start_epoch(Course(epoch=epoch, num_steps=1))
    plain = Passage(remedied.view, of.train, of.task).loss
    assert remedied.loss(of.train).equal(plain) is not treated


def test_the_loss_is_that_of_what_is_left(problem):
    of = problem(2, dropout=0.0)
    rows = replace(of.train, masks={}).take(slice(0, 8))
    torch.manual_seed(0)
    model = of.build()
    remedied = Remedied(model, OPM(p=1, base=1, gain=0, epochs=(0, None)), of.task)
    seen = Passage(remedied.view, rows, of.task)
    right = {n: z.softmax(-1)[range(8), rows.target].mean() for n, z in seen.split().items()}
    leader = max(right, key=right.get)
    dims = remedied.view.dims
    # With base 1 the leader is always dropped, and the rest makes up for its width.
    scale = 1 / (1 - dims[leader] / sum(dims.values()))
    kept = seen.encoded.times(dict.fromkeys(dims, torch.tensor(scale))).without([leader])
    wanted = F.cross_entropy(remedied.view.fuse(kept), rows.target)
    torch.testing.assert_close(remedied.loss(rows), wanted)


def test_rows_that_lose_all_they_had_do_not_count(problem):
    of = problem(2, dropout=0.0)
    rows = replace(of.train, masks={}).take(slice(0, 8))
    torch.manual_seed(0)
    remedied = Remedied(of.build(), OPM(p=1, base=1, gain=0, epochs=(0, None)), of.task)
    right = {
        n: z.softmax(-1)[range(8), rows.target].mean()
        for n, z in Passage(remedied.view, rows, of.task).split().items()
    }
    leader = max(right, key=right.get)
    (other,) = rows.inputs.keys() - {leader}
    there = torch.tensor([True, True, True, True, True, True, False, False])
    lonely = replace(rows, masks={other: there})
    weights = torch.tensor([1.0, 2.0, 1.0, 1.0, 1.0, 0.5, 9.0, 9.0])
    weighted = replace(lonely, extras={"weight": weights})
    seen = Passage(remedied.view, lonely, of.task)
    dims = remedied.view.dims
    scale = torch.tensor(1 / (1 - dims[leader] / sum(dims.values())))
    outputs = remedied.view.fuse(seen.encoded.times(dict.fromkeys(dims, scale)).without([leader]))
    errors = F.cross_entropy(outputs, rows.target, reduction="none")[:6]
    torch.testing.assert_close(remedied.loss(lonely), errors.mean())
    torch.testing.assert_close(remedied.loss(weighted), (errors * weights[:6]).sum() / weights[:6].sum())


def test_about_so_many_batches_are_treated(problem):
    of = problem(3, dropout=0.0)
    torch.manual_seed(0)
    remedied = Remedied(of.build(), OPM(p=0.7, base=1, gain=0, epochs=(0, None)), of.task)
    plain = Passage(remedied.view, of.train, of.task).loss
    treated = sum(not remedied.loss(of.train).equal(plain) for _ in range(60))
    assert treated == pytest.approx(42, abs=12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": 1.5}, r"base must be in \[0, 1\], got 1.5"),
        ({"p": -0.1}, r"p must be in \[0, 1\], got -0.1"),
        ({"gain": -1.0}, r"gain must not be negative, got -1.0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        create_remedy("opm", **options)
