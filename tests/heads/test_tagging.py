import torch

from fuseloom.heads import TaggingHead
from fuseloom.nn.crf_packing import unpack_chain


def test_emissions_are_linear_and_transitions_those_of_the_chain() -> None:
    head = TaggingHead(4, 3, dropout=0.5).eval()
    fused, mask = torch.randn(2, 5, 4), torch.arange(5) < torch.tensor([[5], [2]])
    chain, emissions, kept = unpack_chain(head(fused, mask))
    torch.testing.assert_close(emissions, head.linear(fused))
    assert kept.equal(mask)
    assert chain.transitions.equal(head.crf.transitions)
    assert chain.start.equal(head.crf.start_transitions)
    assert chain.end.equal(head.crf.end_transitions)


def test_every_parameter_gets_a_gradient_and_dropout_acts_in_training() -> None:
    head = TaggingHead(4, 3, dropout=0.5)
    fused = torch.ones(2, 5, 4)
    one, other = head(fused), head(fused)
    assert not torch.allclose(one, other)
    one.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())
