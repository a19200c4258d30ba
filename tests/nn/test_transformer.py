import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.nn import (
    SinusoidalPositions,
    TransformerEncoder,
    convert_transformer,
    divisible_width,
    masked_last,
)
from fuseloom.types import Trace

HIDDEN = (12, 20)


def torch_encoder(*, pre_norm: bool) -> nn.TransformerEncoder:
    """Torch's own encoder with parameters that start neither at zero nor at one."""
    layers = [
        nn.TransformerEncoderLayer(8, 2, width, 0.0, batch_first=True, norm_first=pre_norm)
        for width in HIDDEN
    ]
    norm = nn.LayerNorm(8) if pre_norm else None
    encoder = nn.TransformerEncoder(layers[0], 2, norm=norm, enable_nested_tensor=False)
    encoder.layers = nn.ModuleList(layers)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_()
    # In training torch takes no path of its own for what is masked; without dropout it is the same function.
    return encoder.train()


@pytest.mark.parametrize("pre_norm", [False, True])
def test_it_is_torch_s_encoder_where_that_is_defined(pre_norm: bool) -> None:
    official = torch_encoder(pre_norm=pre_norm)
    ours = TransformerEncoder(8, hidden=HIDDEN, num_heads=2, post_norm=not pre_norm)
    ours.load_state_dict(convert_transformer(official.state_dict()))
    tokens = torch.randn(3, 5, 8)
    mask = torch.tensor([[True] * 5, [True, False, True, True, False], [False, False, True, False, False]])
    torch.testing.assert_close(ours(tokens), official(tokens), rtol=1e-4, atol=1e-5)
    expected = official(tokens, src_key_padding_mask=~mask)
    torch.testing.assert_close(ours(tokens, mask)[mask], expected[mask], rtol=1e-4, atol=1e-5)


