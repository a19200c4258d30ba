from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.merge.attention_pool import AttentionPool, convert_attention_pool
from fuseloom.types import Trace

Array = NDArray[np.float64]


def redraw(merge: AttentionPool) -> AttentionPool:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_(std=0.5)
    return merge


def fuse(merge: AttentionPool, tokens: dict[str, Array]) -> tuple[Array, Array]:
    """One sample by keys and values of all its tokens ``[N, D]``; and its weights ``[H, 1 + N]``."""
    state = {key: tensor.double().numpy() for key, tensor in merge.state_dict().items()}
    token = state["class_token"]
    embedded = np.stack(
        [
            token,
            *(
                state[f"embed.{name}.weight"] @ row + state[f"embed.{name}.bias"]
                for name in merge.dims
                for row in tokens.get(name, [])
            ),
        ]
    )
    query = state["query.weight"] @ token + state["query.bias"]
    keys = embedded @ state["key.weight"].T + state.get("key.bias", 0.0)
    values = embedded @ state["value.weight"].T + state["value.bias"]
    heads, weights, width = [], [], merge.head_dim
    for start in range(0, len(query), width):
        part = slice(start, start + width)
        scores = np.exp(keys[:, part] @ query[part] / np.sqrt(width))
        weights.append(scores / scores.sum())
        heads.append(weights[-1] @ values[:, part])
    return state["out.weight"] @ np.concatenate(heads) + state["out.bias"], np.stack(weights)


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("num_heads", [1, 2, 3])
def test_the_class_token_attends_over_itself_and_all_present_tokens(
    case: Any, num_heads: int, faithful: bool
) -> None:
    merge = redraw(AttentionPool(case.dims, 5, num_heads=num_heads, faithful=faithful))
    trace = Trace()
    fused = merge(case.streams, case.masks, trace=trace).detach().numpy()
    kept = torch.cat([torch.ones(4, 1).bool(), case.masks["text"], case.masks["audio"][:, None]], 1)
    for sample in range(4):
        text = case.streams["text"][sample][case.masks["text"][sample]].double().numpy()
        audio = case.streams["audio"][sample][None][: int(case.masks["audio"][sample])].double().numpy()
        expected, weights = fuse(merge, {"text": text, "audio": audio})
        np.testing.assert_allclose(fused[sample], expected, rtol=1e-3, atol=1e-4)
        recorded = trace.records["attention"][sample]
        np.testing.assert_allclose(recorded[:, kept[sample]], weights, rtol=1e-3, atol=1e-5)
        assert not recorded[:, ~kept[sample]].any()
        sums = [weights[:, :1], weights[:, 1 : 1 + len(text)], weights[:, 1 + len(text) :]]
        mass = np.stack([part.sum(1) for part in sums], 1)
        np.testing.assert_allclose(trace.records["mass"][sample], mass, rtol=1e-3, atol=1e-5)


def test_a_sample_without_any_modality_gives_the_value_of_the_class_token(case: Any) -> None:
    merge = redraw(AttentionPool(case.dims, 5))
    expected = merge.out(merge.value(merge.class_token))
    torch.testing.assert_close(merge(case.streams, case.masks)[3], expected)


def test_pixels_are_tokens_row_by_row(maps: dict[str, Tensor], pixels: Tensor) -> None:
    merge = redraw(AttentionPool({"rgb": 4, "depth": 3}, 6, num_heads=2))
    trace = Trace()
    fused = merge(maps, {"rgb": pixels}, trace=trace)
    for sample in range(2):
        rgb, depth = (maps[name][sample].flatten(1).T for name in ("rgb", "depth"))
        rows = {"rgb": rgb[pixels[sample].flatten()].double().numpy(), "depth": depth.double().numpy()}
        expected, weights = fuse(merge, rows)
        np.testing.assert_allclose(fused[sample].detach(), expected, rtol=1e-3, atol=1e-4)
        of_rgb = trace.records["attention"][sample, :, 1:31][:, pixels[sample].flatten()]
        np.testing.assert_allclose(of_rgb, weights[:, 1:21], rtol=1e-3, atol=1e-5)


def test_two_modalities_of_the_same_values_are_told_apart() -> None:
    merge = AttentionPool({"text": 4, "audio": 4}, 8)
    values, others = torch.randn(5, 3, 4), torch.randn(5, 2, 4)
    swapped = merge({"text": others, "audio": values})
    assert (merge({"text": values, "audio": others}) - swapped).abs().mean() > 0.1


