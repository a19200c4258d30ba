from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fuseloom import Batch, RoutedModel, create
from fuseloom.encoders import Encoder
from fuseloom.errors import FuseloomError, ModalityError, OptionError
from fuseloom.heads import LinearHead
from fuseloom.merge.dynamic import Dynamic
from fuseloom.models import FusionModel, ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.train.fit import predict_outputs
from fuseloom.types import Trace

TASK = Classification(["a", "b", "c"])
EXPERTS = {"text": ("text",), "seen": ("video", "image"), "all": ("text", "image", "video")}


def build(*, seed: int = 0, **options: Any) -> FusionModel:
    """A text that is read as bytes, an embedding and a series; the gate reads the text."""
    torch.manual_seed(seed)
    encoders = {
        "text": {"kind": "text", "num_buckets": 64, "window": 4},
        "image": {"kind": "embedding", "in_dim": 6},
        "video": {"kind": "embedding", "in_dim": 4},
    }
    given = {"experts": EXPERTS, "gate": {"reads": ("text",), "hidden": 16}} | options
    model = build_model(
        ModelConfig(encoders=encoders, fusion="dynamic", dim=8, options={"dynamic": given}), TASK
    )
    assert isinstance(model.merge, Dynamic)
    with torch.no_grad():
        for parameter in model.merge.expert.parameters():
            parameter.normal_()
    return model.eval()


