import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from fuseloom import Alignment, Batch, create
from fuseloom.diagnose.exchanged import exchanged
from fuseloom.encoders.identity import IdentityEncoder
from fuseloom.encoders.image import ImageEncoder
from fuseloom.errors import DataError
from fuseloom.exchange.cls_exchange import ClsExchange
from fuseloom.heads import LinearHead
from fuseloom.models import FusionModel
from fuseloom.models.exchange_transformer import ExchangeTransformer
from fuseloom.models.muse import muse
from fuseloom.nn import PostNormBlock
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.tagging import Tagging
from fuseloom.train.fit import exact_outputs
from fuseloom.types import Trace

DIMS, TASK = {"text": 8, "image": 8}, Classification(["no", "yes"])
LAYERS = ("exchange.1.layer.1.after_norm", "exchange.1.layer.2.after_norm")


def block(width):
    return PostNormBlock(width, num_heads=2, hidden=16, dropout=0.0)


def net(theta=0.4, head=None, **options):
    torch.manual_seed(0)
    encoders = {name: IdentityEncoder(8) for name in DIMS}
    head = head or LinearHead(8, 2)
    return muse(encoders, head, block=block, theta=theta, num_layers=3, layers=(1, 2), **options)


def rows(count=40, text=7, image=9):
    generator = torch.Generator().manual_seed(1)
    inputs = {
        "text": torch.randn(count, text, 8, generator=generator),
        "image": torch.randn(count, image, 8, generator=generator),
    }
    lengths = torch.randint(2, text + 1, (count, 1), generator=generator)
    return Batch(inputs=inputs, masks={"text": torch.arange(text) < lengths}, target=torch.arange(count) % 2)


def look(model, batch, **options):
    return exchanged(
        model,
        batch,
        lambda some: TASK.predict(exact_outputs(model, some)),
        model="mine",
        metric=TASK.metric("accuracy"),
        resamples=200,
        **options,
    )


@pytest.fixture(scope="module")
def model():
    """One that is in two minds about its rows, so that a small change turns some answers."""
    made, batch = net(mode="replace").eval(), rows()
    with torch.no_grad():
        made.head.linear.bias -= made(batch.inputs, batch.masks).mean(0)
    return made


@pytest.fixture(scope="module")
def found(model):
    return look(model, rows(), answers=lambda predictions: predictions.argmax(-1), num_samples=4)


def test_shares_are_those_that_the_quantile_chooses_of_real_positions(found):
    real = rows().masks["text"].sum(1)
    chosen = {"text": (0.4 * (real - 1)).ceil() / real, "image": torch.full((40,), math.ceil(0.4 * 8) / 9)}
    assert [(one.layer.rpartition(".")[0].rpartition(".")[2], one.modality) for one in found.layers] == [
        ("1", "text"),
        ("1", "image"),
        ("2", "text"),
        ("2", "image"),
    ]
    for one in found.layers[:2]:  # behind it exchanged tokens are alike, and what ties is kept
        assert one.share.mean == pytest.approx(chosen[one.modality].double().mean().item(), abs=1e-6)
    low = next(one.share.low for one in found.layers if one.modality == "text")
    assert low is not None
    assert low < found.layers[0].share.mean


def test_samples_hold_the_very_positions_that_were_chosen_and_their_scores(model, found):
    batch = rows()
    trace = Trace()
    with torch.no_grad():
        model.eval()(batch.inputs, batch.masks, trace=trace)
    assert len(found.samples) == 4
    for sample in found.samples:
        for stream in sample.streams:
            real = batch.mask_of(stream.modality)[sample.place]
            assert stream.positions == real.sum()
            for layer in stream.layers:
                at = f"{layer.layer}.{stream.modality}"
                selected = trace.records[f"{at}.selected"][sample.place, 1:]
                assert layer.chosen == tuple(selected.nonzero()[:, 0].tolist())
                scores = trace.records[f"{at}.scores"][sample.place, 1 : 1 + stream.positions]
                torch.testing.assert_close(torch.tensor(layer.scores), scores)


