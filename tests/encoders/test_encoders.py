"""Clauses that every encoder keeps: masked values are ignored, widths are as claimed, gradients arrive."""

import pytest
import torch

from fuseloom.encoders.embedding import EmbeddingEncoder
from fuseloom.encoders.identity import IdentityEncoder
from fuseloom.encoders.table import TableEncoder
from fuseloom.encoders.text import TextEncoder
from fuseloom.registry import list_names, lookup


def embedding_rows():
    return EmbeddingEncoder(5, dim=8), torch.randn(4, 5), torch.tensor([True, False, True, True])


def embedding_tokens():
    mask = torch.tensor([[True, True, False], [False] * 3, [True] * 3, [True, False, True]])
    return EmbeddingEncoder(5, dim=8), torch.randn(4, 3, 5), mask


def identity_tokens():
    return IdentityEncoder(5), torch.randn(4, 3, 5), torch.tensor([[True, True, False]]).repeat(4, 1)


def table_rows():
    row = torch.cat([torch.randn(4, 2), torch.tensor([[0.0, 1], [2, 0], [1, 1], [0, 0]])], 1)
    row[0, 1] = torch.nan
    return TableEncoder(2, [3, 2], dim=8), row, torch.tensor([True, False, True, True])


def text_rows():
    text = torch.randint(32, 127, (4, 21), dtype=torch.uint8)
    mask = torch.arange(21) < torch.tensor([[21], [0], [7], [16]])
    return TextEncoder(dim=8, window=4), text, mask


CASES = [embedding_rows, embedding_tokens, identity_tokens, table_rows, text_rows]


@pytest.mark.parametrize("make", CASES)
def test_what_is_masked_does_not_matter(make):
    encoder, value, mask = make()
    encoder.eval()
    other = value.clone()
    other[~mask] = 77 if value.dtype == torch.uint8 else float("nan")
    (one, one_mask), (two, two_mask) = encoder(value, mask), encoder(other, mask)
    torch.testing.assert_close(one, two)
    assert one_mask.equal(two_mask)
    assert one[~one_mask].eq(0).all()
    assert one[one_mask].abs().sum(-1).gt(0).all()


@pytest.mark.parametrize("make", CASES)
def test_a_full_mask_changes_nothing(make):
    encoder, value, mask = make()
    encoder.eval()
    torch.testing.assert_close(encoder(value, torch.ones_like(mask))[0], encoder(value)[0])


@pytest.mark.parametrize("make", CASES)
def test_width_is_as_claimed_and_every_parameter_gets_a_gradient(make):
    encoder, value, mask = make()
    encoder.eval()
    stream, _ = encoder(value, mask)
    assert stream.shape[-1] == encoder.dims[-1]
    if any(True for _ in encoder.parameters()):
        (stream * torch.randn_like(stream)).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


def test_every_registered_encoder_is_tested_here():
    tested = {type(make()[0]) for make in CASES}
    assert {lookup(name, kind="encoder") for name in list_names(kind="encoder")} == tested
