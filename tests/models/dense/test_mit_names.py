"""Checkpoints of Mix Transformers: official ones of two streams, there and back, and ordinary ones."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fuseloom.errors import OptionError
from fuseloom.models.dense.geminifusion import (
    convert_geminifusion_mit,
    geminifusion_mit,
    official_geminifusion_mit,
)
from fuseloom.models.dense.mit import MitSize
from fuseloom.models.dense.mit_names import expand_mit
from fuseloom.models.dense.tokenfusion import (
    convert_tokenfusion_mit,
    official_tokenfusion_mit,
    tokenfusion_mit,
)

NAMES = ["rgb", "depth"]
CHANNELS = dict.fromkeys(NAMES, 3)
TINY = MitSize(dims=(8, 16, 24, 32), depths=(1, 2, 1, 1), num_heads=(1, 2, 3, 4))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(value.equal(other[name]) for name, value in one.items())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_of_geminifusion_becomes_ours_and_theirs_again(prefix: str) -> None:
    state = geminifusion_mit(CHANNELS, 5, size=TINY, head_dim=6, faithful=True).state_dict()
    official = official_geminifusion_mit(state, NAMES)
    assert official["encoder.block2.1.attn.cross_attn_1_to_0.in_proj_weight"].shape == (48, 16)
    assert official["encoder.patch_embed4.norm.ln_1.bias"].shape == (32,)
    assert same(convert_geminifusion_mit({prefix + n: v for n, v in official.items()}, NAMES), state)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_of_tokenfusion_becomes_ours_and_theirs_again(prefix: str) -> None:
    state = tokenfusion_mit(CHANNELS, 5, size=TINY, head_dim=6).state_dict()
    official = official_tokenfusion_mit(state, NAMES)
    assert official["encoder.score_predictor.3.score_nets.1.7.bias"].shape == (2,)
    counted = official | {"decoder.linear_fuse.bn.num_batches_tracked": torch.tensor(3)}
    assert same(convert_tokenfusion_mit({prefix + n: v for n, v in counted.items()}, NAMES), state)


def test_names_that_are_of_no_such_model_are_answered() -> None:
    odd = {"encoder.block1.0.norm1.ln_2.weight": torch.ones(1)}
    with pytest.raises(OptionError, match=r"a GeminiFusion MiT, got 'encoder\.block1\.0\.norm1\.ln_2"):
        convert_geminifusion_mit(odd, NAMES)
    with pytest.raises(OptionError, match=r"that of a TokenFusion MiT, got "):
        convert_tokenfusion_mit(odd, NAMES)
    with pytest.raises(OptionError, match=r"that of tokenfusion_mit, got 'encoder\.norms\.0\.heat\.bias'"):
        official_tokenfusion_mit({"encoder.norms.0.heat.bias": torch.ones(1)}, NAMES)
    with pytest.raises(OptionError, match=r"names must be two modalities, .* got \['rgb'\]"):
        official_geminifusion_mit({}, ["rgb"])
    with pytest.raises(OptionError, match=r"that of a Mix Transformer, got 'blocks\.0\.weight'"):
        expand_mit({"blocks.0.weight": torch.ones(1)}, NAMES)


def test_every_weight_of_one_stream_reaches_where_the_official_code_has_it() -> None:
    stored = Path(__file__).parents[2] / "goldens" / "geminifusion" / "expand_state_dict_mit"
    weights = {
        name.removeprefix("weight."): value
        for name, value in load_file(stored.with_suffix(".safetensors")).items()
        if name.startswith("weight.")
    }
    mapping = json.loads(stored.with_suffix(".json").read_text("utf-8"))["mapping"]
    official = official_geminifusion_mit(expand_mit(weights, NAMES), NAMES)
    assert same(official, {f"encoder.{name}": weights[of] for name, of in mapping.items()})


def test_weights_of_a_segformer_of_the_hub_reach_every_stream(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        depths=[*TINY.depths],
        hidden_sizes=[*TINY.dims],
        num_attention_heads=[*TINY.num_heads],
        sr_ratios=[*TINY.reductions],
        decoder_hidden_size=6,
        num_labels=5,
    )
    theirs = transformers.SegformerForSemanticSegmentation(config).eval()
    for weight in theirs.parameters():
        weight.data.normal_(0, 0.1)
    theirs.save_pretrained(tmp_path)
    ours = geminifusion_mit(CHANNELS, 5, size=TINY, head_dim=6, last=0).eval()
    state = expand_mit(load_file(tmp_path / "model.safetensors"), NAMES)
    left = ours.load_state_dict(state, strict=False)
    assert left.missing_keys == ["head.classify.weight", "head.classify.bias", "ensemble.alpha"]
    assert left.unexpected_keys == []
    ours.head.classify.load_state_dict(theirs.decode_head.classifier.state_dict())
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected, found = theirs(image).logits, ours(dict.fromkeys(NAMES, image))
    for index in range(3):
        torch.testing.assert_close(found[:, index], expected, rtol=1e-3, atol=1e-5)
