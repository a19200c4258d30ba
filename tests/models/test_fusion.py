from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from fuseloom import Alignment, Batch, Trace, create, registry
from fuseloom.encoders import Encoder
from fuseloom.encoders.identity import IdentityEncoder
from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange import Exchange
from fuseloom.heads import LinearHead, TaggingHead
from fuseloom.merge import Merge
from fuseloom.models import FusionModel, ModelConfig, build_model
from fuseloom.models.anchor import Anchor
from fuseloom.models.exchange_transformer import ExchangeTransformer
from fuseloom.nn import PreNormBlock
from fuseloom.nn.crf_packing import unpack_chain
from fuseloom.registry import Card
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.multilabel import Multilabel
from fuseloom.tasks.regression import Regression
from fuseloom.tasks.tagging import Tagging
from fuseloom.train.step import apply_model

ENCODERS = {"text": {"kind": "embedding", "in_dim": 6}, "audio": {"kind": "embedding", "in_dim": 4}}


IMAGES = {name: {"kind": "image", "channels": 1} for name in ("photo", "depth")}
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


class _Double(Exchange):
    card = Card(summary="Ten times all.", interaction="additive", cost="0", parameters="none")

    def __init__(self):
        super().__init__({"a": 2, "b": 2})

    def exchange(self, streams, masks, *, trace):
        return {name: value * 10 for name, value in streams.items()}


def test_stages_and_exchanges_run_in_their_order():
    encoders = {"a": Encoder([_Step(1), _Step(3)], [2, 2]), "b": Encoder([_Step(5)], [2])}
    merge = create("sum", {"a": 2, "b": 2})
    model = FusionModel(encoders, merge, nn.Identity(), exchanges={0: _Double(), -1: _Double()})
    streams, _ = model.encode({"a": torch.ones(1, 2), "b": torch.ones(1, 2)})
    assert streams["a"].tolist() == [[(3 * 10 * 2 + 3) * 10] * 2]
    assert streams["b"].tolist() == [[(1 * 2 + 5) * 10 * 10] * 2]


def test_up_to_the_first_exchange_each_modality_is_alone_and_from_there_all_runs_together():
    encoders = {name: Encoder([_Step(1), _Step(3), _Step(5)], [2] * 3) for name in "ab"}
    merge = create("sum", {"a": 2, "b": 2})
    model = FusionModel(encoders, merge, nn.Identity(), exchanges={1: _Double(), 2: _Double()})
    alone, masks = model.encode_alone({"a": torch.ones(1, 2), "b": torch.zeros(1, 2)})
    assert {name: value[0, 0].item() for name, value in alone.items()} == {"a": 3 * 2 + 3, "b": 1 * 2 + 3}
    together, _ = model.encode_together(alone, masks)
    assert {name: value[0, 0].item() for name, value in together.items()} == {"a": 1850, "b": 1050}
    plain = FusionModel(encoders, merge, nn.Identity())
    everything, masks = plain.encode_alone({"a": torch.ones(1, 2), "b": torch.zeros(1, 2)})
    assert plain.encode_together(everything, masks)[0]["a"].equal(everything["a"])


def test_an_encoder_with_fewer_stages_spreads_them():
    encoders = {"a": Encoder([_Step(0)] * 4, [2] * 4), "b": Encoder([_Step(0)] * 2, [2] * 2)}
    seen = []

    class See(_Double):
        def exchange(self, streams, masks, *, trace):
            seen.append({name: value[0, 0].item() for name, value in streams.items()})
            return streams

    exchanges = {stage: See() for stage in range(4)}
    FusionModel(encoders, create("sum", {"a": 2, "b": 2}), nn.Identity(), exchanges=exchanges)(
        {"a": torch.ones(1, 2), "b": torch.ones(1, 2)}
    )
    assert seen == [{"a": 2, "b": 2}, {"a": 4, "b": 2}, {"a": 8, "b": 4}, {"a": 16, "b": 4}]


def test_exchanges_named_from_both_ends_of_one_stage_all_run():
    encoders = {"a": Encoder([_Step(0)], [2]), "b": Encoder([_Step(0)], [2])}
    merge = create("sum", {"a": 2, "b": 2})
    model = FusionModel(encoders, merge, nn.Identity(), exchanges={0: _Double(), -1: [_Double()]})
    streams, _ = model.encode({"a": torch.ones(1, 2), "b": torch.ones(1, 2)})
    assert streams["a"].tolist() == [[200, 200]]


