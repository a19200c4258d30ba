"""Primitives that never heard of modalities."""

from fuseloom.nn.attention import attend, attention_weights
from fuseloom.nn.linear import sum_of_linears
from fuseloom.nn.masked import masked_max, masked_mean, masked_softmax

__all__ = ["attend", "attention_weights", "masked_max", "masked_mean", "masked_softmax", "sum_of_linears"]
