import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fuseloom import create
from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.cls_exchange import ClsExchange
from fuseloom.testing import check_exchange
from fuseloom.types import Trace

DIMS = {"text": 4, "image": 4, "audio": 4}
LENGTHS = {"text": 7, "image": 12, "audio": 5}
SEEDS = st.integers(0, 999)
OPTIONS = st.fixed_dictionaries(
    {
        "theta": st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]),
        "mode": st.sampled_from(["add", "replace"]),
        "rule": st.sampled_from(["quantile", "threshold"]),
    }
)


def drawn(seed: int = 0, batch: int = 4) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Streams, distinct scores, and masks: all, one modality only, nothing, at random."""
    g = torch.Generator().manual_seed(seed)
    streams = {n: torch.randn(batch, length, 4, generator=g) for n, length in LENGTHS.items()}
    scores = {n: torch.rand(batch, length, generator=g) for n, length in LENGTHS.items()}
    masks = {n: torch.rand(batch, length, generator=g) < 0.7 for n, length in LENGTHS.items()}
    for name, mask in masks.items():
        mask[0], mask[1], mask[2] = True, name == "text", False
    return streams, scores, masks


def plain(
    part: ClsExchange,
    streams: Mapping[str, Tensor],
    scores: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """One sample, modality and token at a time, by the definition."""
    out = {n: value * masks[n][..., None] for n, value in streams.items()}
    for name, value in streams.items():
        for b in range(len(value)):
            others = [streams[o][b][masks[o][b]].mean(0) for o in streams if o != name and masks[o][b].any()]
            real = [j for j in range(1, value.shape[1]) if masks[name][b, j]]
            if not others or not real:
                continue
            ranked = sorted(float(scores[name][b, j]) for j in real)
            rank = math.ceil(round(OPTION_THETA[part] * (len(real) - 1), 9))
            mean = torch.stack(others).mean(0)
            for j in real:
                if scores[name][b, j] < ranked[rank]:
                    out[name][b, j] = mean if OPTION_MODE[part] == "replace" else value[b, j] + mean
    return out


OPTION_THETA: dict[ClsExchange, float] = {}
OPTION_MODE: dict[ClsExchange, str] = {}


@pytest.mark.parametrize("mode", ["add", "replace"])
@pytest.mark.parametrize("theta", [0.0, 0.1, 0.4, 0.5, 1.0])
def test_it_is_the_plain_loop_over_samples_and_tokens(theta: float, mode: Any) -> None:
    part = ClsExchange(DIMS, theta=theta, mode=mode)
    OPTION_THETA[part], OPTION_MODE[part] = theta, mode
    streams, scores, masks = drawn()
    found, expected = part(streams, masks, scores=scores), plain(part, streams, scores, masks)
    for name in DIMS:
        torch.testing.assert_close(found[name], expected[name])


@given(seed=SEEDS, theta=st.sampled_from([0.0, 0.1, 0.3, 0.4, 0.55, 2 / 3, 1.0]))
def test_as_many_are_chosen_as_the_formula_says(seed: int, theta: float) -> None:
    streams, scores, masks = drawn(seed)
    trace = Trace()
    ClsExchange(DIMS, theta=theta)(streams, masks, scores=scores, trace=trace)
    talks = torch.stack([mask.any(1) for mask in masks.values()])
    for place, name in enumerate(DIMS):
        count = masks[name][:, 1:].sum(1)
        heard = (talks.sum(0) - talks[place].long()) > 0
        wanted = [
            math.ceil(round(theta * max(n - 1, 0), 9)) * int(h)
            for n, h in zip(count.tolist(), heard, strict=True)
        ]
        assert trace.records[f"{name}.selected"].sum(1).tolist() == wanted


@given(seed=SEEDS, options=OPTIONS)
def test_what_is_not_chosen_stays_to_the_last_bit(seed: int, options: dict[str, Any]) -> None:
    streams, scores, masks = drawn(seed)
    trace = Trace()
    out = ClsExchange(DIMS, **options)(streams, masks, scores=scores, trace=trace)
    for name, value in streams.items():
        kept = ~trace.records[f"{name}.selected"] & masks[name]
        assert out[name][kept].equal(value[kept])
        assert not trace.records[f"{name}.selected"][:, 0].any()
        assert not trace.records[f"{name}.selected"][~masks[name]].any()


@given(seed=SEEDS, rule=st.sampled_from(["quantile", "threshold"]), mode=st.sampled_from(["add", "replace"]))
def test_with_theta_zero_nothing_is_chosen_and_it_is_the_identity(seed: int, rule: Any, mode: Any) -> None:
    streams, scores, _ = drawn(seed)
    out = ClsExchange(DIMS, theta=0.0, rule=rule, mode=mode)(streams, scores=scores)
    assert all(out[name].equal(value) for name, value in streams.items())


@given(seed=SEEDS)
def test_replacing_twice_with_the_same_choice_replaces_the_same_tokens_by_the_new_means(seed: int) -> None:
    streams, scores, _ = drawn(seed)
    part, trace = ClsExchange(DIMS, theta=0.5, mode="replace"), Trace()
    once = part(streams, scores=scores)
    twice = part(once, scores=scores, trace=trace)
    for name in DIMS:
        chosen = trace.records[f"{name}.selected"]
        mean = torch.stack([once[other].mean(1) for other in DIMS if other != name]).mean(0)
        assert twice[name][~chosen].equal(streams[name][~chosen])
        torch.testing.assert_close(twice[name][chosen], mean[:, None].expand_as(once[name])[chosen])


@given(seed=SEEDS, options=OPTIONS)
def test_it_is_equivariant_under_permutations_behind_the_cls(seed: int, options: dict[str, Any]) -> None:
    streams, scores, masks = drawn(seed)
    part, g = ClsExchange(DIMS, **options), torch.Generator().manual_seed(seed)
    moved = {
        n: torch.cat([torch.zeros(1).long(), torch.randperm(x.shape[1] - 1, generator=g) + 1])
        for n, x in streams.items()
    }
    out = part(streams, masks, scores=scores)
    turned = part(
        *({n: v[:, moved[n]] for n, v in given.items()} for given in (streams, masks)),
        scores={n: v[:, moved[n]] for n, v in scores.items()},
    )
    for name in DIMS:
        torch.testing.assert_close(turned[name], out[name][:, moved[name]])


@given(seed=SEEDS, options=OPTIONS)
def test_permuted_names_permute_the_outputs(seed: int, options: dict[str, Any]) -> None:
    streams, scores, masks = drawn(seed)
    names = {"text": "audio", "image": "text", "audio": "image"}
    part = ClsExchange(DIMS, **options)
    out = part(streams, masks, scores=scores)
    turned = part(
        {names[n]: v for n, v in streams.items()},
        {names[n]: v for n, v in masks.items()},
        scores={names[n]: v for n, v in scores.items()},
    )
    for name in DIMS:
        torch.testing.assert_close(turned[names[name]], out[name])


def test_theta_may_differ_per_modality_and_a_threshold_is_absolute() -> None:
    streams, scores, _ = drawn()
    trace = Trace()
    theta = {"text": 0.2, "image": 0.9, "audio": 0.0}
    part = ClsExchange(DIMS, theta=theta, rule="threshold")
    part(streams, scores=scores, trace=trace)
    for name, bound in theta.items():
        assert trace.records[f"{name}.selected"][:, 1:].equal(scores[name][:, 1:] < bound)
        assert trace.records[f"{name}.threshold"].tolist() == pytest.approx([bound] * 4)
    assert (part.card.symmetric, ClsExchange(DIMS).card.symmetric) == (False, True)


def test_gradients_reach_all_tokens_of_the_others_and_replaced_tokens_get_none() -> None:
    streams, scores, masks = drawn()
    leaves = {n: v.requires_grad_() for n, v in streams.items()}
    trace = Trace()
    out = ClsExchange(DIMS, theta=0.5, mode="replace")(leaves, masks, scores=scores, trace=trace)
    found = torch.autograd.grad(out["text"].square().sum(), list(leaves.values()))
    own, other = found[0], found[1]
    assert (own.abs().sum(-1) > 0).equal(masks["text"] & ~trace.records["text.selected"])
    assert (other[0].abs().sum(-1) > 0).all()
    assert not other[1:3].any()  # absent there


def test_unequal_widths_are_bridged_by_a_map_per_ordered_pair() -> None:
    part = ClsExchange({"text": 4, "image": 6, "audio": 6}, theta=1.0, mode="replace", prefix=0)
    assert sorted(part.bring) == ["audio_from_text", "image_from_text", "text_from_audio", "text_from_image"]
    streams = {"text": torch.randn(2, 3, 4), "image": torch.randn(2, 5, 6), "audio": torch.randn(2, 4, 6)}
    scores = {n: torch.arange(v.shape[1]).expand(2, -1).float() for n, v in streams.items()}
    out = part(streams, scores=scores)
    means = {n: v.mean(1) for n, v in streams.items()}
    to_text = (
        part.bring["text_from_image"](means["image"]) + part.bring["text_from_audio"](means["audio"])
    ) / 2
    torch.testing.assert_close(out["text"][:, 0], to_text)
    to_image = (part.bring["image_from_text"](means["text"]) + means["audio"]) / 2
    torch.testing.assert_close(out["image"][:, 1], to_image)


@pytest.mark.parametrize("score", ["attention", "cosine", "norm", "other_cls"])
def test_the_lowest_scores_of_the_stream_itself_are_chosen(score: Any) -> None:
    streams, _, masks = drawn()
    trace = Trace()
    ClsExchange(DIMS, theta=0.4, score=score)(streams, masks, trace=trace)
    text = streams["text"][0]
    other = torch.stack([streams[n][0, 0] for n in ("image", "audio")]).mean(0)
    wanted = {
        "attention": text @ text[0],
        "cosine": text @ text[0] / text.norm(dim=1),
        "norm": text.norm(dim=1),
        "other_cls": text @ other / text.norm(dim=1),
    }[score]
    lowest = wanted[1:].argsort()[:2] + 1  # ceil(0.4 * 5)
    assert set(trace.records["text.selected"][0].nonzero()[:, 0].tolist()) == set(lowest.tolist())


@pytest.mark.parametrize("mode", ["add", "replace"])
def test_a_learned_score_falls_where_receiving_would_have_helped(mode: Any) -> None:
    part = create("cls_exchange", DIMS, score="learned", theta=0.5, mode=mode)
    streams, _, masks = drawn()
    trace = Trace()
    out = part(streams, masks, trace=trace)
    plain_part = ClsExchange(DIMS, theta=0.5, mode=mode)
    hard = plain_part(streams, masks, scores={n: trace.records[f"{n}.scores"] for n in DIMS})
    assert all(out[n].equal(hard[n]) for n in DIMS)  # the gradient costs no bit of the output
    mean = torch.stack([streams[n][0].mean(0) for n in ("image", "audio")]).mean(0)
    effect = mean - streams["text"][0] if mode == "replace" else mean.expand(7, 4)
    weight = torch.randn(7, 4)
    slope = part.score["text"].linear
    (out["text"][0] * weight).sum().backward()
    share = torch.sigmoid(slope(streams["text"][0]))[:, 0].detach()
    per_token = -(effect * weight).sum(1) * share * (1 - share)
    per_token[0] = 0
    torch.testing.assert_close(slope.weight.grad[0], per_token @ streams["text"][0], rtol=1e-4, atol=1e-5)


def test_the_faithful_form_counts_averages_and_exchanges_padding() -> None:
    streams, scores, _ = drawn()
    masks = {n: torch.arange(s.shape[1]).expand(4, -1) < s.shape[1] - 1 for n, s in scores.items()}
    scores = {n: s.masked_fill(~masks[n], 0) for n, s in scores.items()}
    trace = Trace()
    part = ClsExchange(DIMS, theta=0.5, faithful=True)
    out = part(streams, masks, scores=scores, trace=trace)
    zeroed = {n: v * masks[n][..., None] for n, v in streams.items()}
    unmasked, seen = ClsExchange(DIMS, theta=0.5), Trace()
    expected = unmasked(zeroed, scores=scores, trace=seen)
    assert trace.records["text.selected"].equal(seen.records["text.selected"])
    assert (trace.records["text.selected"] & ~masks["text"]).any()
    torch.testing.assert_close(out["text"], expected["text"] * masks["text"][..., None])
    # The longer stream is exchanged as far as the first one is long.
    assert not trace.records["image.selected"][:, LENGTHS["text"] :].any()
    assert seen.records["image.selected"][:, LENGTHS["text"] :].any()


def reads(streams: dict[str, Tensor], masks: dict[str, Tensor]) -> dict[str, Any]:
    places = {n: torch.arange(v.shape[1], device=v.device).expand(v.shape[:2]) for n, v in streams.items()}
    return {"scores": {n: (place * 7 % 5).float() for n, place in places.items()}}


@pytest.mark.slow
@pytest.mark.compile
def test_the_contract_holds_with_scores_given() -> None:
    # With scores that do not depend on the values, the exchange adds the modalities: no order beyond that.
    skip = ("interaction_as_claimed",)
    check_exchange(lambda dims: ClsExchange(dims, theta=0.5), reads=reads, skip=skip)


class Count(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            self.operations.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("masked", "most"), [(False, 40), (True, 60)])
@pytest.mark.parametrize("mode", ["add", "replace"])
def test_few_operations_at_the_published_size(masked: bool, most: int, mode: Any) -> None:
    dims = {"text": 768, "image": 768}
    streams = {name: torch.randn(40, 65, 768) for name in dims}
    scores = {name: torch.rand(40, 65) for name in dims}
    masks = {name: torch.rand(40, 65) < 0.8 for name in dims} if masked else None
    part = ClsExchange(dims, mode=mode)
    with Count() as count:
        part(streams, masks, scores=scores)
    assert len(count.operations) <= most, count.operations
    assert not any("item" in name or "local_scalar" in name or "nonzero" in name for name in count.operations)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"theta": 1.5}, r"^theta must be in \[0, 1\] for rule='quantile', got 1\.5\.$"),
        ({"theta": float("nan"), "rule": "threshold"}, r"^theta must be finite, got nan\.$"),
        (
            {"rule": "quantiles"},
            r"^rule must be one of \['quantile', 'threshold'\], got 'quantiles'\. Did you mean",
        ),
        ({"mode": "swap"}, r"^mode must be one of \['add', 'replace'\], got 'swap'\."),
        ({"score": "nrm"}, r"^score must be one of .*, got 'nrm'\. Did you mean 'norm'"),
        ({"prefix": -1}, r"^prefix must be at least 0, got -1\.$"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ClsExchange(DIMS, **options)


def test_theta_names_every_modality() -> None:
    with pytest.raises(
        ModalityError, match=r"^theta must name \['audio', 'image', 'text'\], got \['text'\]\.$"
    ):
        ClsExchange(DIMS, theta={"text": 0.1})


def test_scores_must_fit_the_streams() -> None:
    streams, scores, _ = drawn()
    part = ClsExchange(DIMS)
    with pytest.raises(ModalityError, match=r"^scores must be given for .*, got \['text'\]\.$"):
        part(streams, scores={"text": scores["text"]})
    with pytest.raises(
        ModalityError, match=r"scores of 'image' must be \[B, N\] of shape \(4, 12\), got \(4, 7\)"
    ):
        part(streams, scores=scores | {"image": scores["text"]})
    with pytest.raises(OptionError, match="ClsExchange does not read 'scores'"):
        ClsExchange(DIMS, score="norm")(streams, scores=scores)
