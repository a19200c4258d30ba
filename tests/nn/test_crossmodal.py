import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuseloom.errors import OptionError
from fuseloom.nn.crossmodal import MarkedPositions, PlacedTokens, convert_crossmodal, halved_waves, not_later
from fuseloom.nn.transformer import SinusoidalPositions, TransformerEncoder


@pytest.mark.parametrize(("count", "width"), [(5, 6), (4, 9), (1, 4), (3, 1), (2, 2), (2, 3)])
def test_waves_are_sines_then_cosines_of_places_from_one(count: int, width: int) -> None:
    half = width // 2
    expected = np.zeros((count, width))
    for place in range(1, count + 1):
        for j in range(half):
            angle = place * 10000 ** (-j / max(half - 1, 1))
            expected[place - 1, j], expected[place - 1, half + j] = math.sin(angle), math.cos(angle)
    np.testing.assert_allclose(halved_waves(count, width, torch.ones(1)), expected, atol=1e-6)


def test_waves_of_distant_places_differ_in_low_precision() -> None:
    waves = halved_waves(1000, 8, torch.ones(1, dtype=torch.bfloat16))
    assert waves.dtype == torch.bfloat16
    assert not waves[-1].equal(waves[-2])


def test_pixels_are_told_by_row_and_by_column() -> None:
    placed = SinusoidalPositions(halved_waves)(torch.zeros(1, 3, 2, 8))[0]
    rows, columns = halved_waves(3, 4, placed), halved_waves(2, 4, placed)
    assert placed[..., :4].equal(rows[:, None].expand(3, 2, 4))
    assert placed[..., 4:].equal(columns.expand(3, 2, 4))


def test_a_marked_token_keeps_its_values_and_the_others_their_places() -> None:
    values = torch.randn(2, 4, 6)
    values[0, 1, 0] = 0
    values[1, 3] = 0
    plain = SinusoidalPositions(halved_waves)
    found = MarkedPositions(plain)(values)
    marked = torch.zeros(2, 4, dtype=torch.bool)
    marked[0, 1] = marked[1, 3] = True
    assert found[marked].equal(values[marked])
    assert found[~marked].equal(plain(values)[~marked])


def test_tokens_are_scaled_before_they_are_placed() -> None:
    values = torch.randn(2, 3, 5)
    torch.testing.assert_close(PlacedTokens()(values), values * math.sqrt(5) + halved_waves(3, 5, values))
    torch.testing.assert_close(PlacedTokens(positions=torch.nn.Identity())(values), values * math.sqrt(5))


def test_dropout_acts_in_training_alone() -> None:
    place, values = PlacedTokens(dropout=0.5), torch.ones(1, 50, 8)
    assert (place(values) == 0).any()
    assert not (place.eval()(values) == 0).any()


@given(queries=st.integers(1, 9), keys=st.integers(1, 9))
def test_a_key_is_seen_up_to_the_difference_of_lengths_ahead(queries: int, keys: int) -> None:
    seen = not_later(queries, keys, device=torch.device("cpu"))
    expected = [[[j - i <= abs(keys - queries) for j in range(keys)] for i in range(queries)]]
    assert seen.tolist() == expected


def test_an_official_encoder_is_converted_whole() -> None:
    ours = TransformerEncoder(4, hidden=(6, 6), num_heads=2)
    names = {
        "attention.part.qkv.": "self_attn.in_proj_",
        "attention.part.out.": "self_attn.out_proj.",
        "attention.norm.": "layer_norms.0.",
        "feedforward.part.up.": "fc1.",
        "feedforward.part.down.": "fc2.",
        "feedforward.norm.": "layer_norms.1.",
    }
    official = {"version": torch.ones(1), "embed_positions._float_tensor": torch.ones(1)}
    for key, value in ours.state_dict().items():
        theirs = "layer_" + key if key.startswith("norm.") else key
        for inner, outer in names.items():
            theirs = theirs.replace(inner, outer)
        official[theirs] = value
    converted = convert_crossmodal(official)
    assert converted.keys() == ours.state_dict().keys()
    assert all(converted[key].equal(value) for key, value in ours.state_dict().items())


@pytest.mark.parametrize("key", ["layers.0.fc3.weight", "fc1.weight", "layers.x.fc1.weight"])
def test_a_key_of_another_model_is_refused(key: str) -> None:
    with pytest.raises(OptionError, match=r"^official must be the state of "):
        convert_crossmodal({key: torch.ones(1)})
