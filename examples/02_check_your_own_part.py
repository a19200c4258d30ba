"""A merge of one's own, checked by the contract, and what the contract says of a careless one.

Run it: python examples/02_check_your_own_part.py
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom import Card, Masks, Streams, Trace
from fuseloom.errors import ContractError
from fuseloom.merge import Merge
from fuseloom.testing import check_merge


class Product(Merge):
    """Product of one linear map per modality."""

    name = "product"
    card = Card(
        summary="Product of a linear map of each modality.",
        interaction="multiplicative",
        cost="K sum_m D_m",
        parameters="per modality",
        ranks=("embedding",),
        arity=(2, None),
    )

    def __init__(self, dims: Mapping[str, int], dim: int | None = None) -> None:
        super().__init__(dims, dim)
        self.embed = nn.ModuleDict({name: nn.Linear(width, self.dim) for name, width in self.dims.items()})

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        """Multiply what the modalities say."""
        return torch.stack([self.embed[name](value) for name, value in streams.items()]).prod(0)


class Centred(Merge):
    """The same with the mean of the batch taken off, so that samples depend on one another."""

    name = "centred"
    card = Product.card

    def __init__(self, dims: Mapping[str, int], dim: int | None = None) -> None:
        super().__init__(dims, dim)
        self.product = Product(dims, dim)

    def merge(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Tensor:
        """Centre the product over the batch."""
        fused: Tensor = self.product(streams, masks)
        return fused - fused.mean(0)


if __name__ == "__main__":
    check_merge(Product, skip=("inductor_equal",))
    print("Product keeps the contract.")
    try:
        check_merge(Centred)
    except ContractError as error:
        print(f"Centred does not: {error}")
