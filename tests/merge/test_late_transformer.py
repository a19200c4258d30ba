from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.merge.late_transformer import LateTransformer, convert_late_transformer
from fuseloom.nn import SinusoidalPositions, masked_max
from fuseloom.types import Trace

DIMS = {"text": 4, "audio": 3}


def redraw(merge: LateTransformer) -> LateTransformer:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_()
    return merge


def encode_one(merge: LateTransformer, name: str, tokens: Tensor) -> Tensor:
    """The tokens of one modality of one sample, all real, encoded: ``[N, D]`` to ``[N, K]``."""
    placed = SinusoidalPositions()((tokens @ merge.embed[name].T)[None])
    out: Tensor = merge.encoder[name](placed)[0]
    return out


def test_each_modality_is_encoded_and_averaged_by_itself_and_what_is_absent_adds_nothing(case: Any) -> None:
    merge = redraw(LateTransformer(case.dims, dim=5, hidden=(9, 7), num_heads=2))
    text, audio = case.streams["text"], case.streams["audio"]
    expected = merge.bias.expand(4, 5).clone()
    expected[0] += merge.out["text"] @ encode_one(merge, "text", text[0, :2]).mean(0)
    expected[2] += merge.out["text"] @ encode_one(merge, "text", text[2]).mean(0)
    for sample in (1, 2):
        token = merge.encoder["audio"]((audio[sample] @ merge.embed["audio"].T)[None, None])[0, 0]
        expected[sample] += merge.out["audio"] @ token
    torch.testing.assert_close(merge(case.streams, case.masks), expected, rtol=1e-3, atol=1e-3)
    assert expected[3].equal(merge.bias)


def test_an_embedding_and_a_token_of_the_same_value_differ_by_the_place() -> None:
    merge = redraw(LateTransformer({"text": 4}, dim=6, hidden=(9,), num_heads=2))
    value = torch.randn(3, 4)
    assert not merge({"text": value}).allclose(merge({"text": value[:, None]}), atol=1e-2)
    bare = LateTransformer({"text": 4}, dim=6, hidden=(9,), num_heads=2, faithful=True)
    torch.testing.assert_close(bare({"text": value}), bare({"text": value[:, None]}))


def test_pixels_are_tokens_with_a_row_and_a_column(maps: dict[str, Tensor], pixels: Tensor) -> None:
    merge = redraw(LateTransformer({"rgb": 4, "depth": 3}, dim=6, hidden=(9,), num_heads=2))
    fused = merge(maps, {"rgb": pixels})
    expected = merge.bias.expand(2, 6).clone()
    for name, value in maps.items():
        placed = SinusoidalPositions()(value.permute(0, 2, 3, 1) @ merge.embed[name].T)
        for b in range(2):
            kept = pixels[b] if name == "rgb" else torch.ones(5, 6, dtype=torch.bool)
            encoded = merge.encoder[name](placed[b][kept][None])[0]
            expected[b] += merge.out[name] @ encoded.mean(0)
    torch.testing.assert_close(fused, expected, rtol=1e-3, atol=1e-3)


def test_a_pool_of_one_s_own_is_used() -> None:
    merge = redraw(LateTransformer(DIMS, dim=6, hidden=(9,), num_heads=2, pool=masked_max))
    streams = {"text": torch.randn(1, 5, 4), "audio": torch.randn(1, 3, 3)}
    expected = merge.bias.clone()
    for name, value in streams.items():
        expected = expected + merge.out[name] @ encode_one(merge, name, value[0]).amax(0)
    torch.testing.assert_close(merge(streams)[0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("num", [2, 6])
def test_the_fused_value_starts_at_size_one(num: int, faithful: bool) -> None:
    dims = dict(list(zip("abcdef", [64, 7, 300, 64, 5, 90], strict=True))[:num])
    merge = LateTransformer(dims, dim=64, faithful=faithful)
    fused = merge({name: torch.randn(400, width) for name, width in dims.items()})
    assert 0.8 < fused.std() < 1.2


def test_attention_is_recorded_by_modality_and_layer() -> None:
    merge = redraw(LateTransformer(DIMS, dim=6, hidden=(9, 9), num_heads=2))
    trace = Trace()
    streams = {"text": torch.randn(1, 4, 4), "audio": torch.randn(1, 3)}
    merge(streams, {"text": torch.tensor([[True, True, False, True]])}, trace=trace)
    weights = [f"{name}.layer.{number}.attention" for name in ("audio", "text") for number in (0, 1)]
    owned = [f"{name}.layer.of.{name}" for name in ("audio", "text")]
    assert sorted(trace.records) == sorted([*weights, *owned, "text.layer.asked"])
    assert trace.records["text.layer.of.text"].tolist() == [[True, True, False, True]]
    assert trace.records["text.layer.asked"].tolist() == [[True, True, False, True]]
    assert trace.records["audio.layer.of.audio"].tolist() == [[True]]
    assert not trace.records["text.layer.0.attention"][..., 2].any()
    torch.testing.assert_close(trace.records["audio.layer.1.attention"], torch.ones(1, 2, 1, 1))


def official(width: int) -> nn.ModuleDict:
    layer = nn.TransformerEncoderLayer(6, 3, 16, 0.0)
    parts = {
        "conv": nn.Conv1d(width, 6, 1, bias=False),
        "transformer": nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
    }
    found = nn.ModuleDict(parts)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.normal_()
    return found


def test_official_encoders_and_a_linear_map_behind_them_convert() -> None:
    parts = {name: official(width) for name, width in DIMS.items()}
    linear = nn.Linear(12, 6)
    merge = LateTransformer(DIMS, 6, hidden=(16, 16), num_heads=3, faithful=True)
    states = {name: part.state_dict() for name, part in parts.items()}
    merge.load_state_dict(convert_late_transformer(states, linear.weight.detach(), linear.bias.detach()))
    streams = {"text": torch.randn(2, 6, 4), "audio": torch.randn(2, 5, 3)}
    # The audio of both samples is padded on the right: the last real step counts, not the last.
    real = (torch.arange(5) < 3).expand(2, 5)
    lasts = []
    for name, value in {"text": streams["text"], "audio": streams["audio"][:, :3]}.items():
        steps = parts[name]["conv"](value.transpose(1, 2)).permute(2, 0, 1)
        lasts.append(parts[name]["transformer"](steps)[-1])
    expected = linear(torch.cat(lasts, 1))
    torch.testing.assert_close(merge(streams, {"audio": real}), expected, rtol=1e-3, atol=1e-4)


def test_a_linear_map_of_another_width_does_not_convert() -> None:
    states = {name: official(width).state_dict() for name, width in DIMS.items()}
    message = r"^weight must have shape \[dim, 12\], the sum of the encoders' widths, got \[6, 9\]\.$"
    with pytest.raises(OptionError, match=message):
        convert_late_transformer(states, torch.ones(6, 9), torch.ones(6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 0}, r"^num_heads must be at least 1, got 0\.$"),
        ({"hidden": (3, 0)}, r"^hidden must be one width of at least 1 per layer, got \[3, 0\]\.$"),
        ({"dropout": -0.5}, r"^dropout must be in \[0, 1\), got -0\.5\.$"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        LateTransformer(DIMS, **options)