@pytest.mark.parametrize("stage", [1, -2])
def test_an_exchange_behind_no_stage_is_refused(stage):
    encoders = {"a": Encoder([_Step(0)], [2]), "b": Encoder([_Step(0)], [2])}
    with pytest.raises(OptionError, match=rf"must stand behind stages 0 to 0, got {stage}"):
        FusionModel(encoders, create("sum", {"a": 2, "b": 2}), nn.Identity(), exchanges={stage: _Double()})


def aligned():
    """Tokens of two modalities as they are, swapped along an alignment, then summed."""
    encoders = {"a": Encoder([_Step(0)], [2]), "b": Encoder([_Step(0)], [2])}
    dims = {"a": 2, "b": 2}
    return FusionModel(
        encoders,
        create("sum", dims, pool=None),
        nn.Identity(),
        exchanges={0: [create("feature_swap", dims), create("cross_attention", dims)]},
    )


def test_what_an_exchange_reads_is_passed_to_it():
    model = aligned()
    assert model.reads == ("alignment",)
    given = {"a": torch.ones(1, 2, 2), "b": torch.full((1, 2, 2), 5.0)}
    trace = Trace()
    model.encode(given, trace=trace, alignment=Alignment.from_pairs([[(0, 1)]]))
    swapped = {name: trace.records[f"exchange.0.{name}.swapped"].tolist() for name in given}
    assert swapped == {"a": [[True, False]], "b": [[False, True]]}


def test_what_no_exchange_reads_is_refused():
    given = {"a": torch.ones(1, 2, 2), "b": torch.ones(1, 2, 2)}
    with pytest.raises(OptionError, match=r"reads 'alignments', only \['alignment'\]. Did you mean 'align"):
        aligned()(given, alignments=Alignment.from_pairs([[(0, 1)]]))


def between(*exchanges):
    """Two modalities of tokens, an exchange behind each of as many stages, none of which changes a token."""
    encoders = {name: Encoder([_Step(0)] * len(exchanges), [4] * len(exchanges)) for name in "ab"}
    merge = create("sum", {"a": 4, "b": 4}, dim=4)
    return FusionModel(encoders, merge, nn.Identity(), exchanges=dict(enumerate(exchanges))).eval()


def test_exchanges_behind_two_stages_read_the_same_alignment():
    """One that swaps back what the other has swapped."""
    dims = {"a": 4, "b": 4}
    model = between(create("feature_swap", dims), create("feature_swap", dims))
    assert model.reads == ("alignment",)
    inputs, trace = {"a": torch.randn(2, 3, 4), "b": torch.randn(2, 5, 4)}, Trace()
    pairs = {"b_from_a": Alignment.from_pairs([[(0, 4), (2, 1)], []])}
    streams, _ = model.encode(inputs, trace=trace, alignment=pairs)
    torch.testing.assert_close(streams, {name: 4 * value for name, value in inputs.items()})
    for stage in "01":
        assert trace.records[f"exchange.{stage}.b.swapped"][0].tolist() == [False, True, False, False, True]


def test_a_stack_of_blocks_between_stages_reads_where_to_attend():
    dims = {"a": 4, "b": 4}
    stack = ExchangeTransformer(dims, num_layers=1, block=partial(PreNormBlock, num_heads=2))
    model = between(stack)
    assert model.reads == ("attended",)
    inputs = {name: torch.randn(2, 3, 4) for name in dims}
    attended = {"a": torch.tensor([[True, False, False], [True, True, False]])}
    held = Batch(inputs=inputs, extras={"attended.a": attended["a"]})
    alone = stack({name: 2 * value for name, value in inputs.items()}, attended=attended)
    torch.testing.assert_close(apply_model(model, held), model.fuse(alone, {}))
    assert not torch.allclose(apply_model(model, held), model(inputs))


