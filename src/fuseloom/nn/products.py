"""Outer products of subsets."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

__all__ = ["subset_products"]


def subset_products(
    values: Mapping[str, Float[Tensor, "*batch _"]], subsets: Sequence[tuple[str, ...]]
) -> dict[tuple[str, ...], Float[Tensor, "*batch _"]]:
    """Flattened outer product of each subset of the values, the last varying fastest.

    Args:
        values: Name -> vector.
        subsets: Names; what is left of one without its last name must stand before it.

    Example:
        >>> import torch
        >>> pair = {"a": torch.tensor([2.0, 3.0]), "b": torch.tensor([5.0, 7.0])}
        >>> subset_products(pair, [("a",), ("b",), ("a", "b")])["a", "b"]
        tensor([10., 14., 15., 21.])
    """
    products: dict[tuple[str, ...], Tensor] = {}
    for subset in subsets:
        *before, last = subset
        product = values[last]
        if before:
            product = (products[tuple(before)].unsqueeze(-1) * product.unsqueeze(-2)).flatten(-2)
        products[subset] = product
    return products