def test_attention_of_the_class_token_is_less_to_what_is_exchanged_and_is_that_of_the_trace(model, found):
    batch, trace = rows(), Trace()
    with torch.no_grad():
        model.eval()(batch.inputs, batch.masks, trace=trace)
    one = next(one for one in found.layers if one.modality == "image")
    weights = trace.records[f"{one.layer.removesuffix('.after_norm')}.image.attention"].double().mean(1)
    taken = trace.records[f"{one.layer}.image.selected"][:, 1:]
    own = weights[:, 0, 1:]
    expected = (own * taken).sum(1) / taken.sum(1), (own * ~taken).sum(1) / (~taken).sum(1)
    assert one.to_exchanged.mean == pytest.approx(expected[0].mean().item())
    assert one.to_kept.mean == pytest.approx(expected[1].mean().item())
    assert one.to_class_token.mean == pytest.approx(weights[:, 1:, 0].mean().item())
    assert all(part.to_exchanged.mean < part.to_kept.mean for part in found.layers)


def test_without_exchange_is_the_same_model_at_theta_zero(model, found):
    never = net(theta=0.0)
    never.load_state_dict(model.state_dict())
    batch = rows()
    own, other = (TASK.predict(exact_outputs(one, batch)) for one in (model, never))
    target = batch.target.numpy()
    assert found.score.mean == (own.argmax(-1) == target).mean()
    assert found.without.mean == (other.argmax(-1) == target).mean()
    assert found.lost.mean == pytest.approx(found.score.mean - found.without.mean)
    assert found.changed.mean == (own.argmax(-1) != other.argmax(-1)).mean()
    assert found.changed.mean > 0


def test_the_model_is_left_as_it_was(model):
    before = copy.deepcopy(model.state_dict())
    batch = rows()
    with torch.no_grad():
        outputs = model.eval()(batch.inputs, batch.masks)
        model.train()
        look(model, batch)
        assert model.training
        assert model.eval()(batch.inputs, batch.masks).equal(outputs)
    assert not any(part._forward_hooks for part in model.modules())
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_layers_that_choose_alike_overlap_whole_and_chance_is_the_share_of_the_later():
    found = look(net(score="random"), rows())
    share = {(one.layer, one.modality): one.share.mean for one in found.layers}
    assert len(found.overlaps) == 2
    for one in found.overlaps:
        assert (one.again.mean, one.again.low) == (1.0, 1.0)  # in evaluation the draw is the same everywhere
        assert one.earlier < one.later
        assert one.chance == pytest.approx(share[one.later, one.modality], rel=0.05)


def test_streams_without_a_class_token_have_no_attention_of_one():
    encoders = {name: IdentityEncoder(8) for name in DIMS}
    exchange = ClsExchange(DIMS, theta=0.9)
    stack = ExchangeTransformer(DIMS, num_layers=2, block=block, exchanges={(1, "after_block"): exchange})
    model = FusionModel(encoders, create("sum", DIMS), LinearHead(8, 2), exchanges={0: stack})
    found = look(model, rows())
    for one in found.layers:
        assert (one.to_exchanged, one.to_kept, one.to_class_token) == (None, None, None)
    for sample in found.samples:
        assert sample.streams[1].positions == 9  # the first token is one of them, though never exchanged
        assert 0 not in sample.streams[1].layers[0].chosen
    assert {place for sample in found.samples for place in sample.streams[1].layers[0].chosen} == {
        *range(1, 9)
    }


@pytest.mark.parametrize("name", ["token_exchange", "feature_swap"])
def test_other_exchanges_that_choose_positions_are_shown_too(name):
    batch = rows(text=9)
    extras = {}
    if name == "feature_swap":
        pairs = [[(place, place) for place in range(4)]] * 40
        extras = {
            "alignment.text_from_image": Alignment.from_pairs(pairs),
            "alignment.image_from_text": Alignment.from_pairs(pairs),
        }
    options = {"threshold": 0.5} if name == "token_exchange" else {}
    batch = Batch(inputs=batch.inputs, target=batch.target, extras=extras)
    encoders = {modality: IdentityEncoder(8) for modality in DIMS}
    torch.manual_seed(0)
    exchange = create(name, DIMS, **options)
    net_ = FusionModel(encoders, create("sum", DIMS), LinearHead(8, 2), exchanges={0: exchange})
    one = look(net_, batch)
    assert {part.modality for part in one.layers} == DIMS.keys()
    assert all(part.to_kept is None and 0 < part.share.mean < 1 for part in one.layers)
    if name == "feature_swap":
        assert [part.share.mean for part in one.layers] == pytest.approx([4 / 9] * 2)
        assert one.samples[0].streams[0].layers[0].chosen == (0, 1, 2, 3)


