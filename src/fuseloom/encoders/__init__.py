"""Encoders: a raw modality becomes a stream, stage by stage. `_base` is the contract."""

from fuseloom.encoders._backbones import PretrainedEncoder
from fuseloom.encoders._base import Encoder

__all__ = ["Encoder", "PretrainedEncoder"]