def test_no_record_is_made_where_none_is_kept() -> None:
    merge = AttentionPool({"text": 4, "audio": 3}, 8)
    trace = Trace(keep_records=False)
    merge({"text": torch.randn(5, 3, 4), "audio": torch.randn(5, 3)}, trace=trace)
    assert not trace.records


@pytest.mark.parametrize("num_heads", [1, 4])
@pytest.mark.parametrize("num", [1, 2, 6])
def test_the_fused_value_starts_at_size_one(num: int, num_heads: int) -> None:
    dims = dict(list(zip("abcdef", [64, 7, 300, 64, 5, 90], strict=True))[:num])
    streams = {name: torch.randn(400, width) for name, width in dims.items()}
    trace = Trace()
    fused = AttentionPool(dims, dim=256, num_heads=num_heads)(streams, trace=trace)
    assert 0.7 < fused.std() < 1.4
    assert trace.records["attention"].amax(-1).mean() < 2.5 / (num + 1)
    assert trace.records["attention"].std(-1).mean() > 0.1 / (num + 1)


def test_the_query_is_one_row_for_each_head() -> None:
    merge = redraw(AttentionPool({"text": 4, "audio": 3}, 6, num_heads=2))
    expected = merge.query.weight @ merge.class_token + merge.query.bias
    torch.testing.assert_close(merge.class_query().flatten(), expected)
    assert merge.class_query().shape == (2, 3)


def official(dim: int, num_heads: int) -> dict[str, Tensor]:
    """A state dict of the official layer, without its head."""
    sizes = {
        "w_qs": (num_heads * dim, dim),
        "w_ks": (num_heads * dim, dim),
        "w_vs": (num_heads * dim, dim),
        "fc": (dim, num_heads * dim),
    }
    state = {f"attn.{name}.weight": torch.randn(size) / 2 for name, size in sizes.items()}
    state |= {f"attn.{name}.bias": torch.randn(size[0]) for name, size in sizes.items()}
    norm = {f"attn.layer_norm.{part}": torch.randn(dim) for part in ("weight", "bias")}
    return state | norm | {"cls_token": torch.randn(1, 1, dim), "rotate": torch.eye(dim)}


def official_layer(state: dict[str, Tensor], x: Tensor, y: Tensor, num_heads: int) -> Tensor:
    """The official formula: all tokens are queries, of which the first is rotated and read."""
    tokens = torch.cat([state["cls_token"].expand(len(x), -1, -1), x, y], 1)
    q, k, v = (
        F.linear(tokens, state[f"attn.{name}.weight"], state[f"attn.{name}.bias"])
        .unflatten(-1, (num_heads, -1))
        .transpose(1, 2)
        for name in ("w_qs", "w_ks", "w_vs")
    )
    q[:, :, 0] = q[:, :, 0] @ state["rotate"].T
    mixed = ((q / x.shape[-1] ** 0.5) @ k.mT).softmax(-1) @ v
    out = F.linear(mixed.transpose(1, 2).flatten(2), state["attn.fc.weight"], state["attn.fc.bias"])
    return out[:, 0]


@pytest.mark.parametrize(("num_heads", "rotated"), [(1, False), (1, True), (2, False)])
def test_official_weights_convert(num_heads: int, rotated: bool) -> None:
    state = official(6, num_heads)
    if rotated:
        state["rotate"] = torch.linalg.qr(torch.randn(6, 6)).Q
    dims = {"audio": 6, "video": 6}
    merge = AttentionPool(dims, num_heads=num_heads, faithful=True)
    merge.load_state_dict(convert_attention_pool(state, dims))
    x, y = torch.randn(4, 3, 6), torch.randn(4, 5, 6)
    expected = official_layer(state, x, y, num_heads)
    torch.testing.assert_close(merge({"audio": x, "video": y}), expected, rtol=1e-4, atol=1e-5)


def test_official_weights_of_another_width_are_refused() -> None:
    with pytest.raises(
        OptionError, match=r"^dims must all be 6, the width of the layer, got 5 for 'video'\.$"
    ):
        convert_attention_pool(official(6, 1), {"audio": 6, "video": 5})


def test_a_rotation_of_several_heads_is_refused() -> None:
    state = official(6, 2) | {"rotate": -torch.eye(6)}
    message = r"^rotate must be the identity where there are several heads, got another matrix for 2 heads\.$"
    with pytest.raises(OptionError, match=message):
        convert_attention_pool(state, {"audio": 6, "video": 6})


def test_no_head_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^num_heads must be at least 1, got 0\.$"):
        AttentionPool({"text": 4, "audio": 3}, num_heads=0)
