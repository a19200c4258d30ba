import pytest
import timm.layers.attention
import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from fuseloom import create
from fuseloom.errors import OptionError
from fuseloom.merge.attention_pool import AttentionPool
from fuseloom.nn.rotation import Rotation
from fuseloom.train.class_adapters import adapt, find_class_attention
from fuseloom.train.class_attention import ClassAttention
from fuseloom.train.rolling_query import RollingQuery

TOKENS = {"text": slice(1, 4), "image": slice(4, None)}
KEPT = torch.tensor([[1] * 7, [1, 1, 0, 0, 1, 1, 0], [1, 0, 0, 0, 1, 1, 1]]).bool()
"""Of the last row there is no text."""


def drawn(layer):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.5)
    return layer.eval()


def torch_layer(**options):
    return drawn(nn.MultiheadAttention(8, 2, **options))


def torch_case(**options):
    layer = torch_layer(**options)
    first = layer.batch_first

    def run(x, kept):
        x = x if first else x.transpose(0, 1)
        out, _ = layer(x, x, x, key_padding_mask=None if kept is None else ~kept)
        return out[:, 0] if first else out[0]

    weights = layer.in_proj_weight.chunk(3)[:2]
    biases = layer.in_proj_bias.chunk(3)[:2] if layer.in_proj_bias is not None else (None, None)
    return layer, run, list(zip((w.detach() for w in weights), biases, strict=True))


def timm_case():
    layer = drawn(timm.layers.attention.Attention(8, num_heads=2, qkv_bias=True))

    def run(x, kept):
        return layer(x, attn_mask=None if kept is None else kept[:, None, None].expand(-1, 2, 7, -1))[:, 0]

    parts = list(zip(layer.qkv.weight.chunk(3)[:2], layer.qkv.bias.chunk(3)[:2], strict=True))
    return layer, run, parts


def vit_case():
    config = ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=4,
        patch_size=2,
    )
    layer = drawn(ViTModel(config, add_pooling_layer=False).layers[0].attention)

    def run(x, kept):
        mask = None if kept is None else torch.zeros(3, 1, 7, 7).masked_fill(~kept[:, None, None], -torch.inf)
        return layer(x, mask)[0][:, 0]

    return layer, run, [(part.weight, part.bias) for part in (layer.q_proj, layer.k_proj)]


def bert_case():
    config = BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9
    )
    layer = drawn(BertModel(config, add_pooling_layer=False).encoder.layer[0].attention.self)

    def run(x, kept):
        return layer(x, attention_mask=None if kept is None else kept[:, None, None].expand(-1, 1, 7, -1))[0][
            :, 0
        ]

    return layer, run, [(part.weight, part.bias) for part in (layer.query, layer.key)]


