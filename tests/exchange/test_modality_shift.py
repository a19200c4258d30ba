from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.modality_shift import ModalityShift, convert_modality_shift
from fuseloom.types import Alignment, Streams, Trace

DIMS = {"text": 4, "audio": 3, "video": 5}
Array = NDArray[np.float64]


def drawn(dims: dict[str, int] = DIMS, **options: Any) -> ModalityShift:
    """A part none of whose parameters is zero."""
    part = ModalityShift(dims, **options).eval()
    for parameter in part.parameters():
        nn.init.normal_(parameter)
    return part


def tokens(batch: int = 3, length: int = 6, dims: dict[str, int] = DIMS) -> Streams:
    return {name: torch.randn(batch, length, width) for name, width in dims.items()}


def plain_shift(part: ModalityShift, streams: Streams, masks: dict[str, Tensor]) -> Array:
    """The formula, token by token, with one concatenation per gate."""
    state = {name: value.double().numpy() for name, value in part.state_dict().items()}
    values = {name: value.double().numpy() for name, value in streams.items()}
    out = np.zeros_like(values[part.primary])
    for b, n in zip(*np.nonzero(masks[part.primary].numpy()), strict=True):
        own = values[part.primary][b, n]
        shift = np.zeros_like(own)
        for name in streams:
            if name != part.primary and masks[name][b, n]:
                gate, step = np.split(
                    state[f"read.{name}.weight"] @ values[name][b, n] + state[f"read.{name}.bias"], 2
                )
                shift += np.maximum(gate + state[f"gate.{name}.weight"] @ own, 0) * step
        norm = np.linalg.norm(shift) or 1.0
        moved = own + min(part.beta * np.linalg.norm(own) / (norm + 1e-6), 1) * shift
        normal = (moved - moved.mean()) / np.sqrt(moved.var() + 1e-5)
        out[b, n] = normal * state["norm.weight"] + state["norm.bias"]
    return out


@pytest.mark.parametrize(("primary", "beta"), [(None, 1.0), ("video", 0.05), ("audio", 30.0)])
def test_it_is_the_plain_formula_token_by_token(primary: str | None, beta: float) -> None:
    part, streams = drawn(primary=primary, beta=beta), tokens()
    masks = {name: torch.rand(3, 6) < 0.6 for name in DIMS}
    out = part(streams, masks)
    expected = plain_shift(part, streams, masks)
    np.testing.assert_allclose(out[part.primary].detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    for name in DIMS.keys() - {part.primary}:
        assert out[name].equal(streams[name] * masks[name][..., None])


@given(beta=st.floats(1e-3, 10), seed=st.integers(0, 2**31))
def test_a_shift_is_at_most_beta_times_as_long_as_its_token(beta: float, seed: int) -> None:
    torch.manual_seed(seed)
    part, streams, trace = drawn(beta=beta), tokens(), Trace()
    part(streams, trace=trace)
    scale, shift = trace.records["scale"], trace.records["shift"]
    assert scale.min() >= 0
    assert scale.max() <= 1
    length = (scale[..., None] * shift).norm(dim=-1)
    assert (length <= beta * streams["text"].norm(dim=-1) * 1.0001).all()


@given(seed=st.integers(0, 2**31))
def test_tokens_of_all_streams_can_be_permuted_together(seed: int) -> None:
    torch.manual_seed(seed)
    part, streams, order = drawn(), tokens(), torch.randperm(6)
    out = part({name: value[:, order] for name, value in streams.items()})
    torch.testing.assert_close(out["text"], part(streams)["text"][:, order])


def test_absent_secondaries_add_nothing_not_even_their_biases() -> None:
    part, streams = drawn(), tokens()
    out = part(streams, {"audio": torch.zeros(3, 6, dtype=torch.bool)})
    alone = drawn({"text": 4, "video": 5})
    alone.load_state_dict({key: value for key, value in part.state_dict().items() if ".audio." not in key})
    expected = alone({name: streams[name] for name in ("text", "video")})
    torch.testing.assert_close(out["text"], expected["text"])


def test_a_token_without_any_secondary_is_only_normalised() -> None:
    part, streams = drawn(), tokens()
    none = torch.zeros(3, 6, dtype=torch.bool)
    out = part(streams, {"audio": none, "video": none})
    torch.testing.assert_close(out["text"], part.norm(streams["text"]))


@pytest.mark.parametrize("zero", ["text", "shift"])
def test_zero_norms_give_finite_values_and_gradients(zero: str) -> None:
    part, streams = drawn(), tokens()
    with torch.no_grad():
        if zero == "shift":
            for read in part.read.values():
                read.weight[4:], read.bias[4:] = 0, 0
        else:
            streams["text"][0] = 0
    streams = {name: value.requires_grad_() for name, value in streams.items()}
    trace = Trace()
    out = part(streams, trace=trace)["text"]
    found = torch.autograd.grad(out.square().sum(), [*streams.values(), *part.parameters()])
    assert out.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in found)
    if zero == "shift":
        assert not trace.records["shift"].any()
        torch.testing.assert_close(out, part.norm(streams["text"]))
    else:
        assert not trace.records["scale"][0].any()