def test_what_a_block_gets_is_nothing_that_is_given_between_stages():
    """A batch may hold it for another model; here the call would have two arguments of one name."""
    model = between(create("token_exchange", {"a": 4, "b": 4}))
    assert model.reads == ("keep", "alignment")
    inputs = {"a": torch.randn(2, 3, 4), "b": torch.randn(2, 3, 4)}
    held = Batch(inputs=inputs, extras={f"inputs.{name}": torch.randn(2, 3, 4) for name in "ab"})
    torch.testing.assert_close(apply_model(model, held), model(inputs))
    keep = {name: torch.tensor([[1.0, 0.0, 1.0]]).expand(2, -1) for name in "ab"}
    held = Batch(inputs=inputs, extras={f"keep.{name}": value for name, value in keep.items()})
    torch.testing.assert_close(apply_model(model, held), model(inputs, keep=keep))
    assert not torch.allclose(apply_model(model, held), model(inputs))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_rows_are_predicted_with_their_own_alignment(rows):
    """Whichever rows of a batch are taken, each has the output that it has in the whole batch."""
    generator = torch.Generator().manual_seed(0)
    shape = {"a": (6, 3, 4), "b": (6, 5, 4)}
    held = Batch(
        inputs={name: torch.randn(size, generator=generator) for name, size in shape.items()},
        extras={"alignment": Alignment.from_pairs([[(0, 4)], [], [(2, 0), (1, 3)], [(1, 1)], [], [(2, 2)]])},
    )
    torch.manual_seed(0)
    model = between(create("feature_swap", {"a": 4, "b": 4}), create("cross_attention", {"a": 4, "b": 4}))
    index = torch.tensor(rows)
    torch.testing.assert_close(apply_model(model, held.take(index)), apply_model(model, held)[index])


@pytest.mark.compile
def test_an_exported_model_takes_an_alignment():
    model = between(create("feature_swap", {"a": 4, "b": 4}))
    inputs = {"a": torch.randn(2, 3, 4), "b": torch.randn(2, 5, 4)}
    masks = {"a": torch.ones(2, 3, dtype=torch.bool), "b": torch.ones(2, 5, dtype=torch.bool)}
    first, other = (Alignment.from_pairs(pairs) for pairs in ([[(0, 1)], [(1, 1)]], [[(2, 4)], []]))
    program = torch.export.export(model, (inputs, masks), {"alignment": first}).module()
    found = program(inputs, masks, alignment=other)
    torch.testing.assert_close(found, model(inputs, masks, alignment=other))
    assert not torch.allclose(found, model(inputs, masks, alignment=first))


def plain_sum(dims, width):
    """The sum of the streams as they are."""
    merge = create("sum", dims, dim=width, pool=None)
    with torch.no_grad():
        for layer in merge.embed.values():
            layer.weight.copy_(torch.eye(width))
            layer.bias.zero_()
    return merge


def merged_inside(merge_after=1, *, others=2, merge=None, **options):
    encoders = {
        "a": Encoder([_Step(1), _Step(3), _Step(5)], [2] * 3),
        "b": Encoder([_Step(7)] * others, [2] * others),
    }
    merge = plain_sum({"a": 2, "b": 2}, 2) if merge is None else merge
    return FusionModel(encoders, merge, nn.Identity(), trunk="a", merge_after=merge_after, **options)


@pytest.mark.parametrize("merge_after", [1, -2])
def test_behind_a_merge_inside_the_rest_of_the_trunk_runs(merge_after):
    given = {"a": torch.ones(2, 4, 2), "b": torch.full((2, 4, 2), 10.0)}
    fused = ((1 * 2 + 1) * 2 + 3) + ((10 * 2 + 7) * 2 + 7)
    assert merged_inside(merge_after)(given).unique().tolist() == [fused * 2 + 5]
    assert merged_inside(merge_after, others=1)(given).unique().tolist() == [(9 + 27) * 2 + 5]


def test_exchanges_stand_before_a_merge_inside():
    given = {"a": torch.ones(2, 4, 2), "b": torch.full((2, 4, 2), 10.0)}
    model = merged_inside(exchanges={-1: _Double()})
    assert model(given).unique().tolist() == [(90 + 610) * 2 + 5]
    with pytest.raises(OptionError, match="behind stages 0 to 1, got 2"):
        merged_inside(exchanges={2: _Double()})


