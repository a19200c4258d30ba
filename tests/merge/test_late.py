import numpy as np
import pytest
import torch

from fuseloom import Trace, card, create
from fuseloom.errors import ModalityError, OptionError

NAMES = ("text", "audio", "depth")


def logits(count=5, width=4):
    return {name: torch.randn(count, width) for name in NAMES}


def late(width=4, **options):
    return create("late", dict.fromkeys(NAMES, width), **options)


def softmax(values):
    shifted = np.exp(values - values.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


@pytest.mark.parametrize("combine", ["mean", "product", "max"])
def test_each_rule_over_the_modalities_present(combine):
    streams, masks = logits(), {"audio": torch.tensor([True, False, True, False, True])}
    rules = {
        "mean": lambda votes: votes.mean(0),
        "product": lambda votes: np.log(softmax(votes)).sum(0),
        "max": lambda votes: votes.max(0),
    }
    merged = late(combine=combine)(streams, masks).numpy()
    for row in range(5):
        here = [name for name in NAMES if name not in masks or masks[name][row]]
        votes = np.stack([streams[name][row].numpy() for name in here])
        np.testing.assert_allclose(merged[row], rules[combine](votes), rtol=1e-5, atol=1e-6)


def test_the_product_of_probabilities_is_what_multiplies():
    streams = logits()
    wanted = np.prod([softmax(value.numpy()) for value in streams.values()], axis=0)
    got = softmax(late(combine="product")(streams).numpy())
    np.testing.assert_allclose(got, wanted / wanted.sum(-1, keepdims=True), rtol=1e-5)


def present_votes(streams, masks, row):
    here = [name for name in NAMES if name not in masks or masks[name][row]]
    return np.stack([streams[name][row].numpy() for name in here]).astype(np.float64)


@pytest.mark.parametrize(("width", "options"), [(4, {"decision": "sigmoid"}), (1, {})])
def test_of_classes_by_themselves_the_product_multiplies_each_ones_odds(width, options):
    streams, masks = logits(width=width), {"audio": torch.tensor([True, False, True, False, True])}
    merged = late(width, combine="product", **options)(streams, masks).numpy()
    for row in range(5):
        there = 1 / (1 + np.exp(-present_votes(streams, masks, row)))
        all_yes, all_no = np.prod(there, axis=0), np.prod(1 - there, axis=0)
        np.testing.assert_allclose(1 / (1 + np.exp(-merged[row])), all_yes / (all_yes + all_no), rtol=1e-5)


def test_of_numbers_the_product_is_that_of_normal_densities():
    streams, masks = logits(), {"audio": torch.tensor([True, False, True, False, True])}
    merged = late(combine="product", decision="value")(streams, masks).numpy()
    grid = np.linspace(-8, 8, 16001)
    for row in range(5):
        votes = present_votes(streams, masks, row)
        log_density = -((grid[:, None, None] - votes) ** 2).sum(1) / 2
        np.testing.assert_allclose(merged[row], grid[log_density.argmax(0)], atol=1e-3)


@pytest.mark.parametrize("combine", ["mean", "max"])
def test_other_rules_are_the_same_for_all_decisions(combine):
    streams = logits()
    first, *others = (late(combine=combine, decision=one)(streams) for one in ("softmax", "sigmoid", "value"))
    assert all(first.equal(other) for other in others)


def test_learned_weights_add_up_to_one_over_those_present():
    merge, trace = late(combine="weighted"), Trace()
    with torch.no_grad():
        merge.combine.score["audio"].fill_(np.log(2.0))
    streams, masks = logits(2), {"depth": torch.tensor([True, False])}
    merged = merge(streams, masks, trace=trace)
    weights = torch.tensor([[0.25, 0.5, 0.25], [1 / 3, 2 / 3, 0.0]])
    torch.testing.assert_close(trace.records["weights"], weights)
    torch.testing.assert_close(
        merged, torch.einsum("bm,mbk->bk", weights, torch.stack(list(streams.values())))
    )


@pytest.mark.parametrize("decision", ["softmax", "sigmoid", "value"])
@pytest.mark.parametrize("combine", ["mean", "product", "max", "weighted"])
def test_a_sample_without_any_modality_gives_zeros(combine, decision):
    nowhere = {name: torch.tensor([True, False]) for name in NAMES}
    assert late(combine=combine, decision=decision)(logits(2), nowhere)[1].tolist() == [0.0] * 4


def test_the_maximum_is_not_additive():
    assert (late().card.interaction, late(combine="max").card.interaction) == ("additive", "nonlinear")
    assert card("late").level == "decision"


def test_unequal_numbers_of_outputs_are_refused():
    with pytest.raises(ModalityError, match=r"as many outputs in every modality, got \{'a': 2, 'b': 3\}"):
        create("late", {"a": 2, "b": 3})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"combine": "vote"}, "combine must be one of .*, got 'vote'"),
        ({"decision": "rank"}, "decision must be one of .*'sigmoid', 'softmax', 'value'.*, got 'rank'"),
        ({"dim": 7}, "dim must be the number .* got 7"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        late(**options)
