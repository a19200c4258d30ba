import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fuseloom import Trace, create, registry
from fuseloom.encoders import Encoder
from fuseloom.errors import ModalityError, OptionError
from fuseloom.heads import LinearHead
from fuseloom.merge import Merge
from fuseloom.models import FusionModel, FusionSpec, ModelConfig, build_model
from fuseloom.registry import Card
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.multilabel import Multilabel
from fuseloom.tasks.regression import Regression

ENCODERS = {"text": {"kind": "embedding", "in_dim": 6}, "audio": {"kind": "embedding", "in_dim": 4}}


TASK = Classification(["a", "b", "c"])


def build(fusion="cross_attention+low_rank", **options):
    return build_model(ModelConfig(encoders=ENCODERS, fusion=fusion, dim=8, **options), TASK).eval()


def rows():
    return {"text": torch.randn(5, 6), "audio": torch.randn(5, 3, 4)}


class _Step(nn.Module):
    """Adds a constant, so that the order of steps can be read from the result."""

    def __init__(self, amount):
        super().__init__()
        self.amount = amount

    def forward(self, value, mask):
        return value * 2 + self.amount, mask


class _Double(nn.Module):
    dims = {"a": 2, "b": 2}

    def forward(self, streams, masks, *, trace):
        return {name: value * 10 for name, value in streams.items()}


def test_stages_and_exchanges_run_in_their_order():
    encoders = {"a": Encoder([_Step(1), _Step(3)], [2, 2]), "b": Encoder([_Step(5)], [2])}
    merge = create("sum", {"a": 2, "b": 2})
    model = FusionModel(encoders, merge, nn.Identity(), exchanges={0: _Double(), -1: _Double()})
    streams, _ = model.encode({"a": torch.ones(1, 2), "b": torch.ones(1, 2)})
    assert streams["a"].tolist() == [[(3 * 10 * 2 + 3) * 10] * 2]
    assert streams["b"].tolist() == [[(1 * 10 * 2 + 5) * 10] * 2]


def test_several_exchanges_behind_one_stage_all_run_in_their_order():
    class Add(_Double):
        def forward(self, streams, masks, *, trace):
            return {name: value + 1 for name, value in streams.items()}

    encoders = {"a": Encoder([_Step(1)], [2]), "b": Encoder([_Step(5)], [2])}
    merge = create("sum", {"a": 2, "b": 2})
    model = FusionModel(encoders, merge, nn.Identity(), exchanges={-1: [_Double(), Add(), _Double()]})
    streams, _ = model.encode({"a": torch.ones(1, 2), "b": torch.ones(1, 2)})
    assert streams["a"].tolist() == [[(3 * 10 + 1) * 10] * 2]
    assert list(model.exchanges) == ["0", "0_1", "0_2"]


def test_an_absent_modality_does_not_reach_the_output():
    model, one, two = build(), rows(), rows()
    two["text"] = one["text"]
    masks = {"audio": torch.zeros(5, 3, dtype=torch.bool)}
    torch.testing.assert_close(model(one, masks), model(two, masks))
    assert not torch.allclose(model(one), model(two))


def test_trace_files_records_under_the_place_of_the_part():
    trace = Trace()
    model, given = build(), rows()
    torch.testing.assert_close(model(given, trace=trace), model(given))
    assert sorted(trace.records) == ["exchange.0.audio_from_others", "exchange.0.text_from_others"]


def test_a_missing_input_is_named():
    with pytest.raises(ModalityError, match=r"Missing modality \['audio'\]; got \['text'\]"):
        build()({"text": torch.ones(1, 6)})


def test_a_part_for_other_modalities_is_refused():
    encoder = Encoder([_Step(0)], [2])
    with pytest.raises(ModalityError, match=r"Sum must be built for \['a'\], got \['a', 'b'\]"):
        FusionModel({"a": encoder}, create("sum", {"a": 2, "b": 2}), nn.Identity())


def test_heads_for_other_modalities_are_refused():
    with pytest.raises(ModalityError, match=r"head must be built for \['a'\], got \['b'\]"):
        FusionModel({"a": Encoder([_Step(0)], [2])}, create("late", {"a": 3}), {"b": LinearHead(2, 3)})


