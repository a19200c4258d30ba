import pytest
import torch

from fuseloom.encoders.timm import TimmEncoder
from fuseloom.errors import OptionError
from fuseloom.models import ModelConfig, build_model
from fuseloom.models.building import encoder_options
from fuseloom.tasks.classification import Classification

TASK = Classification(["a", "b", "c"])
IMAGES = {name: {"kind": "image", "channels": 1} for name in ("photo", "depth")}
MIXED = {
    "photo": IMAGES["photo"],
    "words": {"kind": "text", "window": 4},
    "sizes": {"kind": "embedding", "in_dim": 3},
}


def build(fusion, encoders=IMAGES, **options):
    return build_model(ModelConfig(encoders=encoders, fusion=fusion, dim=16, **options), TASK).eval()


def images(rows=3):
    return {name: torch.randn(rows, 1, 12, 12) for name in IMAGES}


def places(model):
    return {key: (type(part).__name__, part.dims) for key, part in model.exchanges.items()}


def test_exchanges_stand_at_their_depths_with_the_widths_there():
    model = build(
        "cross_attention@early+channel_exchange@early+cross_attention@middle+cross_attention@late+sum"
    )
    assert places(model) == {
        "0": ("CrossAttention", {"photo": 8, "depth": 8}),
        "0_1": ("ChannelExchange", {"photo": 8, "depth": 8}),
        "1": ("CrossAttention", {"photo": 8, "depth": 8}),
        "3": ("CrossAttention", {"photo": 16, "depth": 16}),
    }


def test_encoders_of_other_lengths_meet_at_every_depth():
    model = build("cross_attention@early+cross_attention@middle+cross_attention@late+sum", MIXED)
    assert [dims for _, dims in places(model).values()] == [
        {"photo": width, "words": 16, "sizes": 16} for width in (8, 8, 16)
    ]
    rows = {"photo": images()["photo"], "words": torch.randint(97, 122, (3, 9)), "sizes": torch.randn(3, 3)}
    one = model(rows)
    two = model(rows | {"sizes": -rows["sizes"]})
    assert one.isfinite().all()
    assert not torch.allclose(one, two)


def test_late_spelled_out_meets_tokens_and_otherwise_what_the_encoders_end_in():
    given = images()
    for fusion, rank in (("cross_attention+sum", 2), ("cross_attention@late+sum", 3)):
        model = build(fusion)
        streams, _ = model.encode(given)
        assert list(model.exchanges) == ["3"]
        assert {value.dim() for value in streams.values()} == {rank}


@pytest.mark.parametrize(
    ("fusion", "given", "had"),
    [
        ("cross_attention+sum", {}, None),
        ("cross_attention@early+sum", {}, None),
        ("cross_attention@late+sum", {}, "tokens"),
        ("sum@late", {"output": "pooled"}, "tokens"),
        ("cross_attention@late+sum", {"output": "map"}, "map"),
        ("sum", {"output": "tokens"}, "tokens"),
        ("sum@middle", {"output": "tokens"}, None),
    ],
)
def test_which_output_of_its_encoders_a_fusion_has(fusion, given, had):
    encoders = {name: options | given for name, options in IMAGES.items()} | {"sizes": MIXED["sizes"]}
    found = encoder_options(ModelConfig(encoders=encoders, fusion=fusion))
    assert found["photo"].get("output") == found["depth"].get("output") == had
    assert found["sizes"] == MIXED["sizes"]


@pytest.mark.parametrize(("fusion", "left"), [("sum@early", 1), ("sum@middle", 2)])
def test_a_merge_inside_keeps_the_trunk_whole_and_of_others_what_runs(fusion, left):
    model = build(fusion)
    assert [len(model.encoders[name].stages) for name in IMAGES] == [4, left]
    out = model(images())
    assert out.shape == (3, 3)
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_trunk_can_be_named_and_need_not_be_the_deepest():
    encoders = IMAGES | {"sensor": {"kind": "series", "in_dim": 2}}
    assert build("sum@early", encoders).trunk == "sensor"
    model = build("cross_attention@early+gated@early", IMAGES, trunk="depth")
    assert (model.trunk, model.depth, list(model.exchanges)) == ("depth", 1, ["0"])
    again = build("cross_attention@early+gated@early", IMAGES, trunk="depth")
    again.load_state_dict(model.state_dict())
    given = images()
    torch.testing.assert_close(again(given), model(given))


def test_encoders_of_one_stage_have_one_place():
    rows = {"a": torch.randn(2, 4, 3), "b": torch.randn(2, 5, 3)}
    encoders = {name: {"kind": "embedding", "in_dim": 3} for name in rows}
    for depth in ("early", "middle", "late"):
        torch.manual_seed(0)
        model = build(f"cross_attention@{depth}+sum@{depth}", encoders)
        assert (list(model.exchanges), model.trunk) == (["0"], None)
        torch.manual_seed(0)
        torch.testing.assert_close(model(rows), build("cross_attention+sum", encoders)(rows))


@pytest.mark.parametrize(
    ("fusion", "trunk", "message"),
    [
        ("attention_pool@early", None, r"must keep positions, got 'attention_pool'\. Those that can: .*sum"),
        ("late@middle", None, r"must keep positions, got 'late'"),
        (
            "sum",
            "photo",
            r"trunk must be one of \['depth', 'photo'\], for a merge @early or @middle, got 'photo'",
        ),
        ("sum@early", "photos", r"got 'photos' for 'sum@early'\. Did you mean 'photo'"),
    ],
)
def test_a_merge_inside_that_cannot_stand_there_is_refused(fusion, trunk, message):
    with pytest.raises(OptionError, match=message):
        build(fusion, trunk=trunk)


def test_an_encoder_that_cannot_give_tokens_says_so():
    pytest.importorskip("timm")
    option = {"kind": "timm", "model": "test_efficientnet", "pretrained": False}
    assert isinstance(build("concat", {"photo": option}).encoders["photo"], TimmEncoder)
    with pytest.raises(OptionError, match="output must be 'pooled' for 'test_efficientnet', got 'tokens'"):
        build("concat@late", {"photo": option})


def test_a_frozen_trunk_still_passes_gradients_to_the_other_encoder():
    model = build("sum@middle", frozen=("photo",))
    model(images()).sum().backward()
    grown = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert not any(name.startswith("encoders.photo.") for name in grown)
    assert set(dict(model.encoders["depth"].named_parameters(prefix="encoders.depth"))) <= grown


@pytest.mark.parametrize("stages", [0, 5])
def test_an_encoder_is_shortened_to_stages_it_has(stages):
    encoder = build("sum").encoders["photo"]
    with pytest.raises(OptionError, match=f"stages must be from 1 to 4, got {stages}"):
        encoder.shorten(stages)
    assert encoder.shorten(3).dims == (8, 8, 16)
