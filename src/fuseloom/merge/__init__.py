"""Merges: modalities become one. One file per method; `_base` is the contract."""

from fuseloom.merge._base import Decision, Merge

__all__ = ["Decision", "Merge"]
