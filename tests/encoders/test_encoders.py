"""Clauses that every encoder keeps: masked values are ignored, widths are as claimed, gradients arrive."""

import pytest
import torch

from fuseloom.encoders.audio import AudioEncoder
from fuseloom.encoders.embedding import EmbeddingEncoder
from fuseloom.encoders.hf import HfEncoder
from fuseloom.encoders.hf_words import HfWordEncoder
from fuseloom.encoders.identity import IdentityEncoder
from fuseloom.encoders.image import ImageEncoder
from fuseloom.encoders.map import MapEncoder
from fuseloom.encoders.projection import ProjectionEncoder
from fuseloom.encoders.series import SeriesEncoder
from fuseloom.encoders.table import TableEncoder
from fuseloom.encoders.text import TextEncoder
from fuseloom.encoders.timm import TimmEncoder
from fuseloom.encoders.words import WordEncoder
from fuseloom.registry import list_names, lookup


def embedding_rows():
    return EmbeddingEncoder(5, dim=8), torch.randn(4, 5), torch.tensor([True, False, True, True])


def embedding_tokens():
    mask = torch.tensor([[True, True, False], [False] * 3, [True] * 3, [True, False, True]])
    return EmbeddingEncoder(5, dim=8), torch.randn(4, 3, 5), mask


def identity_tokens():
    return IdentityEncoder(5), torch.randn(4, 3, 5), torch.tensor([[True, True, False]]).repeat(4, 1)


def projection_rows():
    return ProjectionEncoder(5, dim=8), torch.randn(4, 5), torch.tensor([True, False, True, True])


def table_rows():
    row = torch.cat([torch.randn(4, 2), torch.tensor([[0.0, 1], [2, 0], [1, 1], [0, 0]])], 1)
    row[0, 1] = torch.nan
    return TableEncoder(2, [3, 2], dim=8), row, torch.tensor([True, False, True, True])


def text_rows():
    text = torch.randint(32, 127, (4, 21), dtype=torch.uint8)
    mask = torch.arange(21) < torch.tensor([[21], [0], [7], [16]])
    return TextEncoder(dim=8, window=4), text, mask


def word_rows(**options):
    words = torch.randint(1, 9, (4, 5, 7))
    words[0, 1, 4:] = 0
    return WordEncoder(9, dim=8, **options), words, lengths(5, 0, 1, 4)


def words_pooled():
    return word_rows(output="pooled")


def lengths(*counts):
    return torch.arange(max(counts)) < torch.tensor(counts)[:, None]


def series_rows(**options):
    rows = torch.randn(4, 9, 3)
    rows[0, 2, 1] = torch.nan
    mask = lengths(9, 0, 1, 6)
    mask[0, 4] = False
    return SeriesEncoder(3, dim=8, **options), rows, mask


def series_conv():
    return series_rows()


def series_conv_tokens():
    return series_rows(output="tokens", stride=2, timed=True)


def series_transformer():
    return series_rows(body="transformer", timed=True)


def series_transformer_tokens():
    return series_rows(body="transformer", output="tokens", stride=2)


def images(channels, **options):
    pixels = torch.randint(0, 256, (4, channels, 9, 6), dtype=torch.uint8)
    return ImageEncoder(channels, dim=16, **options), pixels, torch.tensor([True, False, True, True])


def image_grey():
    return images(1)


def image_tokens():
    return images(3, output="tokens", stride=2)


def image_small_things():
    return images(3, norm="batch", places=True, stride=2)


def image_patches():
    return images(3, body="patch", patch=4, output="tokens")


def image_patches_pooled():
    return images(1, body="patch", patch=4)


def maps(**options):
    numbers, known = torch.randn(4, 2, 9, 6), torch.rand(4, 9, 6) < 0.8
    known[1] = False
    return MapEncoder(2, dim=16, **options), numbers, known


def map_pooled():
    return maps()


def map_tokens():
    return maps(output="tokens", stride=2, norm="batch", places=True)


def audio_frames(**options):
    return AudioEncoder(20, dim=8, **options), torch.randn(4, 17, 20), lengths(17, 0, 1, 9)


def audio_pooled():
    return audio_frames()


def audio_tokens():
    return audio_frames(output="tokens")


def timm_images():
    pytest.importorskip("timm")
    pixels = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    mask = torch.tensor([True, False, True, True])
    return TimmEncoder("test_resnet", dim=8, pretrained=False), pixels, mask


