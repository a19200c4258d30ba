import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.cross_attention import CrossAttention
from fuseloom.types import Trace

DIMS = {"text": 4, "audio": 6, "video": 5}
Array = NDArray[np.float64]


def tokens(value: Tensor) -> Array:
    wide = value.detach().double()
    if wide.dim() == 2:
        return wide[:, None].numpy()
    return (wide.flatten(2).transpose(1, 2) if wide.dim() == 4 else wide).numpy()


def plain_exchange(
    part: CrossAttention, streams: dict[str, Tensor], masks: dict[str, Tensor]
) -> dict[str, Array]:
    """Per sample, target, head and query: a softmax over the kept tokens of all other modalities."""
    state = {name: value.double().numpy() for name, value in part.state_dict().items()}

    def project(which: str, name: str, value: Array) -> Array:
        return np.asarray(value @ state[f"{which}.{'shared' if part.shared else name}.weight"].T)

    values = {name: tokens(value) for name, value in streams.items()}
    kept = {name: masks[name].reshape(4, -1).numpy() for name in streams}
    out, width = {}, part.dim // part.num_heads
    for target in streams:
        out[target] = values[target] * kept[target][..., None]
        for b, i in zip(*np.nonzero(kept[target]), strict=True):
            query = project("query", target, values[target][b, i])
            others = [(n, x) for n in streams if n != target for x in values[n][b][kept[n][b]]]
            if not others:
                continue
            key = np.stack([project("key", n, x) for n, x in others])
            value = np.stack([project("value", n, x) for n, x in others])
            mixed = np.zeros(part.dim)
            for head in range(part.num_heads):
                cut = slice(head * width, (head + 1) * width)
                share = np.exp(key[:, cut] @ query[cut] / np.sqrt(width))
                mixed[cut] = share / share.sum() @ value[:, cut]
            out[target][b, i] += project("out", target, mixed)
    return out


@pytest.mark.parametrize(("num_heads", "dim"), [(1, None), (2, 8), (3, None)])
def test_it_is_the_plain_loop_over_samples_heads_and_tokens(
    streams: dict[str, Tensor], masks: dict[str, Tensor], num_heads: int, dim: int | None
) -> None:
    part = CrossAttention(DIMS, num_heads=num_heads, dim=dim)
    out = part(streams, masks)
    expected = plain_exchange(part, streams, masks)
    for name in DIMS:
        assert out[name].shape == streams[name].shape
        np.testing.assert_allclose(tokens(out[name]), expected[name], rtol=1e-4, atol=1e-5)


