import math
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.mult import Mult, convert_mult
from fuseloom.nn.crossmodal import halved_waves
from fuseloom.types import Trace

DIMS = {"text": 4, "audio": 6, "video": 5}


def plain_pair(part: Mult, pair: str, target: Tensor, source: Tensor) -> Tensor:
    """A crossmodal transformer of torch's own layers, on one sample whose tokens are all real."""
    state = part.state_dict()
    embedded = []
    for name, value in zip(pair.split("_from_"), (target, source), strict=True):
        hidden = value @ state[f"embed.{name}.weight"].T * math.sqrt(part.dim)
        embedded.append(hidden + halved_waves(len(value), part.dim, value))
    x, s = embedded
    count = len(part.encoder[pair].layers)
    for number in range(count):
        at = f"encoder.{pair}.layers.{number}."
        layer = {key.removeprefix(at): value for key, value in state.items() if key.startswith(at)}
        norm = nn.LayerNorm(part.dim)
        norm.load_state_dict({k: layer[f"attention.norm.{k}"] for k in ("weight", "bias")})
        attention = nn.MultiheadAttention(part.dim, 2)
        attention.load_state_dict(
            {
                "in_proj_weight": layer["attention.part.qkv.weight"],
                "in_proj_bias": layer["attention.part.qkv.bias"],
                "out_proj.weight": layer["attention.part.out.weight"],
                "out_proj.bias": layer["attention.part.out.bias"],
            }
        )
        x = x + attention(norm(x), norm(s), norm(s), need_weights=False)[0]
        norm.load_state_dict({k: layer[f"feedforward.norm.{k}"] for k in ("weight", "bias")})
        up, down = (
            (layer[f"feedforward.part.{n}.weight"], layer[f"feedforward.part.{n}.bias"])
            for n in ("up", "down")
        )
        x = x + nn.functional.linear(nn.functional.linear(norm(x), *up).relu(), *down)
    return nn.functional.layer_norm(
        x, (part.dim,), *(state[f"encoder.{pair}.norm.{k}"] for k in ("weight", "bias"))
    )


def test_it_is_a_transformer_of_torch_s_layers_per_pair_and_a_map_of_their_concatenation() -> None:
    dims = {"text": 4, "audio": 6, "video": 5}
    part = Mult(dims, dim=8, hidden=(10, 7), num_heads=2)
    given = {name: torch.randn(2, 3 + i, dims[name]) for i, name in enumerate(dims)}
    pairs = {
        f"{t}_from_{s}": torch.stack(
            [plain_pair(part, f"{t}_from_{s}", *sample) for sample in zip(given[t], given[s], strict=True)]
        )
        for t, s in permutations(dims, 2)
    }
    torch.testing.assert_close(dict(part.attend_pairs(given)), pairs, rtol=1e-4, atol=1e-5)
    for target, value in part(given).items():
        names = [f"{target}_from_{s}" for s in dims if s != target]
        joined = torch.cat([pairs[name] for name in names], -1)
        weight = torch.cat([part.out[name] for name in names], 1)
        torch.testing.assert_close(value, given[target] + joined @ weight.T, rtol=1e-4, atol=1e-5)


def test_masked_tokens_are_as_if_they_were_not_there_but_for_their_place(
    streams: dict[str, Tensor], masks: dict[str, Tensor]
) -> None:
    part = Mult(DIMS, num_heads=2)
    out = part(streams, masks)
    short = {name: value[2:3] for name, value in streams.items()}
    without = part(short, {"video": masks["video"][2:3]})
    torch.testing.assert_close(out["text"][2:3], without["text"])
    cut = {"text": torch.randn(1, 5, 4), "audio": torch.randn(1, 4, 6)}
    pair = Mult({name: DIMS[name] for name in cut}, num_heads=2)
    longer = pair(cut, {"audio": torch.tensor([[True, True, True, False]])})
    torch.testing.assert_close(longer["text"], pair({**cut, "audio": cut["audio"][:, :3]})["text"])


def test_a_sample_whose_sources_are_all_absent_keeps_its_values_exactly(
    streams: dict[str, Tensor], masks: dict[str, Tensor]
) -> None:
    out = Mult(DIMS)(streams, masks)
    assert out["text"][1, [0, 2]].equal(streams["text"][1, [0, 2]])
    assert not out["text"][1, 1].any()
    assert not any(value[3].any() for value in out.values())


def test_an_absent_source_gives_nothing(streams: dict[str, Tensor]) -> None:
    part = Mult(DIMS, dim=8)
    pair = Mult({name: DIMS[name] for name in ("text", "audio")}, dim=8)
    kept = {key: value for key, value in part.state_dict().items() if "video" not in key}
    pair.load_state_dict(kept)
    out = part(streams, {"video": torch.zeros(4, 2, 3, dtype=torch.bool)})
    expected = pair({name: streams[name] for name in ("text", "audio")})
    torch.testing.assert_close(out["text"], expected["text"])
    torch.testing.assert_close(out["audio"], expected["audio"])


def test_a_target_s_own_tokens_do_not_see_one_another(streams: dict[str, Tensor]) -> None:
    part, other = Mult(DIMS), streams["text"].clone()
    other[:, 2] = torch.randn(4, 4)
    out = part({**streams, "text": other})["text"]
    torch.testing.assert_close(out[:, :2], part(streams)["text"][:, :2])


def test_places_tell_the_order_of_the_source(streams: dict[str, Tensor]) -> None:
    part = Mult(DIMS)
    turned = part({**streams, "video": streams["video"].transpose(2, 3).reshape(4, 5, 2, 3)})
    assert (turned["text"] - part(streams)["text"]).abs().max() > 1e-3


