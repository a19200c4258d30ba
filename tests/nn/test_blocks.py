from typing import Any

import pytest
import torch
from torch import nn

from fuseloom.errors import OptionError
from fuseloom.nn import EncoderBlock, PostNormBlock, PreNormBlock

FORMS = [PreNormBlock, PostNormBlock]


def run(block: EncoderBlock, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    tokens = tokens + block.attend(tokens, mask).update
    return block.feed(tokens, block.normalise(tokens))


def torch_layer(block: EncoderBlock, *, norm_first: bool) -> nn.TransformerEncoderLayer:
    """torch's own layer with the same weights."""
    layer = nn.TransformerEncoderLayer(8, 2, 11, 0.0, batch_first=True, norm_first=norm_first)
    state = {
        "self_attn.in_proj_": block.qkv,
        "self_attn.out_proj.": block.out,
        "linear1.": block.up,
        "linear2.": block.down,
        "norm1.": block.attention_norm,
        "norm2.": block.feedforward_norm,
    }
    layer.load_state_dict({f"{key}{n}": v for key, part in state.items() for n, v in part.named_parameters()})
    return layer


@pytest.mark.parametrize("form", FORMS)
def test_a_block_is_torch_s_layer(form: type[EncoderBlock]) -> None:
    block = form(8, num_heads=2, hidden=11)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    tokens, mask = torch.randn(3, 5, 8), torch.rand(3, 5) < 0.7
    mask[:, 0] = True
    layer = torch_layer(block, norm_first=form is PreNormBlock)
    torch.testing.assert_close(run(block, tokens, mask), layer(tokens, src_key_padding_mask=~mask))
    torch.testing.assert_close(run(block, tokens), layer(tokens))


@pytest.mark.parametrize("form", FORMS)
def test_a_stack_of_blocks_ends_normalised(form: type[EncoderBlock]) -> None:
    out = form.closing(8)(run(form(8), torch.randn(2, 5, 8) * 9 + 4))
    torch.testing.assert_close(out.mean(-1), torch.zeros(2, 5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", FORMS)
def test_dropout_acts_in_training_alone(form: type[EncoderBlock]) -> None:
    block, tokens = form(8, dropout=0.5), torch.randn(2, 5, 8)
    assert not run(block, tokens).equal(run(block, tokens))
    assert run(block.eval(), tokens).equal(run(block, tokens))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 3}, r"^dim must be a multiple of num_heads=3, got 8\.$"),
        ({"num_heads": 0}, r"^num_heads must be at least 1, got 0\.$"),
        ({"hidden": 0}, r"^hidden must be at least 1, got 0\.$"),
        ({"dropout": 1.0}, r"^dropout must be in \[0, 1\), got 1\.0\.$"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        PreNormBlock(8, **options)