def test_shared_projections_serve_every_modality(masks: dict[str, Tensor]) -> None:
    dims = dict.fromkeys(DIMS, 4)
    streams = {"text": torch.randn(4, 3, 4), "audio": torch.randn(4, 4), "video": torch.randn(4, 4, 2, 3)}
    part = CrossAttention(dims, num_heads=2, shared=True)
    assert set(part.state_dict()) == {f"{name}.shared.weight" for name in ("query", "key", "value", "out")}
    out, expected = part(streams, masks), plain_exchange(part, streams, masks)
    for name in dims:
        np.testing.assert_allclose(tokens(out[name]), expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("targets", [["text"], ("video", "text")])
def test_targets_attend_as_if_all_did_and_the_others_stay_as_they_are(
    streams: dict[str, Tensor], masks: dict[str, Tensor], targets: list[str]
) -> None:
    whole, part = CrossAttention(DIMS, num_heads=2), CrossAttention(DIMS, num_heads=2, targets=targets)
    own = part.state_dict().keys()
    part.load_state_dict({name: value for name, value in whole.state_dict().items() if name in own})
    trace = Trace()
    out, expected = part(streams, masks, trace=trace), whole(streams, masks)
    for name in DIMS:
        kept = streams[name].masked_fill(~masks[name].unsqueeze(1 if name == "video" else -1), 0)
        assert out[name].equal(expected[name] if name in targets else kept)
    attended = {name for name in trace.records if name.endswith("others")}
    assert attended == {f"{name}_from_others" for name in targets}


def test_one_of_two_that_attends_needs_no_projections_for_what_it_never_asks() -> None:
    part = CrossAttention({"text": 4, "audio": 6}, targets=["text"])
    assert set(part.state_dict()) == {
        f"{name}.weight" for name in ("query.text", "key.audio", "value.audio", "out.text")
    }


def test_a_sample_whose_others_are_absent_keeps_its_values_exactly(
    streams: dict[str, Tensor], masks: dict[str, Tensor]
) -> None:
    out = CrossAttention(DIMS)(streams, masks)
    assert out["text"][1, [0, 2]].equal(streams["text"][1, [0, 2]])
    assert not out["text"][1, 1].any()
    assert not out["audio"][1].any()
    assert not any(value[3].any() for value in out.values())


def test_one_absent_modality_leaves_its_weight_to_the_others(streams: dict[str, Tensor]) -> None:
    part = CrossAttention(DIMS)
    pair = CrossAttention({name: DIMS[name] for name in ("text", "audio")}, dim=part.dim)
    pair.load_state_dict({key: value for key, value in part.state_dict().items() if ".video." not in key})
    out = part(streams, {"video": torch.zeros(4, 2, 3, dtype=torch.bool)})
    expected = pair({name: streams[name] for name in ("text", "audio")})
    torch.testing.assert_close(out["text"], expected["text"])
    torch.testing.assert_close(out["audio"], expected["audio"])


def test_records_are_distributions_over_the_others_real_tokens(
    streams: dict[str, Tensor], masks: dict[str, Tensor]
) -> None:
    trace = Trace()
    CrossAttention(DIMS, num_heads=2)(streams, masks, trace=trace)
    assert [n for n in trace.records if n.endswith("others")] == [f"{name}_from_others" for name in DIMS]
    weights = trace.records["text_from_others"]  # one token of audio, six of video
    kept = torch.cat([masks["audio"][:, None], masks["video"].flatten(1)], 1)
    assert weights.shape == (4, 2, 3, 7)
    torch.testing.assert_close(weights.sum(-1), kept.any(1).float()[:, None, None].expand(4, 2, 3))
    assert (weights > 0).equal(kept[:, None, None].expand_as(weights))
    assert trace.records["text_from_others.of.audio"].equal(kept & (torch.arange(7) == 0))
    assert trace.records["text_from_others.of.video"].equal(kept & (torch.arange(7) > 0))
    assert trace.records["video_from_others.asked"].equal(masks["video"].flatten(1))


def test_records_explain_the_output(streams: dict[str, Tensor]) -> None:
    part, trace = CrossAttention(DIMS), Trace()
    out = part(streams, trace=trace)
    values = torch.cat(
        [
            part.value["audio"](streams["audio"][:, None]),
            part.value["video"](streams["video"].flatten(2).transpose(1, 2)),
        ],
        1,
    )
    mixed = part.out["text"](trace.records["text_from_others"][:, 0] @ values)
    torch.testing.assert_close(out["text"], streams["text"] + mixed)


def test_dropout_acts_in_training_alone(streams: dict[str, Tensor]) -> None:
    part = CrossAttention(DIMS, dropout=0.9)
    first, second = part(streams)["text"], part(streams)["text"]
    assert not first.equal(second)
    still = CrossAttention(DIMS)
    still.load_state_dict(part.state_dict())
    torch.testing.assert_close(part.eval()(streams)["text"], still(streams)["text"])


@pytest.mark.parametrize(("num_heads", "expected"), [(1, 6), (4, 8), (6, 6)])
def test_the_inner_width_is_the_widest_rounded_up_to_the_heads(num_heads: int, expected: int) -> None:
    assert CrossAttention(DIMS, num_heads=num_heads).dim == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 0}, r"^num_heads must be at least 1, got 0\.$"),
        ({"num_heads": 3, "dim": 8}, r"^dim must be a positive multiple of num_heads=3, got 8\.$"),
        ({"dim": 0}, r"^dim must be a positive multiple of num_heads=1, got 0\.$"),
        ({"dropout": 1.0}, r"^dropout must be in \[0, 1\), got 1\.0\.$"),
        ({"dropout": -0.1}, r"^dropout must be in \[0, 1\), got -0\.1\.$"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        CrossAttention(DIMS, **options)


def test_targets_must_be_modalities_and_one_at_least() -> None:
    with pytest.raises(
        ModalityError, match=r"targets must be of \['audio', 'text', 'video'\], got 'vidio'\. Did .* 'video'"
    ):
        CrossAttention(DIMS, targets=["vidio"])
    with pytest.raises(OptionError, match=r"^targets must be one modality at least, got none\.$"):
        CrossAttention(DIMS, targets=[])


def test_shared_projections_need_equal_widths() -> None:
    with pytest.raises(
        ModalityError, match=r"^Widths must be equal where shared=True, got .*\. Pass shared=False"
    ):
        CrossAttention(DIMS, shared=True)


def test_one_modality_has_nobody_to_attend_to() -> None:
    with pytest.raises(ModalityError, match="CrossAttention must have at least 2 modalities, got 1"):
        CrossAttention({"text": 4})
