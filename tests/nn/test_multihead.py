import pytest
import torch
from torch import nn

from fuseloom.errors import OptionError
from fuseloom.nn.multihead import MultiHeadAttention, convert_multi_head_attention
from fuseloom.types import Trace


def official(dropout: float = 0.0) -> nn.MultiheadAttention:
    layer = nn.MultiheadAttention(8, 2, dropout=dropout, batch_first=True)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer


def test_it_is_torchs_own_with_its_weights() -> None:
    theirs, trace = official(), Trace()
    ours = MultiHeadAttention(8, num_heads=2)
    ours.load_state_dict(convert_multi_head_attention(theirs.state_dict()))
    tokens, source = torch.randn(3, 5, 8), torch.randn(3, 4, 8)
    mask = torch.tensor([[True] * 4, [True, False, True, False], [False, False, False, True]])
    expected, weights = theirs(tokens, source, source, key_padding_mask=~mask)
    torch.testing.assert_close(ours(tokens, source, mask, trace=trace), expected)
    torch.testing.assert_close(trace.records["attention"].mean(1), weights.detach())


def test_a_sample_without_a_source_is_given_the_last_bias() -> None:
    part = MultiHeadAttention(8)
    out = part(torch.randn(2, 3, 8), torch.randn(2, 4, 8), torch.tensor([[True] * 4, [False] * 4]))
    torch.testing.assert_close(out[1], part.out.bias.expand(3, 8))


def test_dropout_acts_in_training_alone() -> None:
    part, tokens = MultiHeadAttention(8, dropout=0.9), torch.randn(2, 6, 8)
    assert not part(tokens, tokens).equal(part(tokens, tokens))
    assert part.eval()(tokens, tokens).equal(part(tokens, tokens))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 3}, r"^dim must be a multiple of num_heads=3, got 8\.$"),
        ({"dropout": 1.0}, r"^dropout must be in \[0, 1\), got 1\.0\.$"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        MultiHeadAttention(8, **options)  # type: ignore[arg-type]


def test_other_weights_are_refused() -> None:
    state = dict(official().state_dict())
    del state["in_proj_bias"]
    with pytest.raises(OptionError, match="got 'in_proj_bias' missing or in addition"):
        convert_multi_head_attention(state)