def test_decisions_are_made_before_their_merge():
    model, given = build("late"), rows()
    assert isinstance(model.head, nn.Identity)
    streams, _ = model.encode(given)
    votes = [model.decisions["text"](streams["text"]), model.decisions["audio"](streams["audio"]).mean(1)]
    torch.testing.assert_close(model(given), sum(votes) / 2)


def test_an_output_has_no_head():
    model, given = build("mro"), rows()
    assert model.merge.dim == 3
    assert len(model.decisions) == 0
    torch.testing.assert_close(model(given), model.merge(*model.encode(given)))


@pytest.mark.parametrize(
    ("merge", "head", "message"),
    [
        ("sum", None, "Sum, a merge of level 'stream', must have one head behind it, got NoneType"),
        ("late", nn.Identity(), "must have one head per modality before it, got Identity"),
        ("mro", {"a": nn.Identity(), "b": nn.Identity()}, "must have no head, got dict"),
    ],
)
def test_a_head_of_another_level_is_refused(merge, head, message):
    encoders = {name: Encoder([_Step(0)], [2]) for name in "ab"}
    with pytest.raises(OptionError, match=message):
        FusionModel(encoders, create(merge, {"a": 2, "b": 2}), head)


def test_config_round_trip_builds_the_same_model():
    config = ModelConfig(encoders=ENCODERS, fusion="low_rank", dim=8, options={"low_rank": {"rank": 2}})
    again = ModelConfig.from_state(config.state())
    one, two = (build_model(c, TASK).eval() for c in (config, again))
    two.load_state_dict(one.state_dict())
    given = rows()
    assert one.merge.rank == two.merge.rank == 2
    torch.testing.assert_close(one(given), two(given))


def test_interaction_is_the_highest_of_the_parts():
    assert FusionSpec.parse("sum").interaction == "additive"
    assert FusionSpec.parse("low_rank").interaction == "multiplicative"
    assert FusionSpec.parse("cross_attention + sum").interaction == "nonlinear"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lowrank", "got merge 'lowrank' in 'lowrank'. Did you mean 'low_rank'"),
        ("sum+cross_attention", "got exchange 'sum'"),
        ("cross_attention", "got merge 'cross_attention'"),
    ],
)
def test_a_spec_of_unknown_parts_or_in_another_order_is_refused(text, message):
    with pytest.raises(OptionError, match=message):
        FusionSpec.parse(text)


class _Poll(Merge):
    """Sum of the logits; it need not know what they are."""

    card = Card(
        summary="Poll.", interaction="additive", cost="K", parameters="none", level="decision", symmetric=True
    )

    def merge(self, streams, masks, *, trace, **reads):
        return sum(streams.values())


@pytest.mark.parametrize(
    ("task", "together"),
    [
        (TASK, lambda votes: F.log_softmax(votes, -1).sum(0)),
        (Multilabel(["a", "b", "c"]), lambda votes: votes.sum(0)),
        (Regression([0.0, 1.0], [1.0, 2.0], names=["x", "y"]), lambda votes: votes.mean(0)),
    ],
)
def test_a_merge_of_decisions_is_told_what_the_task_decides(task, together):
    options = {"late": {"combine": "product"}}
    config = ModelConfig(encoders=ENCODERS, fusion="late", dim=8, options=options)
    model = build_model(config, task).eval()
    streams, masks = model.encode({"text": torch.randn(5, 6), "audio": torch.randn(5, 4)})
    votes = torch.stack([decide(streams[name]) for name, decide in model.decisions.items()])
    torch.testing.assert_close(model.fuse(streams, masks), together(votes))


def test_a_merge_of_decisions_that_does_not_ask_is_not_told(monkeypatch):
    monkeypatch.setitem(registry._registered["merge"], "poll", _Poll)
    model = build("poll")
    streams, masks = model.encode({"text": torch.randn(5, 6), "audio": torch.randn(5, 4)})
    votes = [decide(streams[name]) for name, decide in model.decisions.items()]
    torch.testing.assert_close(model.fuse(streams, masks), sum(votes))