def hf_ids():
    pytest.importorskip("transformers")
    size = {"vocab_size": 30, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
    encoder = HfEncoder("tiny", dim=8, config={"model_type": "distilbert", **size})
    return encoder, torch.randint(5, 30, (4, 6)), lengths(6, 0, 1, 4)


def hf_words():
    pytest.importorskip("transformers")
    size = {"vocab_size": 30, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
    words = torch.tensor([[-1, 0, 0, 1, 2, -1], [-1] * 6, [-1, 0, -1, 0, 0, 0], [-1, 0, 1, -1, 1, 1]])
    pieces = torch.stack([torch.randint(5, 30, (4, 6)), words], -1)
    return (
        HfWordEncoder("tiny", num_words=4, dim=8, config={"model_type": "distilbert", **size}),
        pieces,
        lengths(6, 0, 3, 4),
    )


CASES = [
    embedding_rows,
    embedding_tokens,
    identity_tokens,
    projection_rows,
    table_rows,
    text_rows,
    word_rows,
    words_pooled,
    series_conv,
    series_conv_tokens,
    series_transformer,
    series_transformer_tokens,
    image_grey,
    image_tokens,
    image_small_things,
    image_patches,
    image_patches_pooled,
    map_pooled,
    map_tokens,
    audio_pooled,
    audio_tokens,
    timm_images,
    hf_ids,
    hf_words,
]


def by_mask(value, mask):
    """The value with its features last, where the mask is one of pixels: a view."""
    return value.movedim(1, -1) if value.dim() == 4 and mask.dim() == 3 else value


@pytest.mark.parametrize("make", CASES)
def test_what_is_masked_does_not_matter(make):
    encoder, value, mask = make()
    encoder.eval()
    other = value.clone()
    by_mask(other, mask)[~mask] = float("nan") if value.is_floating_point() else 77
    (one, one_mask), (two, two_mask) = encoder(value, mask), encoder(other, mask)
    torch.testing.assert_close(one, two)
    assert one_mask.equal(two_mask)
    assert one[~one_mask].eq(0).all()
    assert one[one_mask].abs().sum(-1).gt(0).all()


@pytest.mark.parametrize("make", CASES)
def test_a_full_mask_changes_nothing(make):
    encoder, value, mask = make()
    encoder.eval()
    full, none = encoder(value, torch.ones_like(mask))[0], encoder(value)[0]
    torch.testing.assert_close(full, none, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", CASES)
def test_width_is_as_claimed_and_every_parameter_gets_a_gradient(make):
    encoder, value, mask = make()
    encoder.eval()
    stream, _ = encoder(value, mask)
    assert stream.shape[-1] == encoder.dims[-1]
    if any(True for _ in encoder.parameters()):
        (stream * torch.randn_like(stream)).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("make", CASES)
def test_a_sample_does_not_depend_on_the_others(make):
    encoder, value, mask = make()
    encoder.eval()
    stream, kept = encoder(value, mask)
    order = torch.tensor([2, 0, 3, 1])
    permuted, permuted_kept = encoder(value[order], mask[order])
    torch.testing.assert_close(permuted, stream[order], rtol=1e-4, atol=1e-5)
    assert permuted_kept.equal(kept[order])
    alone, _ = encoder(value[3:], mask[3:])
    torch.testing.assert_close(alone, stream[3:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", CASES)
def test_stages_have_the_widths_they_claim_and_are_zero_under_false(make):
    encoder, value, mask = make()
    encoder.eval()
    assert len(encoder.stages) == len(encoder.dims)
    for index, width in enumerate(encoder.dims):
        value, mask = encoder.run_stage(index, value, mask)
        features_last = value.movedim(1, -1) if value.dim() == 4 else value
        assert features_last.shape[-1] == width
        assert features_last.shape[:-1] == mask.shape
        assert features_last[~mask].eq(0).all()


@pytest.mark.parametrize("make", CASES)
def test_absent_samples_get_and_give_no_gradient(make):
    encoder, value, mask = make()
    encoder.eval()
    if isinstance(encoder, TextEncoder | HfEncoder | HfWordEncoder | WordEncoder):
        pytest.skip("bytes, ids and words have no gradient")
    poisoned = value.float() if value.dtype == torch.uint8 else value.clone()
    by_mask(poisoned, mask)[~mask] = torch.nan
    poisoned.requires_grad_()
    stream, _ = encoder(poisoned, mask)
    stream.square().sum().backward()
    assert poisoned.grad.isfinite().all()
    assert by_mask(poisoned.grad, mask)[~mask].eq(0).all()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_every_registered_encoder_is_tested_here():
    tested = {type(make()[0]) for make in CASES}
    assert {lookup(name, kind="encoder") for name in list_names(kind="encoder")} == tested
