"""Iterated routing of votes to concepts."""

from jaxtyping import Float
from torch import Tensor

from fuseloom.nn.masked import masked_softmax

__all__ = ["route"]


def route(
    votes: Float[Tensor, "*batch source concept dim"],
    gates: Float[Tensor, "*batch source"],
    *,
    iterations: int,
) -> tuple[Float[Tensor, "*batch concept dim"], Float[Tensor, "*batch source concept"]]:
    r"""Let every source share its vote among the concepts that agree with it, again and again.

    .. math:: r_{ij} = \mathrm{softmax}_j \langle u_{ij}, c_j \rangle, \quad c_j = \sum_i p_i r_{ij} u_{ij}

    Args:
        votes: ``u``, what each source says of each concept.
        gates: ``p``, how much each source counts; zero leaves it out.
        iterations: How often both formulas are applied, from concepts that are one everywhere; at least 1.

    Returns:
        Concepts ``c`` and the shares ``r`` they were made of, those of a source adding up to one.

    Example:
        >>> import torch
        >>> concepts, shares = route(torch.ones(1, 2, 4, 3), torch.tensor([[1.0, 0.0]]), iterations=2)
        >>> concepts[0, 0], shares[0, 0]
        (tensor([0.2500, 0.2500, 0.2500]), tensor([0.2500, 0.2500, 0.2500, 0.2500]))
    """
    # One copy, so that the two products of each iteration run on contiguous matrices.
    votes = votes.transpose(-3, -2).contiguous()  # [..., J, I, E]
    concepts = votes.new_ones(1).expand(*votes.shape[:-2], votes.shape[-1])  # [..., J, E]
    shares, concepts = _iterate(votes, gates, concepts)
    for _ in range(iterations - 1):
        shares, concepts = _iterate(votes, gates, concepts)
    return concepts, shares


def _iterate(votes: Tensor, gates: Tensor, concepts: Tensor) -> tuple[Tensor, Tensor]:
    agreement = (votes @ concepts[..., None]).squeeze(-1)  # [..., J, I]
    shares = masked_softmax(agreement.mT)  # [..., I, J]
    weights = (gates[..., None] * shares).mT  # [..., J, I]
    return shares, (weights[..., None, :] @ votes).squeeze(-2)
