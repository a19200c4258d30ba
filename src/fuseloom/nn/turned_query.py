"""Queries that are turned where they are made: a rotation as a parametrisation of their projection."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fuseloom.errors import OptionError
from fuseloom.nn.rotation import MatrixRotation, Rotation

__all__ = ["TurnedRows", "fold_queries", "turn_query", "turned_by"]


class TurnedRows(nn.Module):
    """Turns the first rows of a weight or a bias, those that make queries, and leaves the others.

    While nothing is turned it gives what it is given: no operation, and no copy.

    Args:
        rotation: For all heads; the rows are as many as its heads are wide together.
        owns: Whether the rotation is part of its state; of the parametrisations of one layer one owns it, so
            that it stands once in a state dict.

    Example:
        >>> rotation = Rotation(2)
        >>> rotation.append(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
        >>> TurnedRows(rotation)(torch.tensor([1.0, 0.0, 7.0])).round().abs()
        tensor([0., 1., 7.])
    """

    def __init__(self, rotation: Rotation | MatrixRotation, *, owns: bool = True) -> None:
        super().__init__()
        if owns:
            self.rotation = rotation
        self._lent = [rotation]  # in a list it is no submodule, and a copy of the layer still has its copy

    def forward(self, rows: Tensor) -> Tensor:
        """Rows ``[R]`` or ``[R, D]``, the first ``H d`` of them turned."""
        rotation = self._lent[0]
        if isinstance(rotation, Rotation) and not len(rotation):
            return rows
        count = rotation.num_heads * rotation.dim
        queries = rows[:count].movedim(0, -1)
        heads = queries.reshape(*queries.shape[:-1], rotation.num_heads, rotation.dim)
        turned: Tensor = rotation(heads).flatten(-2).movedim(-1, 0)
        return turned if len(rows) == count else torch.cat([turned, rows[count:]])


def turn_query(
    layer: nn.Module, rotation: Rotation | MatrixRotation, *, names: Sequence[str] = ("weight", "bias")
) -> None:
    """Let a rotation act on the queries that a layer makes: on each parameter that makes them.

    The parameters stay those that an optimiser has; the rotation is a buffer in the layer's state dict, below
    ``parametrizations``. A new layer takes such a state dict once it is prepared in the same way.

    Args:
        layer: Such as a ``torch.nn.Linear``, or a fused projection whose first rows make the queries.
        rotation: As wide as the queries, or as those of a head.
        names: Of its parameters that make queries; one that is None, such as a missing bias, is passed over.

    Raises:
        OptionError: a parameter has fewer rows than the rotation turns, or is computed from others already.

    Example:
        >>> layer, rotation = nn.Linear(3, 2), Rotation(2)
        >>> before = layer(torch.ones(3)).detach()
        >>> turn_query(layer, rotation)
        >>> rotation.append(before[None], torch.tensor([[1.0, 1.0]]))
        >>> after = layer(torch.ones(3))
        >>> (after / after.norm() * 2**0.5).detach().round(decimals=4)
        tensor([1., 1.])
    """
    present = [name for name in names if getattr(layer, name, None) is not None]
    if not present:
        raise OptionError(f"layer must have one of {list(names)}, got {type(layer).__name__}.")
    for name in present:
        _check_parameter(layer, name, rotation)
    for place, name in enumerate(present):
        parametrize.register_parametrization(layer, name, TurnedRows(rotation, owns=place == 0))


def turned_by(layer: nn.Module) -> Rotation | MatrixRotation | None:
    """The rotation that `turn_query` let act on a layer; None where it did not.

    Example:
        >>> turned_by(nn.Linear(3, 2))
    """
    parts = (part for part in layer.modules() if isinstance(part, TurnedRows))
    return next((part._lent[0] for part in parts), None)


def fold_queries(module: nn.Module) -> nn.Module:
    """Leave the turned weights in place of weights and rotation, everywhere in a module, for export.

    Its outputs stay, and it is built and loaded as if there had never been a rotation.

    Args:
        module: Changed in place.

    Returns:
        The same module.

    Raises:
        OptionError: a layer is parametrised by more than the rotation.

    Example:
        >>> layer, rotation = nn.Linear(3, 2), Rotation(2)
        >>> turn_query(layer, rotation)
        >>> rotation.append(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
        >>> turned = layer.weight
        >>> sorted(fold_queries(layer).state_dict()), layer.weight.equal(turned)
        (['bias', 'weight'], True)
    """
    turned = [
        layer
        for layer in module.modules()
        if any(isinstance(part, TurnedRows) for own in _parts(layer).values() for part in own)
    ]
    for layer in turned:
        _check_alone(layer)
    for layer in turned:
        _fold(layer)
    return module


def _fold(layer: nn.Module) -> None:
    # torch's own removal takes the property from a class that all copies of the layer share.
    values = {name: getattr(layer, name).detach() for name in _parts(layer)}
    parameters = {name: parts.original for name, parts in _parts(layer).items()}
    layer.__class__ = type(layer).__mro__[1]
    del layer.parametrizations
    for name, parameter in parameters.items():
        with torch.no_grad():
            parameter.copy_(values[name])
        layer.register_parameter(name, parameter)


def _parts(layer: nn.Module) -> dict[str, Any]:
    """Name of a parameter -> the parametrisations that stand on it."""
    return dict(layer.parametrizations.items()) if parametrize.is_parametrized(layer) else {}  # type: ignore[operator,union-attr]


def _check_alone(layer: nn.Module) -> None:
    parts = _parts(layer)
    if wrong := [name for name, own in parts.items() if len(own) > 1 or not isinstance(own[0], TurnedRows)]:
        raise OptionError(
            f"{type(layer).__mro__[1].__name__} must be parametrised by its rotation alone to be folded, got "
            f"others of {wrong[0]!r}. Remove them first."
        )


def _check_parameter(layer: nn.Module, name: str, rotation: Rotation | MatrixRotation) -> None:
    owner = type(layer).__name__
    if parametrize.is_parametrized(layer, name):
        raise OptionError(
            f"{name} of {owner} must be a parameter of its own, got one that is computed. Turn a query once, "
            "and before all other parametrisations."
        )
    rows, count = len(getattr(layer, name)), rotation.num_heads * rotation.dim
    if rows < count:
        raise OptionError(f"{name} of {owner} must have {count} rows or more to turn, got {rows}.")
