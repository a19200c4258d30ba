from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseloom import Batch
from fuseloom.diagnose.projection import project
from fuseloom.diagnose.split import Split, split
from fuseloom.errors import OptionError
from fuseloom.metrics.interaction_orders import interaction_orders
from fuseloom.models import ModelConfig, build_model
from fuseloom.registry import card, list_fusions
from fuseloom.tasks.classification import Classification

NAMES = "abcd"
TASK = Classification(["x", "y", "z"])


def batch(count, num=2, width=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(num, count, width, generator=generator, dtype=torch.float64)
    return Batch(inputs=dict(zip(NAMES, drawn, strict=False)))


def additive(rows):
    return 50 + sum(value.square().cumsum(1) for value in rows.inputs.values())


def mixed(rows):
    """Interactions of every order, and what each modality says alone."""
    first, *others = rows.inputs.values()
    product = first.clone()
    for value in others:
        product = product * (value + 0.5)
    return product + torch.tanh(first + others[0]) + 7


def dense(function, rows):
    """The additive part of the whole table, at the rows themselves."""
    count, num = len(rows), len(rows.inputs)
    places = torch.cartesian_prod(*[torch.arange(count)] * num).T
    inputs = {name: value[at] for (name, value), at in zip(rows.inputs.items(), places, strict=True)}
    table = function(Batch(inputs=inputs)).reshape(*[count] * num, -1).numpy()
    orders = interaction_orders(table, num)
    itself = (torch.arange(count),) * num
    axes = tuple(range(num))
    energy = 1 - orders[0].var(axes).sum() / table.var(axes).sum()
    return torch.from_numpy(orders[0][itself]), energy


@given(st.integers(2, 7), st.integers(2, 4), st.integers(0, 99))
def test_sums_give_what_the_whole_table_gives(count, num, seed):
    rows = batch(count, num, seed=seed)
    expected, energy = dense(mixed, rows)
    found = project(Split(together=mixed), rows)
    assert found.form == "exact"
    assert found.num_computed == count + min(8, count - 1) + count**num
    torch.testing.assert_close(found.additive, expected)
    assert found.energy == pytest.approx(energy, abs=1e-9)
    assert found.error.abs().max() == 0


def test_one_row_is_its_own_projection():
    found = project(Split(together=mixed), batch(1))
    assert found.additive.equal(found.own)
    assert found.energy == 0


@given(st.integers(2, 4), st.integers(2, 20), st.integers(0, 99))
def test_any_partners_are_exact_where_nothing_interacts(num, partners, seed):
    rows = batch(20, num, seed=seed)
    found = project(Split(together=additive), rows, partners=partners, seed=seed)
    assert found.form == "monte carlo"
    torch.testing.assert_close(found.additive, found.own, rtol=1e-12, atol=1e-11)
    assert found.error.max() < 1e-5
    assert found.energy < 1e-12


def test_all_rows_as_partners_are_all_pairs():
    rows = batch(30)
    every, drawn = (project(Split(together=mixed), rows, partners=some) for some in ("all", 30))
    torch.testing.assert_close(drawn.additive, every.additive)
    assert drawn.energy == pytest.approx(every.energy, abs=1e-9)
    assert drawn.error.max() == 0


@pytest.mark.parametrize(("num", "partners"), [(2, 30), (3, 40)])
def test_an_estimate_is_unbiased_and_its_error_is_stated(num, partners):
    rows = batch(60, num, width=2)
    exact = project(Split(together=mixed), rows, partners="all")
    runs = [project(Split(together=mixed), rows, partners=partners, seed=seed) for seed in range(40)]
    errors = torch.stack([run.additive - exact.additive for run in runs])
    stated = torch.stack([run.error for run in runs]).square().mean(0).sqrt()
    assert float(errors.square().mean(0).sqrt().div(stated).mean()) == pytest.approx(1, abs=0.25)
    assert float((errors.mean(0) / stated).square().mean()) < 3 / 40  # 1 / 40 for one that has no bias
    energy = torch.tensor([run.energy for run in runs]).mean()
    assert float(energy) == pytest.approx(exact.energy, abs=0.04)


def test_partners_follow_from_the_seed_alone():
    rows = batch(40)
    torch.manual_seed(5)
    first = project(Split(together=mixed), rows, partners=10, seed=1)
    state = torch.get_rng_state()
    again = project(Split(together=mixed), rows, partners=10, seed=1)
    assert torch.get_rng_state().equal(state)
    assert first.additive.equal(again.additive)
    assert not first.additive.equal(project(Split(together=mixed), rows, partners=10, seed=2).additive)


def test_many_rows_are_sampled_and_few_are_not(monkeypatch):
    monkeypatch.setattr("fuseloom.diagnose.projection._MOST_COMBINATIONS", 10_000)
    forms = {count: project(Split(together=mixed), batch(count)) for count in (100, 101, 150)}
    assert [found.form for found in forms.values()] == ["exact", "monte carlo", "monte carlo"]
    assert forms[150].num_computed == 158 + 2 * (150 * 100 + 100**2) + 150**2
    assert forms[150].error.max() > 0


def trained_like(fusion, num):
    """A model in double precision whose parameters are all drawn, so that none hides a path."""
    generator = torch.Generator().manual_seed(1)
    encoders = {name: {"kind": "identity", "in_dim": 3} for name in NAMES[:num]}
    model = build_model(ModelConfig(encoders=encoders, fusion=fusion, dim=4), TASK).double()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator).double()
    return model


def of_order(order):
    return [name for name in list_fusions(kind="merge") if card(name).interaction == order]


