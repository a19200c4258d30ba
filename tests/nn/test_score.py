"""Scores of tokens."""

import pytest
import torch
from torch.nn import functional as F

from fuseloom.nn.score import ScorePredictor


def test_scores_are_the_share_of_the_first_logit_of_a_perceptron_behind_a_norm():
    predictor, tokens = ScorePredictor(12), torch.randn(3, 5, 12)
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter.normal_()
    norm, *layers = (layer for layer in predictor.layers if list(layer.parameters()))
    hidden = F.layer_norm(tokens, (12,), norm.weight, norm.bias, 1e-5)
    for number, layer in enumerate(layers):
        hidden = (F.gelu(hidden) if number else hidden) @ layer.weight.T + layer.bias
    torch.testing.assert_close(predictor(tokens), hidden.log_softmax(-1).softmax(-1)[..., 0])
    assert predictor(tokens).std() > 0.1


@pytest.mark.parametrize(
    ("dim", "widths"), [(22, [22, 22, 11, 5, 2]), (3, [3, 3, 1, 1, 2]), (1, [1] * 4 + [2])]
)
def test_widths_are_halved_and_at_least_one(dim, widths):
    linears = [layer for layer in ScorePredictor(dim).layers if isinstance(layer, torch.nn.Linear)]
    assert [linears[0].in_features, *(linear.out_features for linear in linears)] == widths


def test_scores_are_float32_where_tokens_are_in_less():
    predictor = ScorePredictor(8).bfloat16()
    scores = predictor(torch.randn(2, 3, 8, dtype=torch.bfloat16))
    assert scores.dtype == torch.float32
    assert scores.sub(0.5).abs().max() < 0.05
