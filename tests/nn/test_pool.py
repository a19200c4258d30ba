import pytest
import torch

from fuseloom.errors import OptionError
from fuseloom.nn.pool import AttentionPool

MASK = torch.tensor([[True, True, False], [False, False, False]])


def pool(**options: object) -> AttentionPool:
    part = AttentionPool(4, **options)  # type: ignore[arg-type]
    torch.nn.init.normal_(part.score.weight)
    return part.eval()


def test_weights_are_a_softmax_of_the_scores_of_real_tokens() -> None:
    part, tokens = pool(), torch.randn(2, 3, 4)
    scores = (tokens @ part.score.weight[0] + part.score.bias).clamp(min=0)[0, :2]
    weights = scores.exp() / scores.exp().sum()
    out = part(tokens, MASK)
    torch.testing.assert_close(out[0], weights @ tokens[0, :2])
    assert not out[1].any()


def test_the_official_form_averages_over_padding_where_there_is_nothing_else() -> None:
    part, ours, tokens = pool(faithful=True), pool(), torch.randn(2, 3, 4)
    ours.load_state_dict(part.state_dict())
    torch.testing.assert_close(part(tokens, MASK)[0], ours(tokens, MASK)[0])
    # Beside 10,000 a score has four digits left.
    torch.testing.assert_close(part(tokens, MASK)[1], ours(tokens)[1], rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(part(tokens), ours(tokens))


def test_dropout_drops_weights_in_training() -> None:
    part, tokens = pool(dropout=0.5), torch.ones(100, 8, 4)
    torch.testing.assert_close(part(tokens), torch.ones(100, 4))
    assert 0.3 < part.train()(tokens).std() < 0.5  # 8 equal weights, each nothing or double


def test_dropout_is_a_probability() -> None:
    with pytest.raises(OptionError, match=r"^dropout must be in \[0, 1\), got 1\.0\.$"):
        AttentionPool(4, dropout=1.0)
