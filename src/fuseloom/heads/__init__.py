"""Heads: a fused value becomes the outputs of a task."""

from fuseloom.heads.linear import LinearHead

__all__ = ["LinearHead"]