@pytest.mark.parametrize(("body", "stride", "grid"), [("patch", 1, (3, 3)), ("resnet", 1, (6, 6))])
def test_patches_of_a_picture_have_their_rows_and_columns(body, stride, grid):
    encoders = {
        "text": IdentityEncoder(8),
        "image": ImageEncoder(3, dim=8, body=body, output="tokens", stride=stride),
    }
    model = muse(encoders, LinearHead(8, 2), block=block, theta=0.2, num_layers=2, layers=(1,))
    pictures = torch.randint(256, (12, 3, 24, 24), dtype=torch.uint8)
    batch = Batch(inputs={"text": torch.randn(12, 5, 8), "image": pictures}, target=torch.arange(12) % 2)
    streams = {one.modality: one for one in look(model, batch).samples[0].streams}
    assert streams["image"].grid == grid
    assert streams["image"].positions == grid[0] * grid[1]
    assert streams["text"].grid is None


@pytest.mark.parametrize(
    ("height", "width", "count", "grid"), [(10, 20, 8, (2, 4)), (10, 10, 8, None), (10, 10, 10, None)]
)
def test_positions_that_tile_no_picture_have_no_grid(height, width, count, grid):
    class Cut(nn.Module):
        def forward(self, value, mask):
            return value.flatten(1)[:, : 8 * count].reshape(-1, count, 8).float(), None

    from fuseloom.encoders import Encoder

    encoders = {"text": IdentityEncoder(8), "image": Encoder([Cut()], [8])}
    model = muse(encoders, LinearHead(8, 2), block=block, theta=0.2, num_layers=2, layers=(1,))
    pictures = torch.rand(10, 3, height, width)
    batch = Batch(inputs={"text": torch.randn(10, 5, 8), "image": pictures}, target=torch.arange(10) % 2)
    assert {one.modality: one.grid for one in look(model, batch).samples[0].streams}["image"] == grid


def test_tags_are_scored_by_spans_and_changed_sentences_are_counted():
    task = Tagging(["O", "B-PER", "I-PER"])
    model, batch = net(head=task.head(8)), rows()
    target = torch.where(batch.masks["text"], torch.randint(3, (40, 7)), -1)
    batch = Batch(inputs=batch.inputs, masks=batch.masks, target=target)
    found = exchanged(
        model,
        batch,
        lambda some: task.predict(exact_outputs(model, some)),
        model="mine",
        metric=task.metric("span_f1"),
        answers=lambda predictions: task.columns(predictions)["prediction"],
        resamples=200,
    )
    own = task.predict(exact_outputs(model, batch))
    assert found.score.mean == task.metrics["span_f1"].function(own, target.numpy())
    assert 0 < found.changed.mean <= 1


def test_a_row_without_the_other_modality_exchanges_nothing_and_an_absent_one_has_no_positions():
    batch = rows()
    batch.masks["text"][:] = False
    one = look(net(), batch)
    image = [part for part in one.layers if part.modality == "image"]
    assert [part.share.mean for part in image] == [0.0, 0.0]
    assert all(math.isnan(part.share.mean) for part in one.layers if part.modality == "text")
    assert one.samples[0].streams[0].positions == 0
    assert one.lost.mean == 0
    assert np.isnan(image[0].to_exchanged.mean)


@pytest.mark.parametrize("exchanges", [{}, {0: "cross_attention"}])
def test_a_model_whose_exchange_says_nothing_is_refused(exchanges):
    encoders = {name: IdentityEncoder(8) for name in DIMS}
    parts = {stage: create(name, DIMS) for stage, name in exchanges.items()}
    model = FusionModel(encoders, create("sum", DIMS), LinearHead(8, 2), exchanges=parts)
    with pytest.raises(DataError, match="mine has no exchange that says what it takes"):
        look(model, rows())