@pytest.mark.parametrize(("targets", "sources"), [(4, 4), (3, 5), (5, 3)])
def test_a_causal_target_does_not_look_ahead(targets: int, sources: int) -> None:
    part = Mult({"a": 4, "b": 4}, causal=True)
    values = {"a": torch.randn(1, targets, 4), "b": torch.randn(1, sources, 4, requires_grad=True)}
    out = part(values)["a"]
    for i in range(targets):
        (gradient,) = torch.autograd.grad(out[0, i].square().sum(), values["b"], retain_graph=True)
        seen = gradient[0].abs().sum(-1) > 0
        assert seen.tolist() == [j - i <= abs(sources - targets) for j in range(sources)]


def test_a_causal_token_with_nothing_real_to_see_is_finite() -> None:
    part = Mult({"a": 4, "b": 4}, causal=True)
    values = {name: torch.randn(1, 3, 4, requires_grad=True) for name in "ab"}
    out = part(values, {"b": torch.tensor([[False, True, True]])})
    gradients = torch.autograd.grad(sum(v.square().sum() for v in out.values()), list(values.values()))
    assert all(value.isfinite().all() for value in (*out.values(), *gradients))


def test_faithful_takes_a_zero_for_padding() -> None:
    dims, value = {"a": 4, "b": 4}, torch.randn(1, 3, 4)
    part = Mult(dims, dim=4, faithful=True)
    plain = Mult(dims, dim=4)
    plain.load_state_dict(part.state_dict())
    with torch.no_grad():
        for one in (part, plain):
            one.embed["b"].weight.copy_(torch.eye(4))
    zero = value.clone()
    zero[0, 1, 0] = 0
    both = [one({"a": value, "b": value})["a"] for one in (part, plain)]
    torch.testing.assert_close(*both)
    both = [one({"a": value, "b": zero})["a"] for one in (part, plain)]
    assert (both[0] - both[1]).abs().max() > 1e-3


def test_records_are_distributions_over_the_source_s_real_tokens(
    streams: dict[str, Tensor], masks: dict[str, Tensor]
) -> None:
    trace = Trace()
    Mult(DIMS, hidden=(8,), num_heads=2)(streams, masks, trace=trace)
    attention = {name for name in trace.records if name.endswith("attention")}
    assert attention == {f"{t}_from_{s}.layer.0.attention" for t, s in permutations(DIMS, 2)}
    weights = trace.records["text_from_video.layer.0.attention"]
    kept = masks["video"].flatten(1)
    assert trace.records["text_from_video.layer.of.video"].equal(kept)
    assert trace.records["video_from_text.layer.asked"].equal(kept)
    assert weights.shape == (4, 2, 3, 6)
    torch.testing.assert_close(weights.sum(-1), kept.any(1).float()[:, None, None].expand(4, 2, 3))
    assert (weights > 0).equal(kept[:, None, None].expand_as(weights))


def test_updates_start_as_large_as_the_streams() -> None:
    dims = dict.fromkeys(("a", "b", "c"), 32)
    given = {name: torch.randn(50, 6, 32) for name in dims}
    update = Mult(dims)(given)["a"] - given["a"]
    assert 0.5 < update.std() < 2


def test_weights_of_a_pair_stay_when_a_modality_is_added() -> None:
    few, many = Mult({"a": 4, "b": 3}, dim=4), Mult({"a": 4, "b": 3, "c": 5}, dim=4)
    more = many.state_dict()
    assert {key: value.shape for key, value in few.state_dict().items()} == {
        key: more[key].shape for key in few.state_dict()
    }


def test_official_keys_are_converted_and_equal_widths_enter_as_they_are() -> None:
    part = Mult({"text": 4, "audio": 3}, dim=4, hidden=(16,), num_heads=2)
    out = {"text_from_audio": torch.randn(4, 4), "audio_from_text": torch.randn(3, 4)}
    norm = {"layer_norm.weight": torch.randn(4), "layer_norm.bias": torch.randn(4)}
    official = {"proj_l.weight": torch.randn(4, 4, 1), "proj_a.weight": torch.randn(4, 3, 1)}
    official |= {f"trans_l_with_a.{key}": value for key, value in norm.items()}
    official |= {f"trans_a_with_l.{key}": value for key, value in norm.items()}
    converted = convert_mult(official | {"out_layer.bias": torch.ones(1)}, {"text": "l", "audio": "a"}, out)
    assert converted.keys() <= part.state_dict().keys()
    assert converted["embed.text.weight"].equal(torch.eye(4))
    assert converted["embed.audio.weight"].equal(official["proj_a.weight"][..., 0])
    assert converted["encoder.text_from_audio.norm.bias"] is norm["layer_norm.bias"]
    assert converted["out.audio_from_text"] is out["audio_from_text"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 0}, r"^num_heads must be at least 1, got 0\."),
        ({"num_heads": 3, "dim": 8}, r"^dim must be a multiple of num_heads=3, got 8\.$"),
        ({"hidden": ()}, r"^hidden must be one width of at least 1 per layer, got \[\]\.$"),
        ({"dropout": 1.0}, r"^dropout must be in \[0, 1\), got 1\.0\.$"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Mult(DIMS, **options)


def test_one_modality_has_nobody_to_attend_to() -> None:
    with pytest.raises(ModalityError, match="Mult must have at least 2 modalities, got 1"):
        Mult({"text": 4})