def test_a_fused_position_is_real_where_any_modality_is():
    a, b = torch.randn(2, 1, 4, 2)
    masks = {"a": torch.tensor([[True, True, False, False]]), "b": torch.tensor([[True, False, True, False]])}
    out = merged_inside()({"a": a, "b": torch.where(masks["b"][..., None], b, torch.nan)}, masks)
    of_a, of_b = (a * 2 + 1) * 2 + 3, (b * 2 + 7) * 2 + 7
    wanted = torch.stack([of_a[0, 0] + of_b[0, 0], of_a[0, 1], of_b[0, 2]]) * 2 + 5
    torch.testing.assert_close(out[0, :3], wanted)
    assert out[0, 3].tolist() == [0, 0]
    lone = merged_inside()({"a": a, "b": b}, {"b": torch.zeros(1, 4, dtype=torch.bool)})
    torch.testing.assert_close(lone, of_a * 2 + 5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"trunk": "A"}, OptionError, r"trunk must be one of \['a', 'b'\], got 'A'\."),
        ({"trunk": None}, OptionError, r"trunk must name the encoder that goes on behind stage 1, got None"),
        ({"merge_after": None}, OptionError, r"merge_after must be a stage of 'a' before its last, 0 to 1"),
        ({"merge_after": 2}, OptionError, r"merge_after must be .* got 2\. A merge behind the last stages"),
        ({"merge_after": -4}, OptionError, r"merge_after must be .* got -4"),
        ({"merge": create("sum", {"a": 2, "b": 2}, dim=3)}, ModalityError, r"dim of Sum must be 2, .* got 3"),
        (
            {"merge": create("sum", {"a": 2, "b": 4})},
            ModalityError,
            r"widths \{'a': 2, 'b': 2\}, got \{.*4\}",
        ),
        (
            {"merge": create("mro", {"a": 2, "b": 2}), "head": None},
            OptionError,
            r"must be one of level 'stream'",
        ),
    ],
)
def test_a_merge_inside_that_does_not_fit_is_refused(options, error, message):
    encoders = {"a": Encoder([_Step(1)] * 3, [2] * 3), "b": Encoder([_Step(7)], [2])}
    merge, head = plain_sum({"a": 2, "b": 2}, 2), nn.Identity()
    with pytest.raises(error, match=message):
        FusionModel(encoders, **{"merge": merge, "head": head, "trunk": "a", "merge_after": 1, **options})


def test_streams_that_cannot_be_merged_inside_are_refused():
    given = {"a": torch.ones(2, 4, 2), "b": torch.ones(2, 3, 2)}
    with pytest.raises(
        ModalityError, match=r"share their positions .* stage 1, got \{'a': \(4,\), 'b': \(3,\)\}"
    ):
        merged_inside()(given)
    with pytest.raises(ModalityError, match=r"share their positions .* got \{'a': \(4,\), 'b': \(\)\}"):
        merged_inside()(given | {"b": torch.ones(2, 2)})
    pooled = merged_inside(merge=create("sum", {"a": 2, "b": 2}))
    with pytest.raises(ModalityError, match=r"Sum must keep positions, so that 'a' can go on .* \(2, 2\)"):
        pooled(given | {"b": torch.ones(2, 4, 2)})


def test_an_exchange_of_other_widths_is_refused():
    encoders = {"a": Encoder([_Step(0)], [2]), "b": Encoder([_Step(0)], [3])}
    exchange = create("cross_attention", {"a": 2, "b": 2})
    with pytest.raises(
        ModalityError, match=r"CrossAttention behind stage 0 must be built for the widths \{'a': 2, 'b': 3\}"
    ):
        FusionModel(encoders, create("sum", {"a": 2, "b": 3}), nn.Identity(), exchanges={0: exchange})


FAMILIES = {
    "resnet": ("resnet18", {"channels": [8, 8, 16, 24], "stem_width": 8}),
    "convnext": ("convnext_atto", {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 24]}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 64, "window_size": 2, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]},
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_exchanges_between_the_stages_of_timm_models_and_a_merge_inside(family):
    """Run stage by stage: what the assembly gives is what running its parts by hand gives."""
    pytest.importorskip("timm")
    architecture, arguments = FAMILIES[family]
    config = {
        "architecture": architecture,
        "model_args": arguments,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "size": [64, 64] if family == "swin" else None,
    }
    ours = {"photo": {"kind": "timm", "model": "tiny", "config": config}}
    ours["depth"] = dict(ours["photo"])
    fusion = "cross_attention@early+cross_attention@middle+sum@middle"
    model = build_model(ModelConfig(encoders=ours, fusion=fusion, dim=8), TASK).eval()
    given = {name: torch.rand(2, 3, 64, 64) for name in ours}
    streams = dict(given)
    for stage in range(3):
        streams = {n: model.encoders[n].run_stage(stage, streams[n], None)[0] for n in ours}
        if str(stage) in model.exchanges:
            streams = model.exchanges[str(stage)](streams)
    value = model.merge(streams)
    for stage in (3, 4):
        value, _ = model.encoders["photo"].run_stage(stage, value, None)
    assert list(model.exchanges) == ["0", "2"]
    assert len(model.encoders["depth"].stages) == 3
    torch.testing.assert_close(model(given), model.head(value))
    model(given).sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if p.requires_grad)


