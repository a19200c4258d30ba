from itertools import combinations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fuseloom import Trace, create
from fuseloom.errors import OptionError
from fuseloom.merge.mro import convert_mro, interaction_places

DIMS = {"text": 4, "audio": 3, "depth": 2}


def streams(count=6):
    return {name: torch.randn(count, width) for name, width in DIMS.items()}


def perceptron(layers, values):
    hidden = np.maximum(values @ layers[0].weight.detach().numpy().T + layers[0].bias.detach().numpy(), 0)
    return hidden @ layers[2].weight.detach().numpy().T + layers[2].bias.detach().numpy()


def test_the_early_form_is_a_perceptron_per_subset():
    merge, given = create("mro", DIMS, dim=2), streams()
    wanted = 0
    for size in (1, 2, 3):
        for subset in combinations(DIMS, size):
            joined = np.concatenate([given[name].numpy() for name in subset], -1)
            wanted = wanted + perceptron(merge.terms.part["+".join(subset)], joined)
    np.testing.assert_allclose(merge(given).detach().numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_the_tensor_form_is_linear_in_the_products_of_embeddings():
    merge, given = create("mro", DIMS, dim=2, form="tensor", hidden=(5,)), streams()
    h = {name: torch.relu(merge.terms.embed[name][0](value)) for name, value in given.items()}
    part = merge.terms.part
    wanted = sum(torch.einsum("bi,ki->bk", h[a], part[a]) for a in DIMS)
    for a, b in combinations(DIMS, 2):
        wanted = wanted + torch.einsum("bi,bj,kij->bk", h[a], h[b], part[f"{a}+{b}"].view(2, 5, 5))
    triple = part["text+audio+depth"].view(2, 5, 5, 5)
    wanted = wanted + torch.einsum("bi,bj,bl,kijl->bk", h["text"], h["audio"], h["depth"], triple)
    torch.testing.assert_close(merge(given), wanted + sum(merge.terms.bias))


@pytest.mark.parametrize("form", ["early", "tensor"])
def test_terms_of_absent_modalities_are_zero(form):
    merge, given = create("mro", DIMS, dim=2, form=form), streams(2)
    trace, masks = Trace(), {"audio": torch.tensor([True, False])}
    merge(given, masks, trace=trace)
    alone = create("mro", {"text": 4, "depth": 2}, dim=2, form=form)
    kept = {k: v for k, v in merge.state_dict().items() if "audio" not in k}
    alone.load_state_dict(kept, strict=False)
    partner = Trace()
    alone({name: given[name] for name in ("text", "depth")}, trace=partner)
    for order in ("order_1", "order_2"):
        torch.testing.assert_close(trace.records[order][1], partner.records[order][1])
    assert trace.records["order_3"][1].abs().max() == (0 if form == "early" else trace_bias(merge))


def trace_bias(merge):
    return merge.terms.bias[2].abs().max()


def test_in_training_each_order_hears_its_own_loss_only():
    merge, trace, target = create("mro", DIMS, dim=1).train(), Trace(), torch.randn(6, 1)
    output = merge(streams(), trace=trace)
    assert sorted(trace.predictions) == ["order_1", "order_2"]
    torch.testing.assert_close(output, sum(trace.records[f"order_{k}"] for k in (1, 2, 3)))
    losses = [F.mse_loss(value, target) for value in (*trace.predictions.values(), output)]
    for order, loss in enumerate(losses):
        found = torch.autograd.grad(loss, list(merge.parameters()), allow_unused=True, retain_graph=True)
        reached = {n for (n, _), g in zip(merge.named_parameters(), found, strict=True) if g is not None}
        assert reached == {n for n, _ in merge.named_parameters() if n.split(".")[2].count("+") == order}


def test_without_residual_losses_the_sum_is_trained_jointly():
    merge, trace = create("mro", DIMS, dim=1, residual=False).train(), Trace()
    merge(streams(), trace=trace).sum().backward()
    assert not trace.predictions
    assert all(parameter.grad is not None for parameter in merge.parameters())


@pytest.mark.parametrize("form", ["early", "tensor"])
def test_a_focus_trains_one_order_and_predicts_without_the_higher(form):
    merge, given, trace = create("mro", DIMS, dim=2, form=form), streams(), Trace()
    merge(given, trace=trace)
    merge.focus(1)
    torch.testing.assert_close(merge(given), trace.records["order_1"] + trace.records["order_2"])
    trained = {name for name, value in merge.named_parameters() if value.requires_grad}
    pairs = {f"terms.part.{a}+{b}" for a, b in combinations(DIMS, 2)}
    own = {
        n for n, _ in merge.named_parameters() if any(n.startswith(p) and n.count("+") == 1 for p in pairs)
    }
    assert trained == own | ({"terms.bias.1"} if form == "tensor" else set())
    merge.focus(None)
    assert all(parameter.requires_grad for parameter in merge.parameters())


def test_the_order_limits_the_terms():
    many = {f"m{i}": 2 for i in range(5)}
    assert len(create("mro", many, dim=1, order=2).terms.part) == 5 + 10
    assert create("mro", many, dim=1).orders == 3


@pytest.mark.parametrize("count", [2, 6])
@pytest.mark.parametrize("form", ["early", "tensor"])
def test_predictions_start_small(count, form):
    dims = {f"m{i}": 32 for i in range(count)}
    given = {name: torch.randn(500, 32) for name in dims}
    assert 0.1 < create("mro", dims, dim=4, form=form, hidden=(8,))(given).std() < 6


def test_places_of_the_interaction_terms():
    values = [torch.randn(3, width) for width in (2, 3)]
    a, b = (torch.cat([value, torch.ones(3, 1)], -1) for value in values)
    whole = torch.einsum("bi,bj->bij", a, b).flatten(1)
    places = interaction_places([2, 3])
    torch.testing.assert_close(whole[:, places[(0,)]], values[0])
    torch.testing.assert_close(whole[:, places[(1,)]], values[1])
    torch.testing.assert_close(
        whole[:, places[0, 1]], torch.einsum("bi,bj->bij", values[0], values[1]).flatten(1)
    )


def test_official_weights_of_the_tensor_form_act_on_the_official_order():
    width, dims = 2, {"a": 3, "b": 2, "c": 4}
    official = {
        f"after.{k}.layers.0.weight": torch.randn(1, n * width**s)
        for k, (n, s) in enumerate([(3, 1), (3, 2), (1, 3)])
    }
    converted = convert_mro(official, dims)
    h = {name: torch.randn(5, width) for name in dims}
    ones = [torch.cat([value, torch.ones(5, 1)], -1) for value in h.values()]
    whole = torch.einsum("bi,bj,bk->bijk", *ones).flatten(1)
    factors = torch.cartesian_prod(*[torch.arange(width + 1)] * 3).lt(width).sum(-1)
    for k in range(3):
        wanted = whole[:, factors == k + 1] @ official[f"after.{k}.layers.0.weight"].T
        got = 0
        for subset in combinations(h, k + 1):
            product = torch.ones(5, 1)
            for name in subset:
                product = torch.einsum("bi,bj->bij", product, h[name]).flatten(1)
            got = got + product @ converted[f"terms.part.{'+'.join(subset)}"].T
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "late"}, r"form must be one of \['early', 'tensor'\], got 'late'"),
        ({"order": 0}, "must be at least 1, got 0 and 1"),
        ({"hidden": ()}, "must be at least 1, got 3 and 0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        create("mro", DIMS, **options)
