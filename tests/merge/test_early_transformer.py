import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError
from fuseloom.merge.early_transformer import EarlyTransformer, convert_early_transformer
from fuseloom.nn import masked_max
from fuseloom.types import Trace

DIMS = {"text": 4, "audio": 3}
Array = NDArray[np.float64]


def redraw(merge: EarlyTransformer) -> EarlyTransformer:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_()
    return merge


def norm(x: Array, weight: Array, bias: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def attention(x: Array, state: dict[str, Array], num_heads: int) -> Array:
    query, key, value = np.split(x @ state["qkv.weight"].T + state["qkv.bias"], 3, -1)
    heads = []
    for q, k, v in zip(*(np.split(part, num_heads, -1) for part in (query, key, value)), strict=True):
        scores = np.exp(q @ k.T / math.sqrt(q.shape[-1]))
        heads.append(scores / scores.sum(-1, keepdims=True) @ v)
    return np.concatenate(heads, -1) @ state["out.weight"].T + state["out.bias"]


def feedforward(x: Array, state: dict[str, Array]) -> Array:
    hidden = np.maximum(x @ state["up.weight"].T + state["up.bias"], 0)
    return hidden @ state["down.weight"].T + state["down.bias"]


def under(state: dict[str, Array], prefix: str) -> dict[str, Array]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def encode(merge: EarlyTransformer, tokens: Array) -> Array:
    """Tokens of one sample ``[N, K]`` through the pre-norm layers and the norm at the end."""
    state = {key: value.double().numpy() for key, value in merge.encoder.state_dict().items()}
    for number, layer in enumerate(merge.encoder.layers):
        heads = layer.attention.part.num_heads
        for name, part in (
            ("attention", lambda x, s, h=heads: attention(x, s, h)),
            ("feedforward", feedforward),
        ):
            own = under(state, f"layers.{number}.{name}.")
            before = norm(tokens, own["norm.weight"], own["norm.bias"])
            tokens = tokens + part(before, under(own, "part."))
    return norm(tokens, state["norm.weight"], state["norm.bias"])


def waves(count: int, width: int) -> Array:
    place, feature = np.arange(count)[:, None], np.arange(width)
    angle = place / 10_000 ** (2 * (feature // 2) / width)
    return np.where(feature % 2, np.cos(angle), np.sin(angle))


def embed(merge: EarlyTransformer, values: dict[str, Array]) -> Array:
    return sum(value @ merge.embed[name].detach().double().numpy().T for name, value in values.items())


def out(merge: EarlyTransformer, value: Array) -> Array:
    return value @ merge.out.weight.detach().double().numpy().T + merge.out.bias.detach().double().numpy()


def test_shared_positions_are_encoded_and_those_without_any_modality_left_out() -> None:
    merge = redraw(EarlyTransformer(DIMS, dim=6, hidden=(9, 5), num_heads=2))
    text, audio = torch.randn(3, 5, 4), torch.randn(3, 5, 3)
    masks = {"text": torch.rand(3, 5) < 0.6, "audio": torch.rand(3, 5) < 0.6}
    masks["text"][0, :2], masks["audio"][0, :2] = torch.tensor([True, False]), torch.tensor([False, False])
    expected = np.zeros((3, 6))
    for b in range(3):
        kept = (masks["text"][b] | masks["audio"][b]).numpy()
        values = {
            "text": (text[b] * masks["text"][b, :, None]).double().numpy(),
            "audio": (audio[b] * masks["audio"][b, :, None]).double().numpy(),
        }
        tokens = embed(merge, values) + waves(5, 6)
        expected[b] = out(merge, encode(merge, tokens[kept]).mean(0))
    streams = {"text": text.masked_fill(~masks["text"][..., None], torch.nan), "audio": audio}
    np.testing.assert_allclose(merge(streams, masks).detach(), expected, rtol=1e-3, atol=1e-3)
    assert not (masks["text"] | masks["audio"]).all()


def test_every_position_is_encoded_where_nothing_pools() -> None:
    merge = redraw(EarlyTransformer(DIMS, dim=6, hidden=(9,), num_heads=3, pool=None))
    streams = {name: torch.randn(2, 7, width) for name, width in DIMS.items()}
    fused = merge(streams).detach()
    for b in range(2):
        tokens = embed(merge, {n: v[b].double().numpy() for n, v in streams.items()}) + waves(7, 6)
        np.testing.assert_allclose(fused[b], out(merge, encode(merge, tokens)), rtol=1e-3, atol=1e-3)


def test_a_map_keeps_its_pixels_where_nothing_pools(maps: dict[str, Tensor]) -> None:
    merge = redraw(EarlyTransformer({"rgb": 4, "depth": 3}, dim=6, hidden=(9,), num_heads=2, pool=None))
    fused = merge(maps).detach()
    pixels = {name: value[0].permute(1, 2, 0).double().numpy() for name, value in maps.items()}
    rows = np.broadcast_to(waves(5, 3)[:, None], (5, 6, 3))
    columns = np.broadcast_to(waves(6, 3)[None], (5, 6, 3))
    tokens = embed(merge, pixels) + np.concatenate([rows, columns], -1)
    expected = out(merge, encode(merge, tokens.reshape(30, 6))).reshape(5, 6, 6).transpose(2, 0, 1)
    np.testing.assert_allclose(fused[0], expected, rtol=1e-3, atol=1e-3)


def test_embeddings_are_one_position_without_a_place() -> None:
    merge = redraw(EarlyTransformer(DIMS, dim=5, hidden=(9,)))
    streams = {name: torch.randn(3, width) for name, width in DIMS.items()}
    values = {name: value.double().numpy() for name, value in streams.items()}
    tokens = embed(merge, values)
    assert tokens.shape == (3, 8)
    expected = np.stack([out(merge, encode(merge, row[None])[0]) for row in tokens])
    np.testing.assert_allclose(merge(streams).detach(), expected, rtol=1e-3, atol=1e-3)


def test_a_pool_of_one_s_own_is_used() -> None:
    mean = redraw(EarlyTransformer(DIMS, dim=6, hidden=(9,), num_heads=2, pool=None))
    largest = EarlyTransformer(DIMS, dim=6, hidden=(9,), num_heads=2, pool=masked_max)
    largest.load_state_dict(mean.state_dict())
    with torch.no_grad():
        for merge in (mean, largest):
            merge.out.weight.copy_(torch.eye(6))
    streams = {name: torch.randn(2, 7, width) for name, width in DIMS.items()}
    torch.testing.assert_close(largest(streams), mean(streams).amax(1))


def test_a_sample_without_anything_gives_the_constant() -> None:
    merge = redraw(EarlyTransformer(DIMS, dim=6, hidden=(9,), num_heads=2))
    streams = {name: torch.full((2, 4, width), torch.nan) for name, width in DIMS.items()}
    masks = {name: torch.zeros(2, 4, dtype=torch.bool) for name in DIMS}
    torch.testing.assert_close(merge(streams, masks), merge.out.bias.expand(2, 6))


def test_the_order_of_positions_matters_unless_faithful() -> None:
    streams = {name: torch.randn(2, 4, width) for name, width in DIMS.items()}
    turned = {name: value[:, [1, 0, 2, 3]] for name, value in streams.items()}
    placed = redraw(EarlyTransformer(DIMS, dim=6, num_heads=2))
    official = redraw(EarlyTransformer(DIMS, dim=6, num_heads=2, faithful=True))
    assert (placed(turned) - placed(streams)).abs().max() > 1e-2
    torch.testing.assert_close(official(turned), official(streams), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("num", [2, 6])
def test_the_fused_value_starts_at_size_one(num: int, faithful: bool) -> None:
    dims = dict(list(zip("abcdef", [64, 7, 300, 64, 5, 90], strict=True))[:num])
    merge = EarlyTransformer(dims, dim=64, faithful=faithful)
    fused = merge({name: torch.randn(400, width) for name, width in dims.items()})
    assert 0.8 < fused.std() < 1.2


def test_attention_is_recorded_over_positions() -> None:
    merge = redraw(EarlyTransformer(DIMS, dim=6, hidden=(9, 9), num_heads=2))
    trace = Trace()
    mask = torch.tensor([[True, True, False, True]])
    merge(
        {"text": torch.randn(1, 4, 4), "audio": torch.randn(1, 4, 3)},
        {"text": mask, "audio": mask},
        trace=trace,
    )
    weights = trace.records["layer.1.attention"]
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 4))
    assert not weights[..., 2].any()
    assert weights[..., mask[0]].all()


def official(width: int) -> nn.ModuleDict:
    layer = nn.TransformerEncoderLayer(9, 3, 16, 0.0)
    parts = {
        "conv": nn.Conv1d(width, 9, 1, bias=False),
        "transformer": nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
    }
    found = nn.ModuleDict(parts)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.normal_()
    return found


def test_official_weights_convert_and_padding_on_the_right_is_no_last_step() -> None:
    parts, dims = official(7), {"audio": 3, "text": 4}
    merge = EarlyTransformer(dims, 9, hidden=(16, 16), num_heads=3, faithful=True)
    merge.load_state_dict(convert_early_transformer(parts.state_dict(), dims))
    streams = {name: torch.randn(2, 6, width) for name, width in dims.items()}
    steps = torch.cat([streams["audio"], streams["text"]], 2)[:, :5].transpose(1, 2)
    expected = parts["transformer"](parts["conv"](steps).permute(2, 0, 1))[-1]
    real = (torch.arange(6) < 5).expand(2, 6)
    torch.testing.assert_close(merge(streams, dict.fromkeys(dims, real)), expected, rtol=1e-3, atol=1e-4)


def test_official_weights_of_another_width_do_not_convert() -> None:
    message = r"^conv\.weight must have shape \[K, 6, 1\], the sum of dims, got \[9, 7, 1\]\.$"
    with pytest.raises(OptionError, match=message):
        convert_early_transformer(official(7).state_dict(), {"audio": 2, "text": 4})


def test_a_head_does_not_convert() -> None:
    state = {**official(7).state_dict(), "linear.weight": torch.ones(1, 9)}
    with pytest.raises(
        OptionError, match=r"^official must be the state of .*, got 'linear\.weight' in it\.$"
    ):
        convert_early_transformer(state, {"audio": 3, "text": 4})


@pytest.mark.parametrize("pool", [masked_max, None])
def test_positions_that_differ_are_refused(pool: Any) -> None:
    merge = EarlyTransformer(DIMS, pool=pool)
    message = (
        r"^Streams must share their positions, got \{'text': \(2, 7\), 'audio': \(2, 6\)\}\. "
        r"Resample them, or use late_transformer\.$"
    )
    with pytest.raises(ModalityError, match=message):
        merge({"text": torch.ones(2, 7, 4), "audio": torch.ones(2, 6, 3)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 0}, r"^num_heads must be at least 1, got 0\.$"),
        ({"hidden": ()}, r"^hidden must be one width of at least 1 per layer, got \[\]\.$"),
        ({"dropout": 1.0}, r"^dropout must be in \[0, 1\), got 1\.0\.$"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        EarlyTransformer(DIMS, **options)