@pytest.mark.compile
@pytest.mark.slow
def test_a_merge_inside_compiles_whole_and_exports():
    model = build_model(ModelConfig(encoders=IMAGES, fusion="sum@middle", dim=16), TASK).eval()
    given = {"photo": torch.randn(3, 1, 12, 12), "depth": torch.randn(3, 1, 12, 12)}
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(given), model(given))
    batch = {name: {0: torch.export.Dim.DYNAMIC} for name in given}
    program = torch.export.export(model, (given,), dynamic_shapes={"inputs": batch})
    more = {name: torch.randn(5, 1, 12, 12) for name in given}
    torch.testing.assert_close(program.module(check_guards=False)(more), model(more))


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
    weights = sorted(name for name in trace.records if name.endswith("_others"))
    assert weights == ["exchange.0.audio_from_others", "exchange.0.text_from_others"]


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


def tagger(fusion="concat", **options):
    encoders = {"text": {"kind": "words", "num_words": 9}, "photo": {"kind": "image", "channels": 1}}
    task = Tagging(["O", "B-PER", "I-PER"])
    config = ModelConfig(encoders=encoders, fusion=fusion, dim=8, anchor="text", **options)
    return build_model(config, task).eval(), task


def sentences():
    words = torch.randint(1, 9, (3, 5, 7))
    mask = torch.arange(5) < torch.tensor([[5], [2], [0]])
    return {"text": words, "photo": torch.randint(0, 256, (3, 1, 16, 16), dtype=torch.uint8)}, {"text": mask}


def test_a_merge_that_keeps_no_positions_is_refused_behind_an_anchor():
    with pytest.raises(OptionError, match="behind an anchor must keep positions, got 'attention_pool'"):
        tagger("attention_pool")


@pytest.mark.parametrize("fusion", ["concat", "cross_attention+film", "gated"])
def test_positions_of_an_anchor_are_predicted_with_what_the_others_say(fusion):
    model, task = tagger(fusion)
    inputs, masks = sentences()
    outputs = model(inputs, masks)
    chain, emissions, kept = unpack_chain(outputs)
    assert emissions.shape == (3, 5, 3)
    assert kept.equal(masks["text"])
    assert chain.transitions.equal(model.head.crf.transitions)
    other = model({**inputs, "photo": 255 - inputs["photo"]}, masks)
    assert not torch.allclose(unpack_chain(other)[1][0], emissions[0])
    absent = model(inputs, {**masks, "photo": torch.tensor([False, True, True])})
    turned = model(
        {**inputs, "photo": 255 - inputs["photo"]}, {**masks, "photo": torch.tensor([False, True, True])}
    )
    torch.testing.assert_close(absent[0], turned[0])
    target = torch.tensor([[1, 2, 0, 0, 1], [0, 0, -1, -1, -1], [-1] * 5])
    assert task.loss(outputs, target).isfinite()


def test_options_of_the_anchor_and_one_modality_alone():
    model, _ = tagger(options={"anchor": {"context": "mean"}})
    assert not any(True for _ in model.anchor.parameters())
    alone = ModelConfig(
        encoders={"text": {"kind": "words", "num_words": 9}}, fusion="concat", dim=8, anchor="text"
    )
    words, masks = sentences()
    outputs = build_model(alone, Tagging(["O", "B-PER"])).eval()({"text": words["text"]}, masks)
    assert outputs.shape == (3, 2 + 2 + 5, 3)


def test_an_anchor_and_a_head_of_positions_belong_together():
    encoders = {"a": IdentityEncoder(4), "b": IdentityEncoder(4)}
    dims = {"a": 4, "b": 4}
    merge = create("sum", dims, dim=4, pool=None)
    anchor = Anchor(dims, "a")
    with pytest.raises(OptionError, match=r"must be a PositionHead where there is an anchor.*LinearHead"):
        FusionModel(encoders, merge, LinearHead(4, 2), anchor=anchor)
    with pytest.raises(OptionError, match="got TaggingHead and no anchor"):
        FusionModel(encoders, merge, TaggingHead(4, 2))
    with pytest.raises(ModalityError, match="Anchor must be built for the widths"):
        FusionModel(encoders, merge, TaggingHead(4, 2), anchor=Anchor({"a": 4, "b": 5}, "a"))
    with pytest.raises(OptionError, match=r"behind the last stages.*the trunk 'photo'"):
        tagger("concat@early", trunk="photo")
