"""Exchanges: modalities talk and stay apart. One file per method; `_base` is the contract."""

from fuseloom.exchange._base import Exchange

__all__ = ["Exchange"]
