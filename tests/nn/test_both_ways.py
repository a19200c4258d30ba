import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from fuseloom.nn import BidirectionalLstm


def packed(lstm: BidirectionalLstm, tokens: Tensor, lengths: list[int]) -> Tensor:
    """The same from PyTorch's own LSTM of two directions."""
    oracle = nn.LSTM(lstm.onward.input_size, lstm.onward.hidden_size, batch_first=True, bidirectional=True)
    oracle.load_state_dict(
        lstm.onward.state_dict()
        | {f"{name}_reverse": value for name, value in lstm.back.state_dict().items()}
    )
    found, _ = oracle(pack_padded_sequence(tokens, torch.tensor(lengths), True, enforce_sorted=False))
    return pad_packed_sequence(found, batch_first=True, total_length=tokens.shape[1])[0]


@pytest.fixture
def lstm() -> BidirectionalLstm:
    return BidirectionalLstm(5, 3)


def test_it_is_the_lstm_of_two_directions_over_what_is_real(lstm: BidirectionalLstm) -> None:
    lengths = [4, 1, 7]
    tokens = torch.randn(3, 7, 5)
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    found = lstm(tokens.masked_fill(~mask[..., None], float("nan")), mask)
    torch.testing.assert_close(found * mask[..., None], packed(lstm, tokens, lengths))


def test_without_a_mask_all_is_real(lstm: BidirectionalLstm) -> None:
    tokens = torch.randn(2, 6, 5)
    found = lstm(tokens)
    torch.testing.assert_close(found, packed(lstm, tokens, [6, 6]))
    torch.testing.assert_close(found, lstm(tokens, torch.ones(2, 6, dtype=torch.bool)))


def test_a_gap_is_a_token_of_zeros(lstm: BidirectionalLstm) -> None:
    tokens = torch.randn(1, 5, 5)
    mask = torch.tensor([[True, False, True, True, False]])
    zeros = tokens * torch.tensor([1.0, 0, 1, 1, 0])[:, None]
    torch.testing.assert_close(lstm(tokens, mask)[:, :4], packed(lstm, zeros, [4])[:, :4])


def test_a_sequence_without_tokens_stays_finite_and_has_no_gradient(lstm: BidirectionalLstm) -> None:
    tokens = torch.randn(2, 4, 5, requires_grad=True)
    mask = torch.tensor([[False] * 4, [True] * 4])
    found = lstm(tokens, mask)
    found.sum().backward()
    assert found.isfinite().all()
    assert tokens.grad is not None
    assert not tokens.grad[0].any()
    assert tokens.grad[1].all()


@pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights")  # of any LSTM of torch's
def test_it_can_be_exported(lstm: BidirectionalLstm) -> None:
    tokens, mask = torch.randn(2, 6, 5), torch.arange(6) < torch.tensor([[6], [2]])
    exported = torch.export.export(lstm.eval(), (tokens, mask)).module()
    torch.testing.assert_close(exported(tokens, mask), lstm(tokens, mask))
