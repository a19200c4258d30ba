import pytest
import torch
from torch import nn

from fuseloom import Alignment, Batch, create
from fuseloom.diagnose.split import split
from fuseloom.encoders.identity import IdentityEncoder
from fuseloom.errors import DataError, ModalityError
from fuseloom.models import FusionModel, ModelConfig, build_model
from fuseloom.registry import card, list_fusions
from fuseloom.tasks.classification import Classification
from fuseloom.types import Trace

WIDTHS = {"text": 6, "audio": 4}
TASK = Classification(["a", "b", "c"])


def build(fusion, widths=WIDTHS, **options):
    encoders = {name: {"kind": "embedding", "in_dim": width} for name, width in widths.items()}
    return build_model(ModelConfig(encoders=encoders, fusion=fusion, dim=8, **options), TASK).double()


def rows(count=5, tokens=3, widths=WIDTHS):
    """Tokens of which some are padding; no row lacks a modality, and one only if it has a single token."""
    inputs = {name: torch.randn(count, tokens, width).double() for name, width in widths.items()}
    masks = {name: torch.rand(count, tokens) < 0.7 for name in widths}
    for mask in masks.values():
        mask[:, 0] = True
    return Batch(inputs=inputs, masks=masks, target=torch.arange(count) % 3)


def fusions():
    free = [name for name in list_fusions(kind="exchange") if not card(name).reads]
    return [*list_fusions(kind="merge"), *(f"{name}+concat" for name in free), "bottleneck+low_rank"]


@pytest.mark.parametrize("fusion", fusions())
def test_the_two_parts_are_the_model(fusion):
    model, batch = build(fusion), rows()
    parts = split(model)
    expected = model.eval()(batch.inputs, batch.masks)
    torch.testing.assert_close(parts.together(parts.alone(batch)), expected)


@pytest.mark.parametrize("fusion", ["concat", "low_rank", "cross_attention+concat"])
def test_nothing_of_one_modality_changes_what_is_encoded_of_another(fusion):
    parts, batch = split(build(fusion)), rows()
    changed = Batch(inputs=batch.inputs | {"text": batch.inputs["text"] + 1}, masks=batch.masks)
    before, after = parts.alone(batch), parts.alone(changed)
    assert before.inputs["audio"].equal(after.inputs["audio"])
    assert not before.inputs["text"].equal(after.inputs["text"])


def test_exchanges_run_in_the_second_part_and_stages_between_them_too():
    dims = {"a": 4, "b": 4}
    images = {name: {"kind": "image", "channels": 1} for name in dims}
    model = build_model(ModelConfig(encoders=images, fusion="cross_attention@middle+sum", dim=8), TASK)
    batch = Batch(inputs={name: torch.randn(3, 1, 16, 16) for name in dims})
    parts, trace = split(model), Trace()
    alone = parts.alone(batch)
    torch.testing.assert_close(parts.together(alone), model.eval()(batch.inputs))
    torch.testing.assert_close(
        model.encode_together(alone.inputs, alone.masks, trace=trace)[0]["a"],
        model.encode(batch.inputs)[0]["a"],
    )
    assert trace.records


@pytest.mark.parametrize("fusion", ["sum@middle", "cross_attention@early+product@middle"])
def test_a_merge_inside_a_trunk_is_in_the_second_part_and_claims_nothing(fusion):
    images = {name: {"kind": "image", "channels": 1} for name in "ab"}
    model = build_model(ModelConfig(encoders=images, fusion=fusion, dim=8), TASK)
    batch = Batch(inputs={name: torch.randn(3, 1, 16, 16) for name in "ab"})
    parts = split(model)
    torch.testing.assert_close(parts.together(parts.alone(batch)), model.eval()(batch.inputs))
    assert parts.interaction == "nonlinear"


@pytest.mark.parametrize("fusion", ["concat", "bottleneck+mlp"])
def test_the_model_is_left_as_it_was(fusion):
    model, batch = build(fusion, dropout=0.5), rows()
    model.train()
    model.encoders["text"].eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = torch.get_rng_state()
    parts = split(model)
    outputs = parts.together(parts.alone(batch))
    assert outputs.equal(parts.together(parts.alone(batch)))
    assert not outputs.requires_grad
    assert [module.training for module in model.modules()] == modes
    assert all(value.equal(state[name]) for name, value in model.state_dict().items())
    assert torch.get_rng_state().equal(drawn)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_the_mode_comes_back_after_an_error():
    model = build("concat").train()
    with pytest.raises(ModalityError, match=r"Missing modality \['audio'\]"):
        split(model).alone(Batch(inputs={"text": rows().inputs["text"]}))
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("fusion", "head", "interaction"),
    [
        ("sum", nn.Linear(8, 3), "additive"),
        ("low_rank", nn.Identity(), "multiplicative"),
        ("mlp", nn.Linear(8, 3), "nonlinear"),
        ("sum", nn.Sequential(nn.ReLU(), nn.Linear(8, 3)), "nonlinear"),
        ("low_rank", nn.Sequential(nn.ReLU(), nn.Linear(8, 3)), "nonlinear"),
    ],
)
def test_the_claim_of_a_merge_holds_only_before_a_linear_head(fusion, head, interaction):
    encoders = {name: IdentityEncoder(width) for name, width in WIDTHS.items()}
    model = FusionModel(encoders, create(fusion, WIDTHS, dim=8), head)
    assert split(model).interaction == interaction


def test_the_claim_of_a_merge_says_nothing_behind_an_exchange():
    assert split(build("cross_attention+sum")).interaction == "nonlinear"
    assert split(build("late")).interaction == "additive"
    assert split(build("late", options={"late": {"combine": "max"}})).interaction == "nonlinear"


def reading(name, **options):
    dims = {"a": 2, "b": 2}
    encoders = {key: IdentityEncoder(width) for key, width in dims.items()}
    return FusionModel(
        encoders, create("sum", dims), nn.Identity(), exchanges={0: create(name, dims, **options)}
    )


def test_what_is_read_of_one_modality_goes_with_it_and_what_ties_two_is_refused():
    batch = Batch(
        inputs={name: torch.randn(3, 4, 2) for name in "ab"},
        extras={f"scores.{name}": torch.rand(3, 4) for name in "ab"} | {"weight": torch.ones(3)},
    )
    model = reading("cls_exchange")
    parts = split(model)
    alone = parts.alone(batch)
    assert sorted(alone.extras) == ["scores.a", "scores.b"]
    torch.testing.assert_close(parts.together(alone), model.eval()(batch.inputs, **batch.reads(["scores"])))
    tied = Batch(inputs=batch.inputs, extras={"alignment": Alignment.from_pairs([[(0, 1)]] * 3)})
    assert split(model).alone(tied).extras == {}
    with pytest.raises(DataError, match=r"must belong to one modality, got 'alignment'. It ties modalities"):
        split(reading("feature_swap", mix=0.5)).alone(tied)
