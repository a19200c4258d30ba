import torch

from fuseloom.nn.crf_lattice import Chain
from fuseloom.nn.crf_packing import pack_chain, unpack_chain
from fuseloom.nn.crf_sums import log_likelihood


def chain(tags: int) -> Chain:
    return Chain(start=torch.randn(tags), transitions=torch.randn(tags, tags), end=torch.randn(tags))


def test_what_is_packed_is_unpacked() -> None:
    scores, emissions, mask = chain(3), torch.randn(2, 4, 3), torch.arange(4) < torch.tensor([[4], [1]])
    packed = pack_chain(scores, emissions, mask)
    back, same, kept = unpack_chain(packed)
    assert packed.shape == (2, 9, 4)
    for name in ("start", "transitions", "end"):
        assert getattr(back, name).equal(getattr(scores, name))
    assert same.equal(emissions)
    assert kept.equal(mask)
    assert unpack_chain(pack_chain(scores, emissions))[2].all()


def test_a_loss_of_the_packed_has_the_gradient_of_the_parts() -> None:
    scores, emissions, tags = chain(3), torch.randn(4, 5, 3, requires_grad=True), torch.randint(3, (4, 5))
    for part in vars(scores).values():
        part.requires_grad_()
    sources = [emissions, *vars(scores).values()]
    straight = torch.autograd.grad(log_likelihood(scores, emissions, tags).sum(), sources)
    back, same, mask = unpack_chain(pack_chain(scores, emissions))
    packed = torch.autograd.grad(log_likelihood(back, same, tags, mask).sum(), sources)
    torch.testing.assert_close(packed, straight)


def test_low_precision_emissions_keep_the_chain_exact() -> None:
    scores = chain(2)
    packed = pack_chain(scores, torch.randn(1, 3, 2, dtype=torch.bfloat16))
    assert unpack_chain(packed)[0].transitions.equal(scores.transitions)


def test_no_sample_is_no_error() -> None:
    back, emissions, _ = unpack_chain(pack_chain(chain(2), torch.zeros(0, 3, 2)))
    assert emissions.shape == (0, 3, 2)
    assert back.transitions.shape == (2, 2)
