from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.errors import ModalityError, OptionError
from fuseloom.merge.nl_gate import NonLocalGate, convert_nl_gate
from fuseloom.types import Trace

Array = NDArray[np.float64]
DIMS = {"text": 4, "audio": 3, "video": 2}


def redraw(merge: NonLocalGate) -> NonLocalGate:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_()
    return merge


def linear(merge: NonLocalGate, part: str, name: str, value: Array) -> Array:
    state = {key: value.double().numpy() for key, value in merge.state_dict().items()}
    return np.asarray(value @ state[f"{part}.{name}.weight"].T + state.get(f"{part}.{name}.bias", 0.0))


def gated(merge: NonLocalGate, values: dict[str, Array]) -> tuple[Array, Array]:
    """One sample's real positions ``[N, D_m]``, query by query; result per position, and the weights."""
    queries = linear(merge, "query", merge.target, values[merge.target]).reshape(-1, merge.width)
    out, rows = queries.copy(), [[] for _ in queries]
    for name, value in values.items():
        if name == merge.target or not len(value):
            continue
        keys, found = (linear(merge, part, name, value).reshape(-1, merge.width) for part in ("key", "value"))
        for i, query in enumerate(queries):
            weights = np.exp(keys @ query / np.sqrt(merge.width))
            weights /= weights.sum()
            out[i] += weights @ found
            rows[i] += list(weights)
    return out.reshape(-1, merge.dim), np.array(rows)


def tokens(batch: int = 3) -> dict[str, Tensor]:
    lengths = {"text": 5, "audio": 2, "video": 4}
    return {name: torch.randn(batch, lengths[name], width) for name, width in DIMS.items()}


def samples(streams: dict[str, Tensor]) -> list[dict[str, Array]]:
    batch = len(next(iter(streams.values())))
    return [
        {n: v[i].double().numpy().reshape(-1, v.shape[-1]) for n, v in streams.items()} for i in range(batch)
    ]


@pytest.mark.parametrize("num_keys", [1, 3])
@pytest.mark.parametrize("num_queries", [1, 2])
@pytest.mark.parametrize("target", [None, "video"])
def test_the_targets_queries_attend_to_each_of_the_others(
    target: str | None, num_queries: int, num_keys: int
) -> None:
    options = {"target": target, "num_queries": num_queries, "num_keys": num_keys}
    merge, streams = redraw(NonLocalGate(DIMS, 6, **options)), tokens()
    expected = np.stack([gated(merge, sample)[0].mean(0) for sample in samples(streams)])
    assert merge.target == (target or "text")
    np.testing.assert_allclose(merge(streams).detach(), expected, rtol=1e-4, atol=1e-4)


def test_without_a_pool_the_targets_positions_remain() -> None:
    merge, streams = redraw(NonLocalGate(DIMS, 6, pool=None)), tokens()
    expected = np.stack([gated(merge, sample)[0] for sample in samples(streams)])
    np.testing.assert_allclose(merge(streams).detach(), expected, rtol=1e-4, atol=1e-4)


def test_pixels_ask_and_tokens_answer() -> None:
    merge = redraw(NonLocalGate({"rgb": 4, "text": 3}, 6, pool=None))
    rgb, text = torch.randn(2, 4, 5, 3), torch.randn(2, 7, 3)
    flat = samples({"rgb": rgb.permute(0, 2, 3, 1), "text": text})
    expected = np.stack([gated(merge, sample)[0].reshape(5, 3, 6).transpose(2, 0, 1) for sample in flat])
    np.testing.assert_allclose(merge({"rgb": rgb, "text": text}).detach(), expected, rtol=1e-4, atol=1e-4)


