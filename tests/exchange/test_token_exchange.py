"""Tokens that are scored low take those of another modality."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseloom import Alignment, Trace
from fuseloom.errors import MaskError, ModalityError, OptionError
from fuseloom.exchange.token_exchange import TokenExchange, convert_token_exchange
from fuseloom.testing import Case, exchange_clauses

DIMS = dict.fromkeys(("rgb", "depth", "points"), 4)
PAIR = {"rgb": 4, "depth": 4}


def streams(names=PAIR, *, count=6, batch=3):
    return {name: torch.randn(batch, count, 4) for name in names}


def scores(values):
    """About half of them below the threshold."""
    drawn = {name: torch.rand(value.shape[:2]) for name, value in values.items()}
    return {name: torch.where(score < 0.5, score / 50, score) for name, score in drawn.items()}


def masks_like(values):
    return {name: torch.rand(value.shape[:2]) < 0.6 for name, value in values.items()}


def pairs_of(alignment, sample, place):
    """Source tokens and weights that are aligned to a target token."""
    rows = zip(
        *(getattr(alignment, f)[sample].tolist() for f in ("source_index", "target_index", "weight")),
        strict=True,
    )
    return [(source, weight) for source, target, weight in rows if target == place and source >= 0]


def given_at(source, values, masks, keep, *, aligned, place, update):
    """Token and score that a modality has for a place of a sample, or None."""
    sample, _ = place
    found = [
        (
            values[source][sample, i] * (keep[source][sample, i] if update else 1),
            keep[source][sample, i],
            weight,
        )
        for i, weight in aligned
        if i < values[source].shape[1] and (source not in masks or masks[source][sample, i])
    ]
    total = sum(weight for *_, weight in found)
    if not found:
        return None
    return tuple(sum(row[k] * row[2] for row in found) / total for k in (0, 1))


def plain(values, keep, masks, *, update, choose, alignments=None):
    """Sample after sample and token after token."""
    out = {}
    for target, own in values.items():
        new = own * keep[target][..., None] if update else own.clone()
        for place in torch.ones(own.shape[:2], dtype=torch.bool).nonzero().tolist():
            if target in masks and not masks[target][tuple(place)]:
                new[tuple(place)] = 0
            elif keep[target][tuple(place)] < 0.02:
                others = [n for n in values if n != target]
                gifts = {}
                for source in others:
                    key = f"{target}_from_{source}"
                    aligned = pairs_of(alignments[key], *place) if alignments else [(place[1], 1.0)]
                    gifts[source] = given_at(
                        source, values, masks, keep, aligned=aligned, place=place, update=update
                    )
                there = [n for n in others if gifts[n] is not None]
                if there:
                    new[tuple(place)] = gifts[choose(there, others, gifts, place[1])][0]
        out[target] = new
    return out


def best(there, others, gifts, place):
    return max(there, key=lambda name: gifts[name][1])


def only(there, others, gifts, place):
    (name,) = there
    return name


@pytest.mark.parametrize("form", ["update", "token"])
@pytest.mark.parametrize("masked", [False, True])
def test_two_modalities_are_the_plain_loop_over_tokens(form, masked):
    values = streams()
    keep, masks = scores(values), masks_like(values) if masked else {}
    out = TokenExchange(PAIR, form=form)(values, masks, keep=keep)
    torch.testing.assert_close(out, plain(values, keep, masks, update=form == "update", choose=only))


def test_the_form_of_the_paper_is_its_formula():
    values = streams()
    keep = scores(values)
    (a, b), (s, t) = values.values(), keep.values()
    out = TokenExchange(PAIR, form="token")(values, keep=keep)
    s, t = ((score >= 0.02).float()[..., None] for score in (s, t))
    torch.testing.assert_close(out["rgb"], a * s + b * (1 - s))
    torch.testing.assert_close(out["depth"], b * t + a * (1 - t))


@pytest.mark.parametrize("form", ["update", "token"])
@pytest.mark.parametrize("masked", [False, True])
def test_of_several_donors_the_best_scored_real_one_gives(form, masked):
    values = streams(DIMS)
    keep, masks = scores(values), masks_like(values) if masked else {}
    out = TokenExchange(DIMS, form=form, choose="score")(values, masks, keep=keep)
    torch.testing.assert_close(out, plain(values, keep, masks, update=form == "update", choose=best))


def test_of_several_donors_all_take_turns():
    values = {name: torch.full((2, 30, 4), float(i)) for i, name in enumerate(DIMS)}
    keep = {name: torch.zeros(2, 30) for name in DIMS}
    out = TokenExchange(DIMS, form="token")(values, keep=keep)
    for i, name in enumerate(DIMS):
        found = out[name][0, :, 0].long().bincount(minlength=3)
        assert found.tolist() == [0 if k == i else 15 for k in range(3)]
    absent = {"points": torch.zeros(2, 30, dtype=torch.bool)}
    out = TokenExchange(DIMS, form="token")(values, absent, keep=keep)
    assert out["rgb"].eq(1).all()
    assert out["depth"].eq(0).all()


def alignments(values, *, holes=True):
    """Random many-to-many pairs with weights for every ordered pair of modalities."""
    found = {}
    for target, own in values.items():
        for source, other in values.items():
            if target != source:
                low = -1 if holes else 0
                shape = (len(own), 9)
                found[f"{target}_from_{source}"] = Alignment(
                    source_index=torch.randint(low, other.shape[1], shape),
                    target_index=torch.randint(low, own.shape[1], shape),
                    weight=torch.rand(shape) + 0.1,
                )
    return found


@pytest.mark.parametrize("form", ["update", "token"])
@pytest.mark.parametrize("masked", [False, True])
def test_streams_of_unequal_length_exchange_along_alignments(form, masked):
    values = {name: torch.randn(3, count, 4) for name, count in zip(DIMS, (5, 7, 4), strict=True)}
    keep, masks = scores(values), masks_like(values) if masked else {}
    pairs = alignments(values)
    out = TokenExchange(DIMS, form=form, choose="score")(values, masks, keep=keep, alignment=pairs)
    expected = plain(values, keep, masks, update=form == "update", choose=best, alignments=pairs)
    torch.testing.assert_close(out, expected)


def test_one_alignment_of_two_modalities_is_read_both_ways():
    values = {"image": torch.randn(1, 2, 2, 2), "points": torch.randn(1, 3, 2)}
    pixels = values["image"].flatten(2).transpose(1, 2)
    keep = {"image": torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]), "points": torch.tensor([[0.0, 1.0, 0.0]])}
    to_points = Alignment.from_pairs([[(3, 0), (2, 1), (-1, 2)]])
    part = TokenExchange({"image": 2, "points": 2}, form="token")
    out = part(values, keep=keep, alignment=to_points)
    assert out["points"].equal(torch.stack([pixels[:, 3], *values["points"][:, 1:].unbind(1)], 1))
    expected = torch.stack([pixels[:, 0], pixels[:, 1], values["points"][:, 1], values["points"][:, 0]], 1)
    assert out["image"].flatten(2).transpose(1, 2).equal(expected)
    named = part(values, keep=keep, alignment={"image_from_points": to_points.transpose()})
    assert all(named[name].equal(out[name]) for name in out)


def test_pairs_without_an_alignment_share_their_positions():
    values = {"rgb": torch.randn(1, 3, 4), "depth": torch.randn(1, 3, 4), "points": torch.randn(1, 2, 4)}
    keep = {"rgb": torch.zeros(1, 3), "depth": torch.ones(1, 3), "points": torch.zeros(1, 2)}
    part = TokenExchange(DIMS, form="token", donors={"rgb": ["depth"], "points": ["rgb"]})
    pairs = {"points_from_rgb": Alignment.from_pairs([[(2, 1)]])}
    out = part(values, keep=keep, alignment=pairs)
    assert out["rgb"].equal(values["depth"])
    assert out["depth"].equal(values["depth"])
    assert out["points"][:, 0].equal(values["points"][:, 0])
    assert out["points"][:, 1].equal(values["rgb"][:, 2])


def test_in_the_form_update_scores_learn_where_their_product_is_read():
    values = streams(count=3, batch=1)
    keep = {"rgb": torch.tensor([[0.9, 0.01, 0.01]]), "depth": torch.tensor([[0.9, 0.9, 0.01]])}
    leaves = {name: score.clone().requires_grad_() for name, score in keep.items()}
    out = TokenExchange(PAIR)(values, keep=leaves)
    cotangent = torch.randn(1, 3, 4)
    (out["rgb"] * cotangent).sum().backward()
    expected = (values["depth"] * cotangent).sum(-1)[0, 1]
    torch.testing.assert_close(leaves["depth"].grad[0, 1], expected)
    assert leaves["depth"].grad[0, 0] == 0
    assert leaves["rgb"].grad[0, 1:].eq(0).all()
    assert leaves["rgb"].grad[0, 0] != 0


def test_in_the_form_token_scores_have_no_gradient_but_that_of_the_loss():
    part, trace = TokenExchange(PAIR, form="token"), Trace()
    out = part(streams(), trace=trace)
    assert not out["rgb"].requires_grad
    trace.total_loss().backward()
    assert all(parameter.grad is not None for parameter in part.parameters())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_is_over_the_scores_of_real_tokens(reduction):
    keep = {"rgb": torch.tensor([[0.5, 0.25]]), "depth": torch.tensor([[1.0, 0.75]])}
    part, trace = TokenExchange(PAIR, sparsity_weight=2.0, reduction=reduction), Trace()
    masks = {"depth": torch.tensor([[True, False]])}
    nan = {**keep, "depth": torch.tensor([[1.0, torch.nan]])}
    part(streams(count=2, batch=1), masks, keep=nan, trace=trace)
    expected = 2 * 1.75 / (3 if reduction == "mean" else 1)
    torch.testing.assert_close(trace.losses["token_sparsity"], torch.tensor(expected))


def test_the_loss_alone_brings_about_the_exchange():
    torch.manual_seed(1)
    part, values, trace = TokenExchange(PAIR, sparsity_weight=1.0), streams(), Trace()
    optimiser = torch.optim.Adam(part.parameters(), lr=0.05)
    part(values, trace=trace)
    assert not any(trace.records[f"{name}.selected"].any() for name in PAIR)
    for _ in range(60):
        trace = Trace()
        part(values, trace=trace)
        optimiser.zero_grad()
        trace.total_loss().backward()
        optimiser.step()
    assert all(trace.records[f"{name}.selected"].all() for name in PAIR)


def test_scores_are_predicted_from_the_inputs_where_these_are_given():
    part, values, inputs, trace = TokenExchange(PAIR), streams(), streams(), Trace()
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.normal_()
    out = part(values, inputs=inputs, trace=trace)
    keep = {name: part.predictor[name](value) for name, value in inputs.items()}
    for name in PAIR:
        torch.testing.assert_close(trace.records[f"{name}.scores"], keep[name].detach())
    torch.testing.assert_close(out, part(values, keep=keep))
    own = part(values)
    torch.testing.assert_close(own, part(values, inputs=values))
    assert not own["rgb"].allclose(out["rgb"])


def test_records_say_which_real_tokens_were_replaced_by_real_ones():
    keep = {"rgb": torch.tensor([[0.0, 0.0, 0.0, 1.0]]), "depth": torch.ones(1, 4)}
    masks = {
        "rgb": torch.tensor([[True, True, False, True]]),
        "depth": torch.tensor([[True, False, True, True]]),
    }
    trace = Trace()
    TokenExchange(PAIR)(streams(count=4, batch=1), masks, keep=keep, trace=trace)
    assert trace.records["rgb.selected"].tolist() == [[True, False, False, False]]
    assert not trace.records["depth.selected"].any()


def test_the_threshold_is_compared_in_float32_and_itself_keeps():
    edge = torch.tensor([[0.02, 0.0199]])
    for dtype in (torch.float32, torch.float64):
        values = {name: value.to(dtype) for name, value in streams(count=2, batch=1).items()}
        part = TokenExchange(PAIR, form="token").to(dtype)
        out = part(values, keep={"rgb": edge.to(dtype), "depth": torch.ones(1, 2, dtype=dtype)})
        assert (out["rgb"] == values["depth"]).all(-1).tolist() == [[False, True]]


def aligned_reads(values, masks):
    """An alignment of every pair of modalities, row by row the same."""
    counts = {
        n: 1 if v.dim() == 2 else v[0].numel() // (v.shape[1] if v.dim() == 4 else v.shape[2])
        for n, v in values.items()
    }
    found = {}
    for target in values:
        for source in values:
            if target < source:
                first = values[target]
                pair = torch.arange(max(counts[target], counts[source]), device=first.device)
                rows = [
                    pair % counts[source],
                    torch.where(pair % 5 == 3, -1, pair % counts[target]),
                    0.5 + pair % 3,
                ]
                rows = [row.expand(first.shape[0], -1) for row in rows]
                found[f"{target}_from_{source}"] = Alignment(
                    source_index=rows[0], target_index=rows[1], weight=rows[2].float()
                )
    return {"alignment": found}


def clauses():
    """All but those for other machines."""
    return [
        pytest.param(c, id=c.name, marks=[pytest.mark.compile, pytest.mark.slow] if c.marks else [])
        for c in exchange_clauses()
        if not {"slow", "gpu"} & set(c.marks)
    ]


@pytest.mark.parametrize("clause", clauses())
@pytest.mark.parametrize("choose", ["position", "score"])
def test_the_contract_holds_along_alignments(clause, choose):
    case = Case.of(
        lambda dims: TokenExchange(dims, threshold=0.75, choose=choose),
        "exchange",
        aligned=False,
        equal_widths=True,
        reads=aligned_reads,
    )
    clause(case)


@settings(max_examples=25)
@given(st.integers(2, 4), st.sampled_from(["position", "score"]), st.integers(0, 999))
def test_nothing_selected_is_the_identity(count, choose, seed):
    torch.manual_seed(seed)
    dims = {f"m{i}": 4 for i in range(count)}
    values = streams(dims)
    keep = {name: torch.rand(3, 6) + 0.02 for name in dims}
    out = TokenExchange(dims, form="token", choose=choose)(values, keep=keep)
    assert all(out[name].equal(values[name]) for name in dims)
    scaled = TokenExchange(dims, choose=choose)(values, keep=keep)
    assert all(scaled[name].equal(values[name] * keep[name][..., None]) for name in dims)


@settings(max_examples=25)
@given(
    st.permutations(range(5)),
    st.permutations(range(7)),
    st.sampled_from(["update", "token"]),
    st.integers(0, 999),
)
def test_permuted_tokens_and_alignment_permute_the_outputs(rgb, depth, form, seed):
    torch.manual_seed(seed)
    values = {"rgb": torch.randn(2, 5, 4), "depth": torch.randn(2, 7, 4)}
    order = {"rgb": torch.tensor(rgb), "depth": torch.tensor(depth)}
    keep, masks, pairs = scores(values), masks_like(values), alignments(values)
    part = TokenExchange(PAIR, form=form)
    out = part(values, masks, keep=keep, alignment=pairs)

    def moved(name, index):
        return torch.where(index < 0, index, order[name].argsort()[index])

    turned = {}
    for key, pair in pairs.items():
        target, _, source = key.partition("_from_")
        turned[key] = Alignment(
            source_index=moved(source, pair.source_index),
            target_index=moved(target, pair.target_index),
            weight=pair.weight,
        )
    found = part(
        {n: v[:, order[n]] for n, v in values.items()},
        {n: m[:, order[n]] for n, m in masks.items()},
        keep={n: s[:, order[n]] for n, s in keep.items()},
        alignment=turned,
    )
    torch.testing.assert_close(found, {n: v[:, order[n]] for n, v in out.items()})


@settings(max_examples=25)
@given(st.permutations(["a", "b", "c"]), st.integers(0, 999))
def test_permuted_names_permute_the_outputs(order, seed):
    torch.manual_seed(seed)
    dims = dict.fromkeys("abc", 4)
    values = streams(dims)
    keep, rename = scores(values), dict(zip("abc", order, strict=True))
    part = TokenExchange(dims, choose="score")
    out = part(values, keep=keep)
    turned = part({rename[n]: v for n, v in values.items()}, keep={rename[n]: s for n, s in keep.items()})
    assert all(turned[rename[name]].equal(out[name]) for name in dims)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"form": "swap"}, OptionError, r"form must be one of \['update', 'token'\], got 'swap'"),
        ({"choose": "first"}, OptionError, r"choose must be one of \['position', 'score'\], got 'first'"),
        ({"reduction": "max"}, OptionError, r"reduction must be one of \['mean', 'sum'\], got 'max'"),
        ({"threshold": -1}, OptionError, "threshold and sparsity_weight must be at least 0, got -1 and 0.03"),
        (
            {"donors": {"rgb": ["dept"]}},
            ModalityError,
            "donors has an unknown modality 'dept'. Did you mean 'depth'",
        ),
        (
            {"donors": {"rgb": ["rgb"]}},
            OptionError,
            r"donors\['rgb'\] must be other modalities, got \['rgb'\]",
        ),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        TokenExchange(PAIR, **options)


@pytest.mark.parametrize(
    ("reads", "error", "message"),
    [
        (
            {"keep": {"rgb": torch.ones(3, 6)}},
            ModalityError,
            r"keep must be given for \['depth', 'rgb'\], got \['rgb'\]",
        ),
        (
            {"keep": {"rgb": torch.ones(3, 6), "depth": torch.ones(3, 5)}},
            OptionError,
            r"keep\['depth'\] must have shape \(3, 6\), got \(3, 5\)",
        ),
        (
            {"inputs": {"rgb": torch.ones(3, 5, 4), "depth": torch.ones(3, 6, 4)}},
            ModalityError,
            r"inputs\['rgb'\] must have positions \(3, 6\) like its stream, got \(3, 5\)",
        ),
        ({"inputs": {"rgb": torch.ones(3, 6, 4)}}, ModalityError, "Missing modality"),
        (
            {"alignment": {"rgb_from_dept": Alignment.from_pairs([[(0, 0)]] * 3)}},
            OptionError,
            "alignment must be of known pairs, got 'rgb_from_dept'. Did you mean 'rgb_from_depth'",
        ),
        (
            {"alignment": Alignment.from_pairs([[(0, 0)]])},
            OptionError,
            r"alignment\['depth_from_rgb'\] must have 3 samples like the streams, got 1",
        ),
        ({"scores": {}}, OptionError, "does not read 'scores'"),
    ],
)
def test_wrong_reads_are_refused(reads, error, message):
    with pytest.raises(error, match=message):
        TokenExchange(PAIR)(streams(), **reads)


def test_streams_that_cannot_share_tokens_are_refused():
    with pytest.raises(ModalityError, match=r"Widths must be equal, got {'a': 4, 'b': 5}\. Give all"):
        TokenExchange({"a": 4, "b": 5})
    uneven = {"rgb": torch.ones(1, 2, 4), "depth": torch.ones(1, 3, 4)}
    with pytest.raises(
        ModalityError, match=r"got 'rgb' with \(1, 2\) and 'depth' with \(1, 3\)\. Pass alignment={'rgb_"
    ):
        TokenExchange(PAIR)(uneven)
    pair = Alignment.from_pairs([[(0, 0)]])
    with pytest.raises(
        OptionError, match="alignment must name its modalities where there are 3, got one alone"
    ):
        TokenExchange(DIMS)(streams(DIMS, batch=1), alignment=pair)
    with pytest.raises(MaskError, match="Mask of 'rgb' must be bool of shape"):
        TokenExchange(PAIR)(streams(), {"rgb": torch.ones(3, 5, dtype=torch.bool)})


def test_official_keys_of_something_else_are_refused():
    with pytest.raises(
        OptionError, match=r"official must hold \['score_nets.0.', 'score_nets.1.'\], got 'score_n"
    ):
        convert_token_exchange({"score_nets.2.1.weight": torch.ones(4, 4)}, PAIR)
