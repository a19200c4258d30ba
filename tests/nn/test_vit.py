from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fuseloom.errors import OptionError
from fuseloom.nn.blocks import PreNormBlock
from fuseloom.nn.vit import ViTBlock, convert_vit_block, run_block

timm_block = pytest.importorskip("timm.models.vision_transformer").Block


@pytest.mark.parametrize("num_heads", [1, 3])
def test_it_is_the_block_of_timm(num_heads: int) -> None:
    official = timm_block(
        6, num_heads, mlp_ratio=2.0, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6)
    )
    with torch.no_grad():
        for parameter in official.parameters():
            parameter.normal_()
    ours = ViTBlock(6, num_heads=num_heads, hidden=12)
    ours.load_state_dict(convert_vit_block(official.state_dict()))
    tokens = torch.randn(2, 5, 6)
    torch.testing.assert_close(run_block(ours, tokens, None)[0], official(tokens), rtol=1e-4, atol=1e-4)


def test_small_variances_are_those_of_its_own_epsilon() -> None:
    block, tokens = ViTBlock(4), 1e-3 * torch.randn(1, 2, 4)
    expected = F.layer_norm(tokens, (4,), eps=1e-6)
    torch.testing.assert_close(block.normalise(tokens), expected)
    assert (expected - F.layer_norm(tokens, (4,), eps=1e-5)).abs().max() > 0.01


@pytest.mark.parametrize("kind", [ViTBlock, PreNormBlock])
def test_a_whole_block_is_its_steps(kind: type[ViTBlock]) -> None:
    block, tokens = kind(6, num_heads=2), torch.randn(2, 4, 6)
    mask = torch.tensor([[True, True, False, True], [False] * 4])
    out, attended = run_block(block, tokens, mask)
    steps = block.attend(tokens, mask)
    inner = tokens + steps.update
    torch.testing.assert_close(out, block.feed(inner, block.normalise(inner)))
    torch.testing.assert_close(attended.key, steps.key)


def test_dropout_acts_in_training_alone() -> None:
    block, tokens = ViTBlock(6, dropout=0.5), torch.randn(2, 4, 6)
    assert not run_block(block, tokens, None)[0].equal(run_block(block, tokens, None)[0])
    block.eval()
    assert run_block(block, tokens, None)[0].equal(run_block(block, tokens, None)[0])


def test_a_key_of_another_block_is_refused() -> None:
    with pytest.raises(
        OptionError, match=r"^official must be the state of a block .* got 'ls1\.gamma' in it\.$"
    ):
        convert_vit_block({"ls1.gamma": torch.ones(1)})
