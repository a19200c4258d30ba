import pytest
import torch

from fuseloom.errors import DataError, ModalityError
from fuseloom.models.converters.mro import MroConverter


def linear(state, name, into, out):
    state |= {f"{name}.weight": torch.randn(out, into), f"{name}.bias": torch.randn(out)}


@pytest.fixture
def early():
    """The weights of the early form on widths 3 and 2, hidden 5 and 4, two outputs."""
    state = {}
    for place, width in (("uni_modals.before.0", 3), ("uni_modals.before.1", 2), ("tri_modal", 5)):
        for layer, (into, out) in enumerate([(width, 5), (5, 4), (4, 2)]):
            linear(state, f"{place}.layers.{2 * layer}", into, out)
    return state


def test_form_widths_depth_and_outputs_are_read_from_the_weights(early):
    found = MroConverter().convert(early, {"text": None, "audio": 2})
    assert found.config.options == {"mro": {"form": "early", "hidden": [5, 4]}}
    assert [one["in_dim"] for one in found.config.encoders.values()] == [3, 2]
    assert found.num_outputs == 2
    assert {name for piece in found.pieces for name in piece.sources} == set(early)


def test_a_weight_that_the_system_does_not_have_is_left_out(early):
    found = MroConverter().convert({**early, "crf.start": torch.ones(2)}, {"text": None, "audio": None})
    assert {name for piece in found.pieces for name in piece.sources} == set(early)


@pytest.mark.parametrize(
    ("modalities", "message"),
    [
        (
            {"text": 3},
            r"modalities must name the 2 inputs of the checkpoint, of widths 3, 2, .* got \['text'\]",
        ),
        (
            {"text": 2, "audio": 3},
            r"The width of 'text' must be 3, as 'uni_modals\.before\.0\.layers\.0\.weight' of .* got 2\. A",
        ),
        ({"text": 3, "a.b": 2}, r"'a\.b'"),
    ],
)
def test_modalities_that_do_not_fit_are_named(early, modalities, message):
    with pytest.raises(ModalityError, match=message):
        MroConverter().convert(early, modalities)


@pytest.mark.parametrize(
    "state", [{"fc.weight": torch.ones(2, 2)}, {"before.0.layers.0.weight": torch.ones(2, 2)}]
)
def test_a_checkpoint_of_another_system_is_refused(state):
    with pytest.raises(
        DataError, match=rf"must be one of mro, with weights .* got \['{next(iter(state))}'\]"
    ):
        MroConverter().convert(state, {"text": None})
