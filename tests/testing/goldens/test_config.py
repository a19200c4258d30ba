"""A case whose configuration or mode contradicts its tensors fails, and the reason says where."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fuseloom.testing.verify import verify_case

MULT, MBT, CT = "lecture/mult_model__d8_skipproj_out8", "rollingq/mbt_depth3_multi2", "muse/ct_06_theta_one"
MUSE_CONSTANTS = "config must have layer_norm_eps 1e-05 and activation 'relu', got "


@pytest.mark.parametrize(
    ("stored", "option", "value", "message"),
    [
        ("cen/bottleneck_down_train", "planes", 6, r"size mismatch for conv1\.weight"),
        ("cen/conv_bn_exchange_train", "bn_threshold", 9.0, r"output\.y0 misses by"),
        ("cen/conv_bn_exchange_train", "cin", 5, "conv2 must map cin to cout as config says"),
        ("cen/exchange_mix", "bn_threshold", 0.0, r"output\.y0 misses by"),
        ("fsmr/attn_mha_cross_masked", "num_heads", 2, "misses by"),
        ("fsmr/attn_mha_self_masked", "self_attention", False, "The case must store 'key_value'"),
        ("fsmr/attn_pool_masked", "hidden", 15, r"size mismatch for score\.weight"),
        ("fsmr/spec_swap_one_to_one", "alpha", 0.9, "misses by"),
        ("fsmr/spec_swap_one_to_one", "direction", "up", r"must be one of \['both', 'text', 'vision'\]"),
        ("fsmr/spec_swap_one_to_one", "direction", "vision", r"output\.text misses by"),
        ("fsmr/spec_swap_projected", "projection", False, "must be True with 4 stored weights"),
        ("fsmr/spec_swap_weighted_mix", "reduce", "first", "misses by"),
        ("geminifusion/fusion_c16_h8", "C", 8, r"x0 must have shape \(2, 5, 8\) as .* got \(2, 5, 16\)"),
        ("geminifusion/fusion_c16_h8", "cross_heads", 4, r"output\.y0 misses by"),
        ("geminifusion/fusion_c8_h1_n1", "cross_heads", 3, "size mismatch for"),
        ("geminifusion/fusion_stack3_c16_h8", "layers", 2, r"stored but not used: weight\.2\."),
        ("geminifusion/fusion_stack3_c16_h8", "layers", 4, r"Missing key\(s\) in state_dict"),
        ("lecture/mag__edge_zero_norm", "beta_shift", 0.4, r"mid\.alpha misses by"),
        ("lecture/mag__edge_zero_norm", "eps", 1e-5, r"eps must be 1e-06, got 1e-05\."),
        ("lecture/mag__edge_zero_norm", "visual_dim", 4, "visual must have width 4 as config says, got 3"),
        ("lecture/mag_bert__tiny", "heads", 4, r"output\.logits misses by"),
        ("lecture/mag_bert__tiny", "layer_norm_eps", 1e-2, r"mid\.text_embedding misses by"),
        ("lecture/mag_bert__tiny", "layers", 1, r"stored but not used: weight\.bert\.encoder\.layer\.1\."),
        ("lecture/mb_multmodel_laststep", "all_steps", True, "Mismatch in shape"),
        ("lecture/mult_ctc__t6_o4", "out_seq_len", 3, "size mismatch for"),
        ("lecture/mult_encoder_cross__mask_q4_k7", "attn_mask", False, r"output\.y misses by"),
        (MULT, "attn_mask", True, r"output\.\w+ misses by"),
        (MULT, "mem_layers", 2, r"Unexpected key\(s\) in state_dict"),
        (MULT, "num_heads", 2, r"output\.\w+ misses by"),
        (MULT, "output_dim", 3, r"'out_layer\.weight' must have 3 rows as config says, got 8"),
        (MULT, "partial_mode", "none", r"partial_mode must be one of \['all three', .*\], got 'none'"),
        (CT, "activation", "gelu", f"{MUSE_CONSTANTS}.*'gelu'"),
        (CT, "d_model", 12, "size mismatch for"),
        (CT, "final_norm", True, "Missing key"),
        (CT, "layer_norm_eps", 1e-6, f"{MUSE_CONSTANTS}1e-06"),
        (CT, "num_layers", 3, "Missing key"),
        (CT, "theta", 0.0, r"output\.out1 misses"),
        ("rollingq/late_fusion_heads", "dim", 5, r"x and y must have width 5 as config says, got \[6\]"),
        ("rollingq/late_fusion_heads", "gated mid dim", 8, "size mismatch for"),
        ("rollingq/late_fusion_heads", "n_classes", 4, "size mismatch for"),
        (MBT, "bottleneck_block_heads", 2, r"output\.\w+ misses by"),
        (MBT, "depth_total", 2, "stored but not used|misses by"),
        (MBT, "mlp_ratio", 2.0, "size mismatch for"),
        (MBT, "num_bottle_token", 2, "size mismatch for bottleneck"),
        ("rollingq/vit_unimodal_audio", "num_heads", 2, r"output\.a misses by"),
        ("tokenfusion/attention_sr1", "dim", 5, "x0 must have 12 tokens of width 5 as config says"),
        ("tokenfusion/attention_sr1", "mask_threshold", 0.0, r"output\.y"),
        ("tokenfusion/attention_sr1", "masked", False, r"stored but not used: input\.mask0, input\.mask1"),
        ("tokenfusion/attention_sr1", "num_heads", 4, r"output\.y0 misses by"),
        ("tokenfusion/ln_channel_exchange", "threshold", 0.0, r"output\.y0 misses by"),
        ("tokenfusion/mit_block_sr1", "H", 4, "x0 must have 20 tokens of width 12 as config says"),
        ("tokenfusion/score_block_small_variance", "sr_ratio", 1, r"Unexpected key.*block\.reduce\.weight"),
        ("tokenfusion/score_predictor_d22_odd", "embed_dim", 21, "must have width 21 as .* got 22"),
        ("tokenfusion/token_exchange_mix", "mask_threshold", 2.0, r"output\.y0 misses by"),
    ],
)
def test_a_configuration_that_contradicts_the_tensors_is_refused(
    changed: Callable[..., Path], stored: str, option: str, value: object, message: str
) -> None:
    result = verify_case(changed(stored, config={option: value}))
    assert result.status == "failed"
    assert re.search(message, result.reason), result.reason


@pytest.mark.parametrize(
    ("stored", "mode", "message"),
    [
        ("cen/conv_bn_exchange_train", "both", "mode must start with 'eval' or 'train', got 'both'."),
        ("fsmr/attn_pool_masked", "train", "mode must be eval, got 'train'."),
        ("lecture/lmf__eval_softmax_out4_b3", "both", "mode must be one of ['eval', 'train'], got 'both'."),
    ],
)
def test_a_mode_that_cannot_be_repeated_is_refused(
    changed: Callable[..., Path], stored: str, mode: str, message: str
) -> None:
    assert message in verify_case(changed(stored, mode=mode)).reason