def test_half_of_the_gradient_passes_where_the_ratio_is_exactly_one() -> None:
    length = 2.0**20  # 1e-6 is lost beside it
    own = torch.tensor([[length, 0.0]], requires_grad=True)
    scale = drawn({"text": 2, "audio": 2})._scale(own, torch.tensor([[0.0, length]]))
    (gradient,) = torch.autograd.grad(scale.sum(), own)
    assert scale.tolist() == [1.0]
    assert gradient.tolist() == [[0.5 / length, 0.0]]


def test_words_are_brought_to_their_pieces() -> None:
    part = drawn({"text": 4, "audio": 3})
    streams = {"text": torch.randn(1, 5, 4), "audio": torch.randn(1, 3, 3)}
    pieces = Alignment.from_pairs([[(0, 1), (1, 2), (1, 3), (2, 3)]])
    out = part(streams, alignment={"text_from_audio": pieces})["text"]
    words = streams["audio"][0]
    at_places = torch.stack([torch.zeros(3), words[0], words[1], (words[1] + words[2]) / 2, torch.zeros(3)])
    mask = torch.tensor([[False, True, True, True, False]])
    expected = part({"text": streams["text"], "audio": at_places[None]}, {"audio": mask})["text"]
    torch.testing.assert_close(out, expected)


def test_a_masked_word_is_brought_nowhere() -> None:
    part = drawn({"text": 4, "audio": 3})
    streams = {"text": torch.randn(1, 2, 4), "audio": torch.randn(1, 3, 3)}
    pieces = Alignment.from_pairs([[(0, 0), (1, 0), (2, 1)]])
    masks = {"audio": torch.tensor([[True, False, False]])}
    out = part(streams, masks, alignment={"text_from_audio": pieces})["text"]
    kept = {"text": streams["text"], "audio": streams["audio"][:, [0, 0]]}
    expected = part(kept, {"audio": torch.tensor([[True, False]])})["text"]
    torch.testing.assert_close(out, expected)


def test_low_precision_does_not_overflow_in_the_norms() -> None:
    part = drawn({"text": 64, "audio": 3}).half()
    streams = {"text": torch.full((1, 2, 64), 2e4).half(), "audio": torch.randn(1, 2, 3).half()}
    trace = Trace()
    part(streams, trace=trace)
    assert trace.records["scale"].dtype == torch.float32
    assert trace.records["scale"].isfinite().all()


def test_dropout_acts_on_the_shifted_tokens_in_training_alone() -> None:
    part, streams = drawn(dropout=0.5), tokens()
    whole = part(streams)["text"]
    dropped = part.train()(streams)["text"]
    assert 0.2 < (dropped == 0).float().mean() < 0.8
    torch.testing.assert_close(dropped[dropped != 0], 2 * whole[dropped != 0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"primary": "txt"}, ModalityError, "^primary must be a modality, got 'txt'. Did you mean 'text'"),
        ({"beta": 0.0}, OptionError, r"^beta must be positive and finite, got 0\.0\.$"),
        ({"beta": float("inf")}, OptionError, "^beta must be positive and finite, got inf"),
        ({"dropout": 1.0}, OptionError, r"^dropout must be in \[0, 1\), got 1\.0\.$"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ModalityShift(DIMS, **options)


def test_streams_on_other_positions_need_an_alignment() -> None:
    streams = tokens() | {"audio": torch.randn(3, 4, 3)}
    message = r"got 'text' with \(6,\) and 'audio' with \(4,\)\. Pass alignment=\{'text_from_audio': \.\.\.\}"
    with pytest.raises(ModalityError, match=message):
        drawn()(streams)


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_other_weights_than_the_official_ones_are_refused(change: str) -> None:
    names = ("W_hv", "W_ha", "W_v", "W_a", "LayerNorm")
    official = {f"{name}.{kind}": torch.ones(2, 2) for name in names for kind in ("weight", "bias")}
    if change == "missing":
        del official["W_v.bias"]
    else:
        official["W_t.bias"] = torch.ones(2)
    with pytest.raises(
        OptionError, match=f"got 'W_{'v' if change == 'missing' else 't'}.bias' missing or in"
    ):
        convert_modality_shift(official, {"visual": "v", "acoustic": "a"})
