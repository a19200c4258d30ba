import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from fuseloom import Batch, create
from fuseloom.diagnose.attention import attention, attention_quality
from fuseloom.encoders.embedding import EmbeddingEncoder
from fuseloom.errors import DataError, OptionError
from fuseloom.heads import LinearHead
from fuseloom.metrics.attention import attention_imbalance_rate, key_cosine
from fuseloom.models import FusionModel
from fuseloom.models.exchange_transformer import ExchangeTransformer

DIMS = {"text": 8, "image": 8}


class Merging(nn.Module):
    """A fusion part alone as a model."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, inputs, masks=None, *, trace=None):
        return self.part(inputs, masks, trace=None if trace is None else trace.scope("merge"))


def rows(count=60, text=5, image=9):
    inputs = {"text": torch.randn(count, text, 8), "image": torch.randn(count, image, 8)}
    masks = {"text": torch.rand(count, text) < 0.6}
    masks["text"][0] = False
    return Batch(inputs=inputs, masks=masks)


def pool(**changes):
    merge = create("attention_pool", DIMS, dim=8, **changes)
    return Merging(merge)


def even(model):
    """Make the scores of all tokens equal."""
    with torch.no_grad():
        model.part.query.weight.zero_()
        model.part.query.bias.zero_()
    return model


def test_attention_that_does_not_choose_has_the_uniform_share_and_all_tokens():
    batch = rows()
    (layer,) = attention(even(pool(num_heads=2)), batch, model="even").layers
    real = batch.masks["text"].sum(1).double()
    assert layer.name == "merge.attention"
    for head in layer.heads:
        assert head.mass["text"].mean == pytest.approx((real / (real + 9)).mean().item(), abs=1e-6)
        assert head.mass["text"].mean + head.mass["image"].mean == pytest.approx(1)
        assert [one.mean for one in head.ratio.values()] == pytest.approx([1, 1], abs=1e-6)
        assert head.effective_tokens.mean == pytest.approx((real + 10).mean().item(), abs=1e-5)
        assert head.entropy.mean == pytest.approx((real + 10).log().mean().item(), abs=1e-6)
        assert head.elsewhere.mean == pytest.approx((1 / (real + 10)).mean().item(), abs=1e-6)


def test_mass_is_the_sum_of_the_recorded_weights_and_an_interval_holds_it():
    model, batch = pool(), rows(500)
    from fuseloom import Trace

    trace = Trace()
    model.eval()(batch.inputs, batch.masks, trace=trace)
    own, text, image = trace.records["merge.mass"][:, 0].double().T
    (layer,) = attention(model, batch, model="pool").layers
    (head,) = layer.heads
    share = text / (text + image)
    assert head.mass["text"].mean == pytest.approx(share.mean().item())
    assert head.elsewhere.mean == pytest.approx(own.mean().item())
    half = 1.96 * share.std().item() / 500**0.5
    assert [head.mass["text"].low, head.mass["text"].high] == pytest.approx(
        [share.mean().item() - half, share.mean().item() + half], abs=0.15 * half
    )


def test_the_imbalance_rate_is_that_of_the_projected_keys():
    """AIR from queries and keys made by hand, as the formula of RollingQ says it."""
    model, batch = pool(num_heads=2), rows()
    (layer,) = attention(model, batch, model="pool").layers
    part = model.part
    query = part.query(part.class_token).expand(60, -1)
    cosines, norms = {}, {}
    for name, value in batch.inputs.items():
        mask = batch.mask_of(name).float()
        keys = part.key(part.embed[name](value))
        mean = (keys * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)  # NaN where all are absent
        cosines[name], norms[name] = key_cosine(query, mean), mean.norm(dim=-1)
    assert layer.imbalance_rate.mean == pytest.approx(attention_imbalance_rate(cosines).item(), abs=1e-5)
    points = {one.modality: one for one in layer.points}
    for name, cosine in cosines.items():
        assert points[name].angle.mean == pytest.approx(cosine.acos().rad2deg().nanmean().item(), abs=1e-3)
        assert points[name].norm.mean == pytest.approx(norms[name].nanmean().item(), abs=1e-5)
        assert points[name].angle.low < points[name].angle.mean < points[name].angle.high


def test_keys_that_are_the_same_have_no_gap_and_opposite_ones_have_one():
    model = pool()
    with torch.no_grad():
        model.part.embed["image"].weight.copy_(model.part.embed["text"].weight)
        model.part.embed["image"].bias.copy_(model.part.embed["text"].bias)
    value = torch.randn(50, 3, 8)
    same = Batch(inputs={"text": value, "image": value.clone()})
    (gap,) = attention(model, same, model="pool").layers[0].gaps
    assert (gap.first, gap.second) == ("text", "image")
    assert (gap.cosine.mean, gap.distance.mean) == pytest.approx((1, 0), abs=1e-6)
    with torch.no_grad():
        model.part.embed["image"].weight.neg_()
        model.part.embed["image"].bias.neg_()
    (gap,) = attention(model, same, model="pool").layers[0].gaps
    assert gap.cosine.mean == pytest.approx(-1)
    assert gap.distance.low > 0


def test_padded_tokens_and_padded_queries_do_not_count():
    """Cross-attention with more padding says the same of the same rows."""
    dims = dict.fromkeys("abc", 8)
    model = Merging(create("cross_attention", dims, num_heads=2))
    inputs = {name: torch.randn(20, 4, 8) for name in dims}
    masks = {name: torch.rand(20, 4) < 0.7 for name in dims}
    longer = Batch(
        inputs={name: torch.cat([value, torch.randn(20, 3, 8)], 1) for name, value in inputs.items()},
        masks={name: torch.cat([mask, torch.zeros(20, 3).bool()], 1) for name, mask in masks.items()},
    )
    short = attention(model, Batch(inputs=inputs, masks=masks), model="x")
    long = attention(model, longer, model="x")
    assert [one.name for one in short.layers] == [f"merge.{name}_from_others" for name in dims]
    for one, other in zip(short.layers, long.layers, strict=True):
        assert one.imbalance_rate.mean == pytest.approx(other.imbalance_rate.mean, abs=1e-6)
        for head, same in zip(one.heads, other.heads, strict=True):
            assert set(head.mass) == set(dims) - {one.name[6]}
            assert head.effective_tokens.mean == pytest.approx(same.effective_tokens.mean, abs=1e-5)
            assert head.elsewhere.mean == 0
            for name in head.mass:
                assert head.mass[name].mean == pytest.approx(same.mass[name].mean, abs=1e-6)


@pytest.mark.parametrize(
    ("part", "layers"),
    [("mult", 4), ("bottleneck", 4), ("cross_attention", 2)],
)
def test_parts_in_a_model_are_found_by_layer(part, layers):
    encoders = {name: EmbeddingEncoder(8, dim=8) for name in DIMS}
    model = FusionModel(
        encoders,
        create("attention_pool", DIMS, dim=8),
        LinearHead(8, 2),
        exchanges={0: create(part, DIMS)},
    )
    found = attention(model, rows(20), model="whole")
    names = [one.name for one in found.layers]
    assert len([name for name in names if name.startswith("exchange.0")]) == layers
    assert names[-1] == "merge.attention"
    for layer in found.layers:
        for head in layer.heads:
            assert 1 <= head.effective_tokens.mean <= 15
            assert sum(one.mean for one in head.mass.values()) == pytest.approx(1)
            assert 0 <= head.elsewhere.mean < 1


def test_layers_of_a_transformer_of_each_modality_are_found_and_padding_does_not_count():
    """What is padded neither asks nor is attended to, whether modalities share their blocks or not."""
    real = Batch(inputs={name: torch.randn(6, 4, 8) for name in DIMS})
    padded = Batch(
        inputs={name: torch.cat([value, torch.randn(6, 3, 8)], 1) for name, value in real.inputs.items()},
        masks={name: (torch.arange(7) < 4).expand(6, 7) for name in DIMS},
    )
    for shared in (False, True):
        model = Merging(ExchangeTransformer(DIMS, num_layers=2, shared=shared))
        found = [attention(model, batch, model="stack", resamples=20).layers for batch in (real, padded)]
        names = [f"merge.layer.{number}.{name}.attention" for number in range(2) for name in DIMS]
        assert [one.name for one in found[0]] == names
        for one, other in zip(*found, strict=True):
            assert one.heads[0].entropy.mean == pytest.approx(other.heads[0].entropy.mean, abs=1e-5)
            assert one.heads[0].entropy.mean > 0.5
            assert set(one.heads[0].mass) == {one.name.split(".")[3]}


@pytest.mark.parametrize(
    ("part", "seen"),
    [
        ("nl_gate", {"text_from_image.attention": {"image"}}),
        (
            "late_transformer",
            {"text.layer.0.attention": {"text"}, "image.layer.0.attention": {"image"}},
        ),
    ],
)
def test_merges_that_look_at_a_modality_at_a_time_are_found_and_padding_does_not_count(part, seen):
    model = Merging(create(part, DIMS))
    real = Batch(inputs={name: torch.randn(6, 4, 8) for name in DIMS})
    padded = Batch(
        inputs={name: torch.cat([value, torch.randn(6, 3, 8)], 1) for name, value in real.inputs.items()},
        masks={name: (torch.arange(7) < 4).expand(6, 7) for name in DIMS},
    )
    found = [attention(model, batch, model=part, resamples=20).layers for batch in (real, padded)]
    assert {one.name.removeprefix("merge."): set(one.heads[0].mass) for one in found[0]} == seen
    for one, other in zip(*found, strict=True):
        assert one.heads[0].entropy.mean == pytest.approx(other.heads[0].entropy.mean, abs=1e-5)
        assert one.heads[0].entropy.mean > 0.5


def test_weight_on_shared_tokens_is_elsewhere():
    model = Merging(create("bottleneck", DIMS, num_tokens=3))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "query" in name or "qkv" in name or ".key" in name:
                value.zero_()
    plain = Batch(inputs=rows(10).inputs)
    for layer in attention(model, plain, model="shared").layers:
        length = 5 if ".text." in layer.name else 9
        assert layer.heads[0].elsewhere.mean == pytest.approx(3 / (3 + length), abs=1e-5)
        assert layer.imbalance_rate is None


class Attentive(nn.Module):
    """Gives each text token the weight that its size says, and the rest to an image token."""

    def forward(self, inputs, masks=None, *, trace=None):
        size = inputs["text"].square().mean(-1)  # [B, N]
        if trace is not None:
            weights = torch.cat([-size, torch.zeros(len(size), 1)], 1).softmax(-1)
            trace.record("attention", weights[:, None])
            for name, own in (("text", [True] * 4 + [False]), ("image", [False] * 4 + [True])):
                trace.record(f"attention.of.{name}", torch.tensor([own]).expand(len(size), -1))
        return size.sum(1, keepdim=True)


def test_attention_that_follows_quality_is_told_from_one_that_does_not():
    batch = Batch(inputs={"text": torch.randn(300, 4, 8), "image": torch.randn(300, 1, 8)})
    found = attention_quality(Attentive(), batch, "text", model="wary", resamples=200)
    follows = found.correlations["attention"]
    assert (found.corruption, found.modality, found.rows) == ("gaussian_noise", "text", 300)
    assert 0.5 < follows.low < follows.mean < follows.high <= 1
    careless = attention_quality(Attentive(), batch, "image", model="wary", resamples=200)
    blind = careless.correlations["attention"]
    assert blind.low < 0 < blind.high


def test_rows_that_lack_the_modality_do_not_count():
    """Whatever stands in the holes, and wherever attention goes there."""
    inputs = {"text": torch.randn(300, 4, 8), "image": torch.randn(300, 1, 8)}
    there = torch.rand(300) < 0.5
    holes = Batch(inputs=inputs, masks={"text": there[:, None].expand(300, 4)})
    found = attention_quality(Attentive(), holes, "text", model="wary", resamples=200)
    assert found.rows == there.sum().item() < 300
    moved = {**inputs, "text": torch.where(there[:, None, None], inputs["text"], 100.0)}
    other = attention_quality(Attentive(), replace(holes, inputs=moved), "text", model="wary", resamples=200)
    assert found.correlations["attention"].low > 0.4
    assert other == found


def test_of_three_modalities_the_rate_is_the_range_of_their_mean_cosines():
    dims = dict.fromkeys("abc", 8)
    model = Merging(create("attention_pool", dims, dim=8))
    batch = Batch(inputs={name: torch.randn(80, 3, 8) for name in dims})
    (layer,) = attention(model, batch, model="three").layers
    part = model.part
    query = part.query(part.class_token)
    means = [
        key_cosine(query, part.key(part.embed[name](value)).mean(1)).mean().item()
        for name, value in batch.inputs.items()
    ]
    assert layer.imbalance_rate.mean == pytest.approx(max(means) - min(means), abs=1e-5)
    assert [(one.first, one.second) for one in layer.gaps] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_nothing_of_the_model_is_changed():
    model, batch = pool().train(), rows(20)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    attention(model, batch, model="pool", resamples=20)
    attention_quality(model, batch, "text", model="pool", resamples=20)
    assert all(part.training for part in model.modules())
    assert all(model.state_dict()[name].equal(value) for name, value in before.items())
    assert not any(part._forward_hooks or part._backward_hooks for part in model.modules())
    assert torch.get_rng_state().equal(state)


def test_a_modality_that_no_row_has_has_no_number():
    batch = rows(10)
    hidden = Batch(inputs=batch.inputs, masks={"text": torch.zeros(10, 5).bool()})
    (layer,) = attention(pool(), hidden, model="pool").layers
    assert layer.heads[0].mass["text"].mean == 0
    assert math.isnan(layer.heads[0].ratio["text"].mean)
    assert math.isnan(layer.imbalance_rate.mean)
    found = attention_quality(pool(), hidden, "text", model="pool")
    assert found.rows == 0
    assert math.isnan(found.correlations["merge.attention"].mean)
    assert found.correlations["merge.attention"].low is None


def test_what_is_missing_is_said():
    with pytest.raises(DataError, match="concat keeps no record of attention: there is nothing to see"):
        attention(Merging(create("concat", DIMS)), rows(5), model="concat")
    shared = Batch(inputs={name: torch.randn(5, 4, 8) for name in DIMS})
    with pytest.raises(
        DataError, match="tokens that joint attends to belong to no single modality, so whose"
    ):
        attention(Merging(create("early_transformer", DIMS)), shared, model="joint")
    with pytest.raises(DataError, match="No layer of x looks at text and another modality at once"):
        attention_quality(Merging(create("cross_attention", DIMS)), rows(5), "text", model="x", resamples=5)
    with pytest.raises(OptionError, match=r"must be one of \['image', 'text'\], got 'txt'.*'text'"):
        attention_quality(pool(), rows(5), "txt", model="pool")
    with pytest.raises(OptionError, match=r"corruption must fit 'text', got 'blur'.*token_dropout"):
        attention_quality(pool(), rows(5), "text", model="pool", corruption="blur")