def draw(rows: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Inputs, and masks under which each modality is absent from some rows, and all from two."""
    inputs = {
        "text": torch.randint(256, (rows, 10), dtype=torch.uint8),
        "image": torch.randn(rows, 6),
        "video": torch.randn(rows, 5, 4),
    }
    there = {name: torch.rand(rows) < 0.7 for name in inputs}
    there["text"] |= ~(there["image"] | there["video"])
    for mask in there.values():
        mask[:2] = False
    lengths = torch.randint(1, 6, (rows, 1))
    return inputs, {
        "text": there["text"][:, None] & (torch.arange(10) < 2 * lengths),
        "image": there["image"],
        "video": there["video"][:, None] & (torch.arange(5) < lengths),
    }


def gate_of(model: FusionModel, inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor:
    trace = Trace()
    model(inputs, masks, trace=trace)
    return trace.records["merge.gate"]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["straight_through", "gumbel"])
@pytest.mark.parametrize("reads", [("text",), ("image", "video"), ("text", "image", "video")])
def test_the_predictions_are_those_of_the_model(kind: str, reads: tuple[str, ...], masked: bool) -> None:
    model = build(gate={"kind": kind, "reads": reads, "temperature": 0.5})
    inputs, given = draw(60)
    masks = given if masked else {}
    gate = gate_of(model, inputs, masks)
    assert (gate.sum(0) > 0).all()
    assert gate.sum(1)[2:].all()
    assert gate[:2].any() != masked
    torch.testing.assert_close(RoutedModel(model)(inputs, masks), model(inputs, masks))


def test_the_default_experts_of_a_model_are_routed_too() -> None:
    model = build(experts=None, gate={})
    inputs, masks = draw(60)
    assert gate_of(model, inputs, masks).sum(0).min() > 0
    torch.testing.assert_close(RoutedModel(model)(inputs, masks), model(inputs, masks))
    optional = masks | {"image": None}
    torch.testing.assert_close(RoutedModel(model)(inputs, optional), model(inputs, optional))


def test_the_predictions_of_a_data_set_are_those_of_the_model() -> None:
    model = build()
    inputs, masks = draw(40)
    rows = Batch(inputs=inputs, masks=masks)
    found = torch.from_numpy(predict_outputs(RoutedModel(model), rows, batch_size=16))
    torch.testing.assert_close(found, torch.from_numpy(predict_outputs(model, rows, batch_size=16)))


def test_a_single_row_gives_what_it_gives_among_others() -> None:
    model = build()
    inputs, masks = draw(12)
    expected = model(inputs, masks)
    for row in range(12):
        one, there = (
            {name: value[row : row + 1] for name, value in part.items()} for part in (inputs, masks)
        )
        torch.testing.assert_close(RoutedModel(model)(one, there), expected[row : row + 1])


def test_rows_without_any_modality_alone_run() -> None:
    model = build()
    inputs, masks = ({name: value[:2] for name, value in part.items()} for part in draw(5))
    found = RoutedModel(model)(inputs, masks)
    torch.testing.assert_close(found, model(inputs, masks))
    assert found[0].equal(found[1])


class _Count(nn.Module):
    """Passes on what it sees and keeps how many rows that were."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def forward(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        self.rows.append(len(value))
        return value, mask


def counting(places: Tensor) -> tuple[FusionModel, dict[str, Tensor], dict[str, _Count]]:
    """A model whose gate takes for each row the expert in its place, and what counts its encoders' rows."""
    dims = {"text": 3, "image": 2, "video": 2}
    counts = {name: _Count() for name in dims}
    encoders = {name: Encoder([counts[name]], [width]) for name, width in dims.items()}
    merge = Dynamic(dims, experts=EXPERTS, gate={"reads": ("text",), "hidden": 3})
    with torch.no_grad():
        merge.gate.weight["text"].copy_(torch.eye(3))
        merge.gate.linears[0].weight.copy_(torch.eye(3))
    inputs = {
        "text": torch.eye(3)[places],
        "image": torch.randn(len(places), 2),
        "video": torch.randn(len(places), 2),
    }
    return FusionModel(encoders, merge, LinearHead(3, 4)).eval(), inputs, counts


@pytest.mark.parametrize(
    ("places", "image", "video"),
    [([0, 1, 2, 0, 2, 0, 2], [1, 3], [1, 3]), ([0, 0, 0], [], []), ([1, 1], [2], [2])],
)
def test_only_the_rows_that_need_an_encoder_pass_it(
    places: list[int], image: list[int], video: list[int]
) -> None:
    model, inputs, counts = counting(torch.tensor(places))
    found = RoutedModel(model)(inputs)
    assert {name: count.rows for name, count in counts.items()} == {
        "text": [len(places)],
        "image": image,
        "video": video,
    }
    torch.testing.assert_close(found, model(inputs))


def test_it_is_refused_in_training() -> None:
    model = build()
    inputs, masks = draw(4)
    routed = RoutedModel(model)
    assert not routed.training
    for trained in (routed, model):
        with pytest.raises(
            FuseloomError, match=r"^RoutedModel must be in evaluation mode, got training mode\."
        ):
            _run_in_training(routed, trained, inputs, masks)
    assert not routed(inputs, masks).requires_grad


def _run_in_training(
    routed: RoutedModel, part: nn.Module, inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> None:
    part.train()
    try:
        routed(inputs, masks)
    finally:
        routed.eval()


def test_a_missing_input_is_named_even_where_no_row_needs_it() -> None:
    model, inputs, _ = counting(torch.tensor([0, 0]))
    del inputs["video"]
    with pytest.raises(ModalityError, match=r"^Missing modality \['video'\]; got \['image', 'text'\]\.$"):
        RoutedModel(model)(inputs)


def test_a_merge_without_experts_is_refused() -> None:
    encoders = {"text": {"kind": "embedding", "in_dim": 6}, "image": {"kind": "embedding", "in_dim": 4}}
    model = build_model(ModelConfig(encoders=encoders, fusion="sum", dim=8), TASK)
    with pytest.raises(OptionError, match=r"^merge of the model must be 'dynamic', got 'sum'\. It has no"):
        RoutedModel(model)


def test_a_soft_gate_is_refused_and_its_weights_load_into_a_hard_one() -> None:
    soft = build(gate={"kind": "soft", "reads": ("text",), "hidden": 16})
    with pytest.raises(OptionError, match=r"^kind of the gate must be hard, got 'soft', which mixes all"):
        RoutedModel(soft)
    hard = build(seed=1)
    hard.load_state_dict(soft.state_dict())
    inputs, masks = draw(20)
    chosen = gate_of(soft, inputs, masks).argmax(1)
    assert hard.merge.route(*hard.encode(inputs, masks))[2:].equal(chosen[2:])


def test_exchanges_are_refused() -> None:
    dims = {"text": 3, "image": 2}
    model = FusionModel(
        {name: Encoder([_Count()], [width]) for name, width in dims.items()},
        Dynamic(dims),
        LinearHead(3, 4),
        exchanges={-1: create("cross_attention", dims)},
    )
    with pytest.raises(
        OptionError, match=r"^exchanges of the model must be none, got some behind stages \['0'\]\. They need"
    ):
        RoutedModel(model)
