"""Rotations of a query that turn it towards a target and leave all else as it is: two mirrors each."""

from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError

__all__ = ["MatrixRotation", "Rotation", "mirrors", "procrustes_rotation"]

_SAME = 1e-12
"""Angle in radians below which two directions are one, or one the opposite of the other."""


def mirrors(source: Tensor, target: Tensor) -> Tensor:
    r"""The smallest rotation from one direction to another, as two mirrors.

    With :math:`x = s / |s|`, :math:`y = t / |t|` and :math:`m = (x + y) / |x + y|` it is

    .. math:: R = (I - 2 m m^\top) (I - 2 x x^\top), \quad R x = y,

    which is the identity on all that is orthogonal to both, has determinant 1, and changes smoothly with
    them. Where ``target`` is opposite to ``source``, ``m`` is a direction at right angles to it; where it is
    the same, there is nothing to mirror.

    Args:
        source: ``[..., d]``.
        target: ``[..., d]``.

    Returns:
        ``x`` and ``m``, ``[2, ..., d]`` in float64; zero, which mirrors nothing, where the two are the same.

    Raises:
        OptionError: other shapes, fewer than two axes to turn in, or a vector without a direction.

    Example:
        >>> mirrors(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0]))
        tensor([[1.0000, 0.0000],
                [0.7071, 0.7071]], dtype=torch.float64)
    """
    if source.shape != target.shape or source.dim() < 1 or source.shape[-1] < 2:
        raise OptionError(
            f"source and target must both be [..., d] with d of at least 2, got {list(source.shape)} and "
            f"{list(target.shape)}."
        )
    first, last = _direction("source", source), _direction("target", target)
    along = (first * last).sum(-1, keepdim=True)
    across = last - along * first
    across = across - (across * first).sum(-1, keepdim=True) * first  # again: of opposites little is left
    length = across.norm(dim=-1, keepdim=True)
    angle = torch.atan2(length, along)
    across = torch.where(length > _SAME, across / length.clamp(min=_SAME), _across(first))
    middle = (angle / 2).cos() * first + (angle / 2).sin() * across
    return torch.stack([first, middle]) * (angle > _SAME)


def procrustes_rotation(source: Tensor, target: Tensor) -> Tensor:
    """The rotation of RollingQ's official code: the orthogonal factor of ``target source^T``.

    It turns ``source`` to ``target`` as `mirrors` does; what it does at right angles to ``source`` depends on
    the basis that the decomposition happened to choose, another one on other processors and in other
    precision, also where the two are the same. Differs from the official code: in float64, where the sign of
    the determinant can be told in any width; there, from width 384 in float32, about half of the results are
    reflections.

    Args:
        source: ``[..., d]``.
        target: ``[..., d]``.

    Returns:
        ``[..., d, d]`` in float64, with determinant 1.

    Raises:
        OptionError: a vector without a direction.

    Example:
        >>> turned = procrustes_rotation(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
        >>> (turned @ turned.new_tensor([0.0, 3.0])).round()
        tensor([-3.,  0.], dtype=torch.float64)
    """
    first, last = _direction("source", source), _direction("target", target)
    left, _, right = torch.linalg.svd(last[..., :, None] * first[..., None, :])
    flip = torch.linalg.det(left) * torch.linalg.det(right) < 0
    sign = torch.ones_like(first)
    sign[..., -1] = torch.where(flip, -1.0, 1.0)
    turned: Tensor = (left * sign[..., None, :]) @ right
    return turned


