import torch

from fuseloom.heads import LinearHead


def test_dropout_acts_in_training_only():
    head = LinearHead(50, 2, dropout=0.5)
    fused = torch.ones(4, 50)
    assert not torch.allclose(head(fused), head(fused))
    head.eval()
    torch.testing.assert_close(head(fused), head.linear(fused))