def test_only_real_tokens_ask_and_answer() -> None:
    merge, streams = redraw(NonLocalGate(DIMS, 6)), tokens()
    masks = {name: torch.rand(value.shape[:2]) < 0.6 for name, value in streams.items()}
    for mask in masks.values():
        mask[:, 0] = True
    expected = [
        gated(merge, {n: sample[n][masks[n][i].numpy()] for n in sample})[0].mean(0)
        for i, sample in enumerate(samples(streams))
    ]
    np.testing.assert_allclose(merge(streams, masks).detach(), np.stack(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("target", ["text", "audio"])
def test_without_the_target_the_others_remain_and_without_them_the_target(target: str, case: Any) -> None:
    merge = redraw(NonLocalGate(case.dims, 6, target=target))
    expected = []
    for i in range(4):
        values = {"audio": case.streams["audio"][i : i + 1] * case.present["audio"][i]}
        values["text"] = case.streams["text"][i][case.masks["text"][i]]
        for name in values:
            if not case.present[name][i]:  # a query of zeros, or no keys at all
                values[name] = torch.zeros(int(name == target), case.dims[name])
        ordered = {name: values[name].double().numpy() for name in case.dims}
        expected.append(gated(merge, ordered)[0].mean(0))
    fused = merge(case.streams, case.masks).detach()
    np.testing.assert_allclose(fused, np.stack(expected), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fused[3], merge.query[target].bias.detach())


@pytest.mark.parametrize(("num_keys", "most"), [(1, 1e-5), (4, torch.inf)])
def test_embeddings_interact_through_several_keys(num_keys: int, most: float) -> None:
    merge = redraw(NonLocalGate({"text": 4, "audio": 3}, num_keys=num_keys))
    text, audio = torch.randn(2, 20, 4), torch.randn(2, 20, 3)
    a, b, c, d = (merge({"text": t, "audio": s}).detach() for t in text for s in audio)
    mixed = float((a - b - c + d).abs().max())
    assert mixed <= most
    assert (mixed > 0.1) is (num_keys > 1)


def test_attention_is_recorded() -> None:
    merge, streams = redraw(NonLocalGate(DIMS, 6, num_queries=2, num_keys=3)), tokens()
    masks = {"audio": torch.tensor([[True, True], [True, False], [False, False]])}
    trace = Trace()
    merge(streams, masks, trace=trace)
    audio, video = (trace.records[f"text_from_{name}.attention"] for name in ("audio", "video"))
    assert (audio.shape, video.shape) == ((3, 1, 2 * 5, 3 * 2), (3, 1, 2 * 5, 3 * 4))
    expected = gated(merge, samples(streams)[0])[1]
    np.testing.assert_allclose(torch.cat([audio, video], -1)[0, 0], expected, rtol=1e-4, atol=1e-5)
    assert not audio[1, :, :, 3:].any()
    torch.testing.assert_close(audio.sum(-1), torch.tensor([1.0, 1.0, 0.0])[:, None, None].expand(3, 1, 10))
    kept_none = Trace(keep_records=False)
    merge(streams, masks, trace=kept_none)
    assert kept_none.records == {}


@pytest.mark.parametrize("rank", ["embedding", "tokens"])
def test_keys_are_filed_with_their_owner_and_queries_as_far_as_they_are_real(rank: str) -> None:
    merge = NonLocalGate({"text": 4, "audio": 3}, 6, num_queries=2, num_keys=3)
    where = () if rank == "embedding" else (2,)
    streams = {"text": torch.randn(3, *where, 4), "audio": torch.randn(3, *where, 3)}
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    mask = mask[:, 1] if rank == "embedding" else mask
    trace = Trace()
    merge(streams, {"text": mask, "audio": mask}, trace=trace)
    flat = mask.reshape(3, -1)
    found = {name: value for name, value in trace.records.items() if value.dtype == torch.bool}
    assert sorted(found) == [f"text_from_audio.attention.{what}" for what in ("asked", "of.audio")]
    assert found["text_from_audio.attention.of.audio"].equal(flat.repeat_interleave(3, 1))
    asking = flat | ~flat.any(1, keepdim=True)  # without the target its positions ask all the same
    assert found["text_from_audio.attention.asked"].equal(asking.repeat_interleave(2, 1))


@pytest.mark.parametrize("rank", ["embedding", "tokens"])
@pytest.mark.parametrize("num", [2, 6])
def test_the_output_starts_with_unit_order_for_standardised_inputs(num: int, rank: str) -> None:
    dims = dict.fromkeys("abcdef"[:num], 16)
    where = () if rank == "embedding" else (5,)
    streams = {name: torch.randn(100, *where, 16) for name in dims}
    merges = [NonLocalGate(dims, 24, pool=None) for _ in range(20)]
    spread = torch.stack([merge(streams).detach() for merge in merges]).std()
    assert 0.9 < spread < 1.3


def official(state: dict[str, Tensor], values: list[Tensor], queries: int, width: int, keys: int) -> Tensor:
    """The official formula: keys viewed as ``[c, tf]``, no division by the root of the width."""
    mapped = []
    for name, value in zip(("qli", "kli", "vli"), values, strict=True):
        weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
        mapped.append(value if weight is None else value @ weight.T + bias)
    query, value = mapped[0].view(-1, queries, width), mapped[2].view(-1, keys, width)
    scores = query @ mapped[1].view(-1, width, keys)
    return (query + scores.softmax(-1) @ value).flatten(1)


@pytest.mark.parametrize("keys", [1, 5])
@pytest.mark.parametrize("linears", ["", "qli", "kli vli", "qli kli vli"])
def test_official_weights_convert(linears: str, keys: int) -> None:
    asked = 7 if "qli" in linears else 12
    told = 6 if "kli" in linears else keys * 3
    sizes = {"qli": (12, asked), "kli": (keys * 3, told), "vli": (keys * 3, told)}
    state: dict[str, Tensor] = {}
    for name in linears.split():
        state |= {f"{name}.weight": torch.randn(sizes[name]), f"{name}.bias": torch.randn(sizes[name][0])}
    first, second = torch.randn(4, asked), torch.randn(4, told)
    dims = {"video": asked, "audio": told}
    merge = NonLocalGate(dims, 12, num_queries=4, num_keys=keys)
    merge.load_state_dict(convert_nl_gate(state, dims, width=3, num_keys=keys))
    expected = official(state, [first, second, second], 4, 3, keys)
    torch.testing.assert_close(merge({"video": first, "audio": second}), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["kli", "vli"])
def test_keys_and_values_of_another_size_do_not_convert(name: str) -> None:
    state = {f"{name}.weight": torch.ones(14, 15), f"{name}.bias": torch.ones(14)}
    message = rf"^{name} must give num_keys \* width = 15 features, got 14\.$"
    with pytest.raises(OptionError, match=message):
        convert_nl_gate(state, {"video": 12, "audio": 15}, width=3, num_keys=5)


def test_three_modalities_do_not_convert() -> None:
    with pytest.raises(
        OptionError, match=r"^dims must have two modalities, got \['audio', 'text', 'video'\]\.$"
    ):
        convert_nl_gate({}, DIMS, width=1, num_keys=1)


def test_one_modality_is_refused() -> None:
    with pytest.raises(
        ModalityError, match=r"^NonLocalGate must have at least 2 modalities, got 1: \['text'\]\.$"
    ):
        NonLocalGate({"text": 4})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_keys": 0}, r"^num_keys must be at least 1, got 0\.$"),
        ({"num_queries": 0}, r"^num_queries must be at least 1, got 0\.$"),
        ({"num_queries": 3}, r"^dim must be a multiple of num_queries=3, got 4\.$"),
        (
            {"target": "vide"},
            r"^target must be one of \['audio', 'text', 'video'\], got 'vide'\. Did you mean",
        ),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        NonLocalGate(DIMS, **options)
