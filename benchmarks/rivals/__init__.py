"""The plain formulation of every fusion part, and its floor: what ours is measured against.

A plain formulation takes the state dict of ours, uses the best torch call for each step of its paper, and
gives the same result. A floor does the matrix products that cannot be avoided and nothing else; the mean over
tokens counts as one.
"""

from rivals import additive, decisions, exchanges, gates, polynomial, products, routing, sequence
from rivals._common import Floor, Rivals

__all__ = ["RIVALS", "Floor"]

_FAMILIES = (additive, decisions, exchanges, gates, polynomial, products, routing, sequence)
RIVALS: Rivals = {name: rival for family in _FAMILIES for name, rival in family.RIVALS.items()}
"""Part -> its plain formulation and its floor."""
