import re

import pytest
import torch

from fuseloom.errors import ModalityError, OptionError
from fuseloom.models.muse.captioner import Captioner
from fuseloom.models.muse.decoders import GenerativeLosses, LossWeights
from fuseloom.models.muse.pixelcnn import PixelCnn
from fuseloom.types import Trace

DIMS = {"text": 6, "image": 6}


def captioner() -> Captioner:
    return Captioner(6, 9, attention_dim=4, embedding_dim=4, hidden_dim=4)


def painter() -> PixelCnn:
    return PixelCnn(6, num_resnet=1, num_filters=3, num_mixtures=1)


def losses(**options: object) -> GenerativeLosses:
    return GenerativeLosses(DIMS, captioner=captioner(), painter=painter(), **options).eval()


def rows() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    streams = {"text": torch.randn(3, 5, 6), "image": torch.randn(3, 4, 6)}
    captions = torch.tensor([[1, 4, 5, 2], [1, 6, 2, 0], [1, 2, 0, 0]])
    return streams, {"captions": captions, "pictures": torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)}


def test_streams_stay_and_losses_are_those_of_the_decoders() -> None:
    part, (streams, given) = losses(weights=LossWeights(captioning=2.0, painting=3.0)), rows()
    trace = Trace()
    out = part(streams, trace=trace, **given)
    assert all(out[name].equal(value) for name, value in streams.items())
    image = part.linear(streams["image"])
    told = part.captioner.loss(image, given["captions"], given["captions"] != 0)
    torch.testing.assert_close(trace.losses["captioning"], 2 * told)
    sentence = part.linear(part.pooler(streams["text"].mean(1)).tanh())
    shown = part.painter.loss(sentence, given["pictures"]).mean() / 64
    torch.testing.assert_close(trace.losses["painting"], 3 * shown)


def test_the_official_form_reads_the_first_token_and_sums_over_images() -> None:
    part, (streams, given) = losses(weights=LossWeights(painting=1.0), prefix=1, faithful=True), rows()
    trace = Trace()
    part(streams, trace=trace, **given)
    sentence = part.linear(part.pooler(streams["text"][:, 1]).tanh())
    shown = part.painter.loss(sentence, given["pictures"]).sum() / 64
    torch.testing.assert_close(trace.losses["painting"], shown)


def test_nothing_is_computed_without_a_trace_or_what_is_compared_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    part, (streams, given) = losses(), rows()
    monkeypatch.setattr(Captioner, "forward", None)
    monkeypatch.setattr(PixelCnn, "forward", None)
    part(streams, **given)
    trace = Trace()
    part(streams, trace=trace)
    assert trace.losses == {}


def test_samples_that_lack_what_is_read_do_not_count() -> None:
    part, (streams, given) = losses(prefix=1), rows()
    masks = {
        "text": torch.tensor([[True] * 5, [True] * 5, [False] * 5]),
        "image": torch.tensor([[True] * 4, [False] * 4, [True] * 4]),
    }
    trace, alone = Trace(), Trace()
    part(streams, masks, trace=trace, **given)
    some = {name: value[:1] for name, value in given.items()}
    part({n: v[:1] for n, v in streams.items()}, {n: m[:1] for n, m in masks.items()}, trace=alone, **some)
    torch.testing.assert_close(trace.losses["painting"], alone.losses["painting"])
    part(streams, {"image": masks["image"]}, trace=trace, **given)
    kept = [0, 2]
    two = {name: value[kept] for name, value in given.items()}
    part({n: v[kept] for n, v in streams.items()}, trace=alone, **two)
    torch.testing.assert_close(trace.losses["captioning"], alone.losses["captioning"])


def test_every_weight_and_both_streams_learn_from_them() -> None:
    part, (streams, given) = losses(), rows()
    for value in streams.values():
        value.requires_grad_()
    trace = Trace()
    part(streams, trace=trace, **given)
    trace.total_loss().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in streams.values())
    assert all(parameter.grad is not None for parameter in part.parameters())


@pytest.mark.parametrize(
    ("dims", "error", "message"),
    [
        ({"text": 6, "image": 5}, ModalityError, "must have 'text' and 'image' in one width, got"),
        ({"text": 6, "photo": 6}, ModalityError, "got {'text': 6, 'photo': 6}"),
    ],
)
def test_other_streams_are_refused(dims: dict[str, int], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        GenerativeLosses(dims, captioner=captioner())


def test_no_decoder_at_all_is_refused() -> None:
    with pytest.raises(OptionError, match="captioner or painter must be given, got neither"):
        GenerativeLosses(DIMS)