def test_tokens_under_false_are_seen_by_none_and_an_empty_sample_is_finite() -> None:
    encoder = TransformerEncoder(8, hidden=HIDDEN, num_heads=2)
    tokens = torch.randn(2, 4, 8, requires_grad=True)
    mask = torch.tensor([[True, True, False, True], [False] * 4])
    out = encoder(tokens, mask)
    assert out.isfinite().all()
    seen = torch.autograd.grad(out[0, mask[0]].sum() * 3 + out[1].square().sum(), tokens)[0]
    assert seen.isfinite().all()
    assert not seen[0, 2].any()
    alone = encoder(tokens[:1, [0, 1, 3]])
    torch.testing.assert_close(out[:1, [0, 1, 3]], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("post_norm", [False, True])
def test_given_a_source_every_layer_reads_it_as_it_is(post_norm: bool) -> None:
    encoder = TransformerEncoder(8, hidden=HIDDEN, num_heads=2, post_norm=post_norm)
    tokens, source = torch.randn(3, 5, 8), torch.randn(3, 4, 8)
    mask = torch.tensor([[True] * 4, [True, False, True, False], [True] * 4])
    x = tokens
    for layer in encoder.layers:
        norm, part = layer.attention.norm, layer.attention.part
        asked, read = (x, source) if post_norm else (norm(x), norm(source))
        official = nn.MultiheadAttention(8, 2, batch_first=True)
        official.load_state_dict(
            {
                "in_proj_weight": part.qkv.weight,
                "in_proj_bias": part.qkv.bias,
                "out_proj.weight": part.out.weight,
                "out_proj.bias": part.out.bias,
            }
        )
        x = x + official(asked, read, read, key_padding_mask=~mask, need_weights=False)[0]
        x = layer.feedforward(norm(x) if post_norm else x)
    found = encoder(tokens, mask, source=source)
    torch.testing.assert_close(found, encoder.norm(x), rtol=1e-4, atol=1e-5)


def test_each_token_may_see_keys_of_its_own() -> None:
    encoder, tokens = TransformerEncoder(8, hidden=HIDDEN, num_heads=2), torch.randn(2, 4, 8)
    past = torch.ones(4, 4, dtype=torch.bool).tril()[None]
    out = encoder(tokens, past)
    torch.testing.assert_close(out[:, :3], encoder(tokens[:, :3], past[:, :3, :3]))


def test_positions_take_waves_of_another_kind() -> None:
    place = SinusoidalPositions(lambda count, width, like: like.new_full((count, width), 2))
    assert place(torch.ones(1, 3, 4)).equal(torch.full((1, 3, 4), 3.0))


def test_dropout_drops_in_training_only() -> None:
    encoder = TransformerEncoder(8, hidden=(16,), num_heads=2, dropout=0.5)
    tokens = torch.randn(2, 4, 8)
    assert not encoder(tokens).allclose(encoder(tokens))
    encoder.eval()
    plain = TransformerEncoder(8, hidden=(16,), num_heads=2)
    plain.load_state_dict(encoder.state_dict())
    assert encoder(tokens).equal(plain(tokens))


def test_the_attention_of_every_layer_is_recorded() -> None:
    encoder = TransformerEncoder(8, hidden=HIDDEN, num_heads=2)
    tokens, mask = torch.randn(1, 3, 8), torch.tensor([[True, False, True]])
    trace = Trace()
    encoder(tokens, mask, trace=trace)
    assert sorted(trace.records) == ["layer.0.attention", "layer.1.attention"]
    first = encoder.layers[0].attention
    query, key, _ = first.part.qkv(first.norm(tokens)).chunk(3, -1)
    scores = torch.stack([q @ k.T for q, k in zip(query[0].split(4, 1), key[0].split(4, 1), strict=True)]) / 2
    expected = scores[..., [0, 2]].softmax(-1)
    torch.testing.assert_close(trace.records["layer.0.attention"][0, :, :, [0, 2]], expected)
    assert not trace.records["layer.0.attention"][..., 1].any()


def waves(count: int, width: int) -> NDArray[np.float64]:
    table = np.zeros((count, width))
    for n, i in np.ndindex(count, width):
        angle = n / 10_000 ** (2 * (i // 2) / width)
        table[n, i] = math.cos(angle) if i % 2 else math.sin(angle)
    return table


@pytest.mark.parametrize("width", [1, 2, 7, 8])
def test_tokens_are_placed_by_sines_and_cosines(width: int) -> None:
    tokens = torch.randn(2, 300, width)
    placed = SinusoidalPositions()(tokens) - tokens
    np.testing.assert_allclose(placed, np.stack([waves(300, width)] * 2), atol=1e-4)


def test_pixels_are_placed_by_row_and_column() -> None:
    pixels = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    placed = SinusoidalPositions()(pixels) - pixels
    rows, columns = waves(4, 4), waves(5, 3)
    for h, w in np.ndindex(4, 5):
        expected = np.concatenate([rows[h], columns[w]])
        np.testing.assert_allclose(placed[1, h, w], expected, atol=1e-12)


def test_one_feature_tells_the_row_alone() -> None:
    placed = SinusoidalPositions()(torch.zeros(1, 3, 2, 1))[0, ..., 0]
    torch.testing.assert_close(placed, torch.arange(3.0).sin()[:, None].expand(3, 2))


def test_a_value_without_positions_stays_as_it_is() -> None:
    value = torch.randn(3, 4)
    assert SinusoidalPositions()(value) is value


def test_far_places_differ_in_low_precision() -> None:
    placed = SinusoidalPositions()(torch.zeros(1, 600, 16, dtype=torch.bfloat16))[0]
    torch.testing.assert_close(
        placed[511], torch.from_numpy(waves(600, 16)[511]).bfloat16(), atol=2e-3, rtol=1e-2
    )


def test_the_last_kept_token_is_taken_wherever_padding_stands() -> None:
    tokens = torch.randn(4, 3, 2)
    mask = torch.tensor([[True, True, False], [False, True, True], [False] * 3, [True, False, False]])
    expected = torch.stack([tokens[0, 1], tokens[1, 2], torch.zeros(2), tokens[3, 0]])
    assert masked_last(tokens, mask).equal(expected)
    assert masked_last(tokens).equal(tokens[:, 2])


def test_widths_are_rounded_up() -> None:
    assert [divisible_width(dim, 3) for dim in (1, 3, 4)] == [3, 3, 6]


def test_a_norm_at_the_end_is_converted() -> None:
    state: dict[str, Tensor] = {"norm.weight": torch.ones(2), "norm.bias": torch.zeros(2)}
    assert convert_transformer(state) == state


@pytest.mark.parametrize(
    "key", ["layers.0.conv.weight", "layers.a.linear1.weight", "embed.0.linear1.weight", "x"]
)
def test_a_key_that_torch_does_not_have_is_refused(key: str) -> None:
    with pytest.raises(
        OptionError, match=rf"^official must be the state of nn\.TransformerEncoder, got '{key}' in it\.$"
    ):
        convert_transformer({key: torch.ones(1)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 3}, r"^dim must be a multiple of num_heads=3, got 8\.$"),
        ({"num_heads": 0}, r"^num_heads must be at least 1, got 0\.$"),
        ({"hidden": ()}, r"^hidden must be one width of at least 1 per layer, got \[\]\.$"),
        ({"hidden": (4, 0)}, r"^hidden must be one width of at least 1 per layer, got \[4, 0\]\.$"),
        ({"dropout": 1.0}, r"^dropout must be in \[0, 1\), got 1\.0\.$"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TransformerEncoder(8, **{"hidden": (4,), **options})