CASES = {
    "torch": lambda: torch_case(batch_first=True),
    "torch_length_first": torch_case,
    "torch_no_bias": lambda: torch_case(batch_first=True, bias=False),
    "timm": timm_case,
    "hf_vit": vit_case,
    "hf_bert": bert_case,
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_it_reads_the_query_of_the_class_token_and_mean_keys(case, masked):
    torch.manual_seed(0)
    layer, run, ((q_weight, q_bias), (k_weight, k_bias)) = CASES[case]()
    x, kept = torch.randn(3, 7, 8), KEPT if masked else None
    adapted = adapt(layer, TOKENS)
    assert isinstance(adapted, ClassAttention)
    with adapted.reading() as readings:
        plain = run(x, kept)
    (reading,) = readings
    assert plain.isfinite().all()
    torch.testing.assert_close(reading.query, F.linear(x[:, 0], q_weight, q_bias).view(3, 2, 4))
    keys = F.linear(x, k_weight, k_bias)
    for name, place in TOKENS.items():
        real = KEPT[:, place] if masked else torch.ones_like(KEPT[:, place])
        for row in range(3):
            mean = keys[row, place][real[row]].mean(0).view(2, 4)  # NaN of none
            torch.testing.assert_close(reading.keys[name][row], mean, equal_nan=True)
    assert reading.keys["text"][2].isnan().all() == masked
    assert not reading.query.requires_grad


@pytest.mark.parametrize("case", CASES)
def test_no_hook_is_left_and_the_output_is_the_same(case):
    layer, run, _ = CASES[case]()
    x = torch.randn(3, 7, 8)
    plain, adapted = run(x, None), adapt(layer, TOKENS)
    with adapted.reading():
        assert run(x, None).equal(plain)
    with pytest.raises(ZeroDivisionError), adapted.reading():
        raise ZeroDivisionError
    assert not layer._forward_hooks


@pytest.mark.parametrize("case", CASES)
def test_a_rotation_turns_what_is_read_and_the_output_is_that_of_turned_weights(case):
    torch.manual_seed(0)
    layer, run, ((weight, bias), _) = CASES[case]()
    weight, bias = weight.detach().clone(), None if bias is None else bias.detach().clone()
    x, adapted = torch.randn(3, 7, 8), adapt(layer, TOKENS)
    before = run(x, KEPT)
    rotation = Rotation(4, num_heads=2)
    assert adapted.rotation is None
    adapted.turn(rotation)
    assert adapted.rotation is rotation
    assert run(x, KEPT).equal(before)
    rotation.append(*torch.randn(2, 2, 4))
    with adapted.reading() as readings:
        after = run(x, KEPT)
    expected = rotation(F.linear(x[:, 0], weight, bias).view(3, 2, 4))
    torch.testing.assert_close(readings[0].query, expected)
    assert not after.allclose(before)


def test_attention_to_tokens_of_another_width_is_read():
    torch.manual_seed(0)
    layer = torch_layer(batch_first=True, kdim=6, vdim=6)
    asking, asked = torch.randn(3, 1, 8), torch.randn(3, 7, 6)
    adapted = adapt(layer, {"text": slice(0, 3), "image": slice(3, None)})
    rotation = Rotation(4, num_heads=2)
    adapted.turn(rotation)
    before = F.linear(asking[:, 0], layer.q_proj_weight, layer.in_proj_bias[:8]).view(3, 2, 4)
    rotation.append(*torch.randn(2, 2, 4))
    with adapted.reading() as readings:
        layer(asking, asked, asked)
    torch.testing.assert_close(readings[0].query, rotation(before))
    keys = F.linear(asked[:, 3:], layer.k_proj_weight, layer.in_proj_bias[8:16]).mean(1)
    torch.testing.assert_close(readings[0].keys["image"], keys.view(3, 2, 4))


@pytest.mark.parametrize("heads", [1, 2])
def test_the_attention_pool_is_read_with_its_masks(heads):
    torch.manual_seed(0)
    merge = drawn(AttentionPool({"text": 4, "audio": 3}, 6, num_heads=heads))
    streams = {"text": torch.randn(3, 2, 4), "audio": torch.randn(3, 3)}
    masks = {"text": torch.tensor([[1, 1], [1, 0], [0, 0]]).bool(), "audio": torch.tensor([1, 0, 1]).bool()}
    streams["text"][~masks["text"]] = torch.nan
    with adapt(merge).reading() as readings:
        merge(streams, masks)
    (reading,) = readings
    torch.testing.assert_close(reading.query, merge.class_query().expand(3, -1, -1))
    for name, tokens in {"text": streams["text"], "audio": streams["audio"][:, None]}.items():
        keys, mask = merge.key(merge.embed[name](tokens)), masks[name].view(3, -1)
        for row in range(3):
            mean = keys[row][mask[row]].mean(0).view(heads, -1)  # NaN of none
            torch.testing.assert_close(reading.keys[name][row], mean, equal_nan=True)


def test_the_reading_is_exact_under_autocast():
    torch.manual_seed(0)
    layer = torch_layer(batch_first=True)
    x = torch.randn(3, 7, 8)
    with adapt(layer, TOKENS).reading() as readings:
        layer(x, x, x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            layer(x, x, x)
    exact, low = readings
    torch.testing.assert_close(low.query, exact.query)
    torch.testing.assert_close(low.keys["text"], exact.keys["text"])


def test_queries_that_are_normalised_behind_the_projection_are_refused():
    layer = timm.layers.attention.Attention(8, num_heads=2, qk_norm=True, norm_layer=nn.LayerNorm)
    with pytest.raises(OptionError, match="got a timm Attention with qk_norm"):
        adapt(layer, TOKENS)


def test_an_unknown_layer_is_refused():
    with pytest.raises(
        OptionError, match=r"layer must be an AttentionPool or one of \['timm.*got torch.*Linear"
    ):
        adapt(nn.Linear(2, 2), TOKENS)


def test_tokens_are_told_where_they_are_not_known():
    with pytest.raises(OptionError, match="tokens must say where those of each modality stand, got None"):
        adapt(torch_layer())
    with pytest.raises(OptionError, match="tokens must be None for an AttentionPool"):
        adapt(create("attention_pool", {"text": 3}), TOKENS)


@pytest.mark.parametrize("count", [0, 2])
def test_the_attention_of_a_model_must_be_clear(count):
    model = nn.ModuleList(create("attention_pool", {"text": 3}) for _ in range(count))
    with pytest.raises(OptionError, match=f"model must have one AttentionPool, got {count}"):
        find_class_attention(model)


def test_the_fused_kernel_of_a_layer_in_evaluation_turns_too_and_is_read():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True).eval()
    x, adapted = torch.randn(3, 7, 8), adapt(layer.self_attn, TOKENS)
    rotation = Rotation(4, num_heads=2)
    adapted.turn(rotation)
    plain = layer(x)
    rotation.append(*torch.randn(2, 2, 4))
    with torch.no_grad():
        fused = layer(x)
        with adapted.reading() as readings:
            layer(x)
    torch.testing.assert_close(fused, layer(x), rtol=1e-4, atol=1e-5)
    assert not fused.allclose(plain)
    assert len(readings) == 1


def test_a_stack_of_torch_with_padding_is_read_in_evaluation():
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
    stack = nn.TransformerEncoder(layer, 2)
    tokens = {"audio": slice(1, 4), "video": slice(4, None)}
    rolling = RollingQuery(find=lambda model: adapt(model.layers[-1].self_attn, tokens), rho=2.0)
    rolling.attach(stack)
    x, padding = torch.randn(6, 9, 8), torch.zeros(6, 9).bool()
    padding[:, 7:] = True
    with rolling.watching(stack, 0, 1):
        stack(x, src_key_padding_mask=padding)
    fast = torch.backends.mha.get_fastpath_enabled()
    roll = rolling.end_epoch(stack, (stack(x, src_key_padding_mask=padding) for _ in range(1)))
    assert roll.decision == "rotated"
    assert torch.backends.mha.get_fastpath_enabled() == fast
