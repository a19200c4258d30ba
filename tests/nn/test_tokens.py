import pytest
import torch

from fuseloom.nn.tokens import as_tokens, like_stream


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (2, 5, 3, 4)])
def test_a_stream_comes_back_as_it_was(shape: tuple[int, ...]) -> None:
    stream = torch.randn(shape)
    tokens = as_tokens(stream)
    assert tokens.shape[::2] == (2, 5)
    assert like_stream(tokens, stream).equal(stream)


def test_pixels_are_read_row_by_row() -> None:
    stream = torch.randn(2, 5, 3, 4)
    assert as_tokens(stream)[:, 6].equal(stream[:, :, 1, 2])
