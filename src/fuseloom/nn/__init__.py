"""Primitives that never heard of modalities."""

from fuseloom.nn.attention import attend, attention_weights
from fuseloom.nn.blocks import Attended, EncoderBlock, PostNormBlock, PreNormBlock
from fuseloom.nn.both_ways import BidirectionalLstm
from fuseloom.nn.channel_norm import ChannelLayerNorm, MaskedBatchNorm, MaskedInstanceNorm
from fuseloom.nn.convolution import MaskedConv, MaskedResidual, masked_average, shorten_mask
from fuseloom.nn.donor import Donor, donor_by_position, donor_by_score
from fuseloom.nn.dropout import Dropout
from fuseloom.nn.embed import linear_each, stack_masks
from fuseloom.nn.gates import entropy, gumbel, sample_one, sigmoid, soft, sparsemax, straight_through
from fuseloom.nn.gaussians import product_of_gaussians
from fuseloom.nn.linear import sum_of_linears
from fuseloom.nn.masked import masked_max, masked_mean, masked_softmax
from fuseloom.nn.mel import log_mel, mel_filters
from fuseloom.nn.norm import MaskedGroupNorm, masked_group_norm
from fuseloom.nn.perceptron import perceptron
from fuseloom.nn.polynomial import PolynomialFeatures, count_monomials
from fuseloom.nn.products import subset_products
from fuseloom.nn.quantile import below_quantile, masked_quantile, nearest_fraction
from fuseloom.nn.reinforce import Reinforce
from fuseloom.nn.routing import route
from fuseloom.nn.score import ScorePredictor
from fuseloom.nn.spectrogram import kaldi_filterbank, log_spectrogram
from fuseloom.nn.token_scores import TOKEN_SCORES, TokenScore, first_token_attention
from fuseloom.nn.transformer import (
    SinusoidalPositions,
    TransformerEncoder,
    convert_transformer,
    divisible_width,
    masked_last,
)

__all__ = [
    "TOKEN_SCORES",
    "Attended",
    "BidirectionalLstm",
    "ChannelLayerNorm",
    "Donor",
    "Dropout",
    "EncoderBlock",
    "MaskedBatchNorm",
    "MaskedConv",
    "MaskedGroupNorm",
    "MaskedInstanceNorm",
    "MaskedResidual",
    "PolynomialFeatures",
    "PostNormBlock",
    "PreNormBlock",
    "Reinforce",
    "ScorePredictor",
    "SinusoidalPositions",
    "TokenScore",
    "TransformerEncoder",
    "attend",
    "attention_weights",
    "below_quantile",
    "convert_transformer",
    "count_monomials",
    "divisible_width",
    "donor_by_position",
    "donor_by_score",
    "entropy",
    "first_token_attention",
    "gumbel",
    "kaldi_filterbank",
    "linear_each",
    "log_mel",
    "log_spectrogram",
    "masked_average",
    "masked_group_norm",
    "masked_last",
    "masked_max",
    "masked_mean",
    "masked_quantile",
    "masked_softmax",
    "mel_filters",
    "nearest_fraction",
    "perceptron",
    "product_of_gaussians",
    "route",
    "sample_one",
    "shorten_mask",
    "sigmoid",
    "soft",
    "sparsemax",
    "stack_masks",
    "straight_through",
    "subset_products",
    "sum_of_linears",
]
