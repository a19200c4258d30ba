import pytest
import torch

from fuseloom.errors import OptionError
from fuseloom.models.muse.transformer import convert_muse_transformer, muse_transformer
from fuseloom.nn import PostNormBlock


def test_the_default_is_the_published_one() -> None:
    with torch.device("meta"):
        model = muse_transformer({"text": 768, "image": 768})
    assert sum(parameter.numel() for parameter in model.parameters()) == 33_083_904
    assert list(model.exchanges) == [f"{layer}_after_norm" for layer in (1, 2, 3)]
    block = model.layers[0]["shared"]
    assert (len(model.layers), type(block), block.num_heads, block.dropout.p) == (6, PostNormBlock, 12, 0.2)


def test_options_are_those_of_the_exchange() -> None:
    model = muse_transformer({"text": 12, "image": 12}, theta=1.0, mode="replace", layers=[-1]).eval()
    text, image = torch.randn(2, 5, 12), torch.randn(2, 8, 12)
    seen = {}
    model.exchanges["5_after_norm"].register_forward_hook(
        lambda _m, given, out: seen.update(a=given[0], b=out)
    )
    model({"text": text, "image": image})
    mean = seen["a"]["image"].mean(1, keepdim=True)
    replaced = (seen["b"]["text"] == mean).all(-1).sum(1)
    assert replaced.tolist() == [3, 3]  # all but the cls and the highest


@pytest.mark.parametrize(
    "key", ["layers.0.linear3.weight", "linear.weight", "layers.x.norm1.bias", "norm.scale"]
)
def test_a_foreign_key_is_refused(key: str) -> None:
    with pytest.raises(
        OptionError, match=f"^official must be the state of a CrossReplaceTransformer, got '{key}'"
    ):
        convert_muse_transformer({key: torch.zeros(1)})
