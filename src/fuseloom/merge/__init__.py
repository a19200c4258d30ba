"""Merges: modalities become one. One file per method; `_base` is the contract."""

from fuseloom.merge._base import Merge

__all__ = ["Merge"]
