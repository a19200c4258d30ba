"""The plain formulation of every fusion part, and its floor: what ours is measured against.

A plain formulation takes the state dict of ours, uses the best torch call for each step of its paper, and
gives the same result. A floor does the matrix products that cannot be avoided and nothing else; the mean over
tokens counts as one.
"""

from rivals import (
    additive,
    cls,
    crossmodal,
    decisions,
    exchanges,
    gates,
    polynomial,
    products,
    routing,
    selections,
    sequence,
    swaps,
)
from rivals._common import Floor, Rivals

__all__ = ["READS", "RIVALS", "Floor"]

_FAMILIES = (
    additive,
    cls,
    crossmodal,
    decisions,
    exchanges,
    gates,
    polynomial,
    products,
    routing,
    selections,
    sequence,
    swaps,
)
RIVALS: Rivals = {name: rival for family in _FAMILIES for name, rival in family.RIVALS.items()}
"""Part -> its plain formulation and its floor."""
READS = swaps.READS
"""Part -> streams to what it reads besides them; most read nothing."""
