import pytest
import torch

from fuseloom import Trace, card, create
from fuseloom.errors import OptionError, UnknownNameError
from fuseloom.merge.concat import convert_concat

DIMS = {"text": 4, "audio": 3}


def streams(count=6):
    return {name: torch.randn(count, width) for name, width in DIMS.items()}


@pytest.mark.parametrize("nonlinear", ["mlp", "low_rank", "product"])
def test_the_logits_are_a_sum_of_two_models(nonlinear):
    merge, given, trace = create("linear_logits", DIMS, dim=2, nonlinear=nonlinear), streams(), Trace()
    masks = {"audio": torch.tensor([True, False, True, True, False, True])}
    other = create(nonlinear, DIMS, dim=2)
    other.load_state_dict(merge.nonlinear.state_dict())
    weights = torch.cat([merge.linear.weight[name] for name in DIMS], -1)
    joined = torch.cat([given["text"], given["audio"] * masks["audio"][:, None]], -1)
    linear = joined @ weights.T + merge.linear.bias
    torch.testing.assert_close(merge(given, masks, trace=trace), linear + other(given, masks))
    torch.testing.assert_close(trace.records["linear"], linear)
    assert merge.card.interaction == card(nonlinear).interaction


def test_a_frozen_linear_model_is_not_trained():
    merge = create("linear_logits", DIMS, dim=1, frozen=True)
    merge.linear.load_state_dict(convert_concat(torch.ones(1, 7), torch.zeros(1), DIMS))
    merge(streams()).sum().backward()
    assert all(parameter.grad is None for parameter in merge.linear.parameters())
    assert all(parameter.grad is not None for parameter in merge.nonlinear.parameters())
    merge.focus(None)
    assert not any(parameter.requires_grad for parameter in merge.linear.parameters())


def test_stages_fit_the_linear_model_first():
    merge, given, trace = create("linear_logits", DIMS, dim=1), streams(), Trace()
    merge(given, trace=trace)
    merge.focus(0)
    torch.testing.assert_close(merge(given), trace.records["linear"])
    assert {n.split(".")[0] for n, p in merge.named_parameters() if p.requires_grad} == {"linear"}
    merge.focus(1)
    torch.testing.assert_close(merge(given), trace.records["linear"] + trace.records["nonlinear"])
    assert {n.split(".")[0] for n, p in merge.named_parameters() if p.requires_grad} == {"nonlinear"}


def test_options_reach_the_nonlinear_merge():
    merge = create("linear_logits", DIMS, nonlinear="low_rank", options={"rank": 2})
    assert merge.nonlinear.rank == 2


def test_a_merge_of_decisions_is_refused():
    with pytest.raises(OptionError, match="must name a merge of streams, got 'late'"):
        create("linear_logits", DIMS, nonlinear="late")


def test_an_unknown_merge_is_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'low_rank'"):
        create("linear_logits", DIMS, nonlinear="lowrank")
