"""Primitives that never heard of modalities."""

from fuseloom.nn.attention import attend, attention_weights
from fuseloom.nn.embed import linear_each, stack_masks
from fuseloom.nn.linear import sum_of_linears
from fuseloom.nn.masked import masked_max, masked_mean, masked_softmax

__all__ = [
    "attend",
    "attention_weights",
    "linear_each",
    "masked_max",
    "masked_mean",
    "masked_softmax",
    "stack_masks",
    "sum_of_linears",
]
