from functools import partial

import torch

from fuseloom.encoders.identity import IdentityEncoder
from fuseloom.heads import LinearHead, TaggingHead
from fuseloom.models.muse.system import muse
from fuseloom.nn import PostNormBlock
from fuseloom.nn.crf_packing import unpack_chain
from fuseloom.types import Trace

BLOCK = partial(PostNormBlock, num_heads=2, hidden=8)


def encoders() -> dict[str, IdentityEncoder]:
    return {"text": IdentityEncoder(8), "image": IdentityEncoder(8)}


def rows() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    return {"text": torch.randn(3, 5, 8), "image": torch.randn(3, 9, 8)}, {
        "text": torch.arange(5) < torch.tensor([[5], [2], [3]]),
        "image": torch.tensor([[True] * 9, [True] * 9, [False] * 9]),
    }


def test_words_attend_to_patches_of_which_there_may_be_more() -> None:
    model = muse(encoders(), TaggingHead(8, 3), block=BLOCK, theta=0.4).eval()
    inputs, masks = rows()
    _, emissions, kept = unpack_chain(model(inputs, masks))
    assert emissions.shape == (3, 5, 3)
    assert kept.equal(masks["text"])
    other = {**inputs, "image": -inputs["image"]}
    moved = unpack_chain(model(other, masks))[1] - emissions
    assert moved[0].abs().sum() > 0
    assert moved[2].eq(0).all()


def test_padding_and_the_rest_of_the_batch_do_not_matter() -> None:
    model = muse(encoders(), TaggingHead(8, 3), block=BLOCK).eval()
    inputs, masks = rows()
    outputs = model(inputs, masks)
    padded = {**inputs, "text": inputs["text"].masked_fill(~masks["text"][..., None], torch.nan)}
    torch.testing.assert_close(model(padded, masks), outputs)
    alone = model({n: v[1:2] for n, v in inputs.items()}, {n: m[1:2] for n, m in masks.items()})
    torch.testing.assert_close(alone, outputs[1:2])


def test_rows_are_told_from_the_class_tokens() -> None:
    model = muse(encoders(), LinearHead(8, 2), block=BLOCK, layers=()).eval()
    inputs, masks = rows()
    streams, _ = model.encode(inputs, masks)
    assert streams["text"].shape == (3, 6, 8)
    expected = sum(streams[name][:, 0] @ model.merge.weight[name].T for name in streams) + model.merge.bias
    torch.testing.assert_close(model(inputs, masks), model.head(expected))


def test_what_is_exchanged_can_be_seen_in_each_layer() -> None:
    model = muse(encoders(), TaggingHead(8, 3), block=BLOCK, theta=0.5, num_layers=3, layers=[0, 2])
    trace = Trace()
    inputs, masks = rows()
    model.eval()(inputs, masks, trace=trace)
    chosen = {name for name in trace.records if name.endswith(".selected")}
    scope = "exchange.1.layer"
    assert chosen == {f"{scope}.{n}.after_norm.{m}.selected" for n in (0, 2) for m in ("text", "image")}
    selected = trace.records[f"{scope}.0.after_norm.text.selected"]
    assert not selected[:, 0].any()
    assert not selected[:, 1:][~masks["text"]].any()