class Rotation(nn.Module):
    r"""Rotations one after another, a product for each head, stored as the vectors that they turn.

    .. math:: R = R_K \cdots R_2 R_1, \quad R_k = (I - 2 m_k m_k^\top) (I - 2 x_k x_k^\top)

    They are a buffer, so a checkpoint holds them and they act as soon as there is one; nothing is trained.
    Applying them takes ``4 K d`` products per head and query.

    Paper: RollingQ, ICML 2025, arXiv:2506.11465. Differs from the official code: there it is
    the matrix of `procrustes_rotation`, a parameter, and of no effect in a checkpoint that is loaded.

    Args:
        dim: Width ``d`` of a head's query.
        num_heads: ``H``.

    Raises:
        OptionError: a width below 2, or no head.

    Example:
        >>> rotation = Rotation(3)
        >>> x, y = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 2.0]])
        >>> rotation.append(x, y)
        >>> rotation(x).round(decimals=3).abs(), len(rotation)
        (tensor([[0., 0., 1.]]), 1)
    """

    vectors: Tensor

    def __init__(self, dim: int, *, num_heads: int = 1) -> None:
        super().__init__()
        _check_size(dim, num_heads)
        self.dim, self.num_heads = dim, num_heads
        self.register_buffer("vectors", torch.zeros(0, 2, num_heads, dim, dtype=torch.float64))

    def __len__(self) -> int:
        return len(self.vectors)

    def forward(self, query: Tensor) -> Tensor:
        """Queries ``[..., H, d]``, turned; in their dtype."""
        for pair in self.vectors:
            for normal in pair.to(query.dtype):  # [H, d]
                query = query - 2 * (query * normal).sum(-1, keepdim=True) * normal
        return query

    def append(self, source: Tensor, target: Tensor) -> None:
        """Go on turning: what is at ``source`` ``[H, d]`` now, after all turns so far, goes to ``target``.

        Raises:
            OptionError: other shapes, or a vector without a direction.
        """
        _check_vectors(self, source, target)
        pair = mirrors(source, target).to(self.vectors)
        self.vectors = torch.cat([self.vectors, pair[None]])

    def matrix(self) -> Tensor:
        """The product ``[H, d, d]`` of all rotations, which acts on queries as columns; in float64."""
        return _matrix(self)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Make room for as many rotations as there are in the checkpoint."""
        saved = state_dict.get(f"{prefix}vectors")
        if saved is not None and saved.shape[1:] == self.vectors.shape[1:]:
            self.vectors = self.vectors.new_zeros(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)


class MatrixRotation(nn.Module):
    """A matrix per head, as official checkpoints of RollingQ hold it; `Rotation` is the right form.

    Args:
        dim: Width ``d`` of a head's query.
        num_heads: ``H``.

    Raises:
        OptionError: a width below 2, or no head.

    Example:
        >>> rotation = MatrixRotation(2)
        >>> rotation.append(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
        >>> rotation(torch.tensor([[0.0, 3.0]])).round()
        tensor([[-3.,  0.]])
    """

    product: Tensor
    count: Tensor

    def __init__(self, dim: int, *, num_heads: int = 1) -> None:
        super().__init__()
        _check_size(dim, num_heads)
        self.dim, self.num_heads = dim, num_heads
        self.register_buffer("product", torch.eye(dim, dtype=torch.float64).repeat(num_heads, 1, 1))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def __len__(self) -> int:
        return int(self.count)

    def forward(self, query: Tensor) -> Tensor:
        """Queries ``[..., H, d]``, turned; in their dtype."""
        turned: Tensor = (self.product.to(query.dtype) @ query[..., None])[..., 0]
        return turned

    def append(self, source: Tensor, target: Tensor) -> None:
        """Go on turning: what is at ``source`` ``[H, d]`` now, after all turns so far, goes to ``target``.

        Raises:
            OptionError: other shapes, or a vector without a direction.
        """
        _check_vectors(self, source, target)
        self.multiply(procrustes_rotation(source, target))

    def multiply(self, rotation: Tensor) -> None:
        """Go on turning by matrices ``[H, d, d]`` that are given, such as those of the official code."""
        self.product = rotation.to(self.product) @ self.product
        self.count = self.count + 1

    def matrix(self) -> Tensor:
        """The product ``[H, d, d]`` of all rotations, which acts on queries as columns; in float64."""
        return _matrix(self)


def _check_size(dim: int, num_heads: int) -> None:
    for name, value, least in (("dim", dim, 2), ("num_heads", num_heads, 1)):
        if value < least:
            raise OptionError(f"{name} must be at least {least}, got {value}.")


def _check_vectors(rotation: Rotation | MatrixRotation, *vectors: Tensor) -> None:
    shape = (rotation.num_heads, rotation.dim)
    if wrong := [list(value.shape) for value in vectors if value.shape != shape]:
        raise OptionError(f"source and target must be [heads, width] = {list(shape)}, got {wrong[0]}.")


def _matrix(rotation: Rotation | MatrixRotation) -> Tensor:
    device = next(rotation.buffers()).device
    unit = torch.eye(rotation.dim, dtype=torch.float64, device=device)
    columns: Tensor = rotation(unit[:, None].expand(-1, rotation.num_heads, -1))  # [d, H, d]
    return columns.permute(1, 2, 0)


def _direction(name: str, vector: Tensor) -> Tensor:
    exact = vector.detach().double()
    length = exact.norm(dim=-1, keepdim=True)
    if not (length.isfinite() & (length > 0)).all():
        raise OptionError(f"{name} must have a direction in every head, got one that is zero or not finite.")
    direction: Tensor = exact / length
    return direction


def _across(unit: Tensor) -> Tensor:
    """A unit vector at right angles to each of ``[..., d]``: the axis that is least along it, corrected."""
    axis = torch.zeros_like(unit).scatter_(-1, unit.abs().argmin(-1, keepdim=True), 1.0)
    rest = axis - (axis * unit).sum(-1, keepdim=True) * unit
    across: Tensor = rest / rest.norm(dim=-1, keepdim=True)
    return across