@pytest.mark.parametrize("num", [2, 3])
@pytest.mark.parametrize("name", of_order("additive"))
def test_every_additive_merge_is_its_own_projection_by_claim_and_by_computation(name, num):
    model = trained_like(name, num)
    rows = batch(12, num)
    claimed, computed = (project(split(model), rows, partners=some) for some in (None, "all"))
    assert (claimed.form, computed.form) == ("additive", "exact")
    assert claimed.additive.equal(claimed.own)
    torch.testing.assert_close(computed.additive, claimed.own, rtol=1e-12, atol=1e-10)
    assert claimed.energy == 0
    assert computed.energy < 1e-12


@pytest.mark.parametrize("num", [2, 3])
@pytest.mark.parametrize("tokens", [0, 5])
@pytest.mark.parametrize("name", of_order("multiplicative"))
def test_every_multiplicative_merge_has_the_closed_form(name, num, tokens):
    if num > (card(name).arity[1] or num):
        pytest.skip("takes two modalities")
    model = trained_like(name, num)
    rows = batch(14, num)
    if tokens:
        inputs = {n: torch.randn(14, tokens, 3, dtype=torch.float64) for n in rows.inputs}
        real = torch.arange(tokens) < torch.arange(14)[:, None] % tokens + 1
        rows = Batch(inputs=inputs, masks=dict.fromkeys(inputs, real))
    closed, computed = (project(split(model), rows, partners=some) for some in (None, "all"))
    assert (closed.form, computed.form) == ("multilinear", "exact")
    torch.testing.assert_close(closed.additive, computed.additive, rtol=1e-9, atol=1e-9)
    assert closed.energy == pytest.approx(computed.energy, abs=0.1 if num > 2 else 1e-9)
    assert closed.energy > 0.01


def test_where_a_modality_is_absent_no_closed_form_is_taken():
    """The mean of what is there weighs a modality more where another is absent, and that is no sum."""
    model = trained_like("mean", 2)
    rows = replace(batch(12), masks={"a": torch.arange(12) > 3})
    found = project(split(model), rows)
    assert found.form == "exact"
    assert float((found.additive - found.own).abs().max()) > 0.1
    there = replace(rows, masks={"a": torch.ones(12, dtype=torch.bool)})
    assert project(split(model), there).form == "additive"


def test_a_mask_is_honoured_with_the_value_it_belongs_to():
    """Absent values are arbitrary: they do not change the projection."""
    model = trained_like("low_rank", 2)
    mask = torch.arange(12) % 3 > 0
    rows = replace(batch(12), masks={"a": mask})
    wild = replace(rows, inputs=rows.inputs | {"a": rows.inputs["a"].masked_fill(~mask[:, None], torch.nan)})
    found = project(split(model), rows)
    assert found.form == "exact"
    torch.testing.assert_close(project(split(model), wild).additive, found.additive)


def test_of_many_modalities_a_claim_is_checked_on_few_rows():
    generator = torch.Generator().manual_seed(0)
    rows = Batch(inputs={f"m{k}": torch.randn(30, 1, generator=generator) for k in range(9)})
    found = project(Split(together=additive, interaction="additive"), rows)
    assert found.form == "additive"
    assert found.num_computed < 3000


@pytest.mark.parametrize("claim", ["additive", "multiplicative"])
def test_a_false_claim_is_found_out(claim):
    rows = batch(9)
    found = project(Split(together=mixed, interaction=claim), rows)
    assert found.form == "exact"
    torch.testing.assert_close(found.additive, dense(mixed, rows)[0])


def test_encoders_see_each_row_once():
    encoders = {name: {"kind": "embedding", "in_dim": 3} for name in "ab"}
    model = build_model(ModelConfig(encoders=encoders, fusion="bottleneck+mlp", dim=8), TASK)
    seen = dict.fromkeys("ab", 0)
    for name, encoder in model.encoders.items():
        encoder.stages[0].register_forward_pre_hook(
            lambda _, given, name=name: seen.update({name: seen[name] + len(given[0])})
        )
    inputs = {name: torch.randn(40, 2, 3) for name in "ab"}
    found = project(split(model), Batch(inputs=inputs))
    assert seen == {"a": 40, "b": 40}
    assert found.num_computed == 40 + 8 + 40**2
    whole = project(Split(together=lambda rows: model.eval()(rows.inputs)), Batch(inputs=inputs))
    torch.testing.assert_close(whole.additive, found.additive, rtol=1e-4, atol=1e-5)
    assert seen["a"] > 1600


def test_the_digits_of_small_variations_of_large_outputs_are_kept():
    rows = batch(40, width=1)
    small = project(Split(together=lambda b: mixed(b)), rows)
    large = project(Split(together=lambda b: mixed(b) + 1e7), rows)
    torch.testing.assert_close(large.additive - 1e7, small.additive, rtol=0, atol=1e-7)
    shifted = project(Split(together=lambda b: mixed(b) + 1e4), rows)
    assert shifted.energy == pytest.approx(small.energy, rel=1e-6)


def test_a_model_that_never_changes_has_no_interaction():
    for partners in ("all", 5):
        found = project(Split(together=lambda b: torch.full((len(b),), 0.1)), batch(20), partners=partners)
        assert found.energy == 0
        assert found.additive.sub(0.1).abs().max() < 1e-7


@pytest.mark.parametrize("partners", [1, 21, "some"])
def test_a_number_of_partners_out_of_range_is_refused(partners):
    with pytest.raises(OptionError, match=f"from 2 to 20, the rows, or 'all' or None, got {partners!r}"):
        project(Split(together=mixed), batch(20), partners=partners)
