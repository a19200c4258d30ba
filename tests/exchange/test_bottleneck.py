import pytest
import torch
from torch import Tensor

from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.bottleneck import Bottleneck, convert_bottleneck
from fuseloom.nn.vit import ViTBlock, run_block
from fuseloom.types import Trace

DIMS = dict.fromkeys(("text", "audio", "video"), 6)


@pytest.fixture
def streams() -> dict[str, Tensor]:
    """Tokens, an embedding and a feature map."""
    return {"text": torch.randn(4, 3, 6), "audio": torch.randn(4, 6), "video": torch.randn(4, 6, 2, 3)}


def rows(value: Tensor) -> Tensor:
    if value.dim() == 2:
        return value[:, None]
    return value.flatten(2).transpose(1, 2) if value.dim() == 4 else value


def plain_exchange(
    part: Bottleneck, streams: dict[str, Tensor], masks: dict[str, Tensor]
) -> dict[str, list[Tensor]]:
    """Sample by sample over the real tokens alone; what a sample lacks is not run at all."""
    found: dict[str, list[Tensor]] = {name: [] for name in streams}
    for b in range(4):
        tokens = {n: rows(v)[b, masks[n].reshape(4, -1)[b]] for n, v in streams.items()}
        common = part.bottleneck
        for layer in part.layers:
            copies = []
            for name, value in tokens.items():
                block = layer["shared" if part.shared else name]
                out = run_block(block, torch.cat([common, value])[None], None)[0][0]
                tokens[name] = out[len(common) :]
                copies += [out[: len(common)]] * bool(len(value))
            common = torch.stack(copies).mean(0) if copies else common
        for name, value in tokens.items():
            found[name].append(value)
    return found


@pytest.mark.parametrize("options", [{}, {"shared": True, "num_layers": 3}, {"num_heads": 2, "hidden": 9}])
def test_it_is_the_plain_loop_over_samples_layers_and_what_is_real(
    streams: dict[str, Tensor], masks: dict[str, Tensor], options: dict[str, int]
) -> None:
    part = Bottleneck(DIMS, **options)
    with torch.no_grad():
        part.bottleneck.normal_()
    out, expected = part(streams, masks), plain_exchange(part, streams, masks)
    for name, value in out.items():
        assert value.shape == streams[name].shape
        for b in range(4):
            kept = masks[name].reshape(4, -1)[b]
            torch.testing.assert_close(rows(value)[b, kept], expected[name][b], rtol=1e-4, atol=1e-5)


def test_an_absent_modality_does_not_pull_the_others(streams: dict[str, Tensor]) -> None:
    part = Bottleneck(DIMS, num_layers=3)
    pair = Bottleneck(dict.fromkeys(("text", "audio"), 6), num_layers=3)
    pair.load_state_dict({key: value for key, value in part.state_dict().items() if "video" not in key})
    out = part(streams, {"video": torch.zeros(4, 2, 3, dtype=torch.bool)})
    expected = pair({name: streams[name] for name in ("text", "audio")})
    torch.testing.assert_close(out["text"], expected["text"])
    torch.testing.assert_close(out["audio"], expected["audio"])


def test_modalities_talk_from_the_second_layer_on_through_the_shared_tokens_alone(
    streams: dict[str, Tensor],
) -> None:
    part, changed = Bottleneck(DIMS), {**streams, "audio": torch.randn(4, 6)}
    assert (part(streams)["text"] - part(changed)["text"]).abs().max() > 1e-4
    with torch.no_grad():
        # A block of zeros leaves its copy of the shared tokens as it was, whatever its own tokens are.
        for parameter in part.layers[0]["audio"].parameters():
            parameter.zero_()
    torch.testing.assert_close(part(streams)["text"], part(changed)["text"])


@pytest.mark.parametrize("masked", [False, True])
def test_shared_blocks_run_modalities_of_equal_length_as_one_batch(
    monkeypatch: pytest.MonkeyPatch, masked: bool
) -> None:
    dims = dict.fromkeys("abc", 4)
    part = Bottleneck(dims, shared=True, num_tokens=1)
    values = {"a": torch.randn(2, 3, 4), "b": torch.randn(2, 5, 4), "c": torch.randn(2, 3, 4)}
    given = {"c": torch.tensor([[True, False, True], [False] * 3])} if masked else {}
    separate = Bottleneck(dims, num_tokens=1)
    state = part.state_dict()
    separate.load_state_dict(
        {
            key: state[".".join("shared" if word in dims else word for word in key.split("."))]
            for key in separate.state_dict()
        }
    )
    expected = separate(values, given)
    seen: list[tuple[int, ...]] = []

    def watched(block: ViTBlock, tokens: Tensor, mask: Tensor | None) -> object:
        seen.append(tuple(tokens.shape))
        return run_block(block, tokens, mask)

    monkeypatch.setattr("fuseloom.exchange.bottleneck.run_block", watched)
    torch.testing.assert_close(part(values, given), expected)
    assert seen == [(4, 4, 4), (2, 6, 4)] * 2


def test_records_are_the_attention_of_each_modality_to_the_shared_tokens_and_its_own(
    streams: dict[str, Tensor], masks: dict[str, Tensor]
) -> None:
    trace = Trace()
    Bottleneck(DIMS, num_tokens=2, num_heads=3)(streams, masks, trace=trace)
    attention = {name for name in trace.records if name.endswith("attention")}
    assert attention == {f"layer.{i}.{name}.attention" for i in range(2) for name in DIMS}
    weights = trace.records["layer.1.video.attention"]
    kept = torch.cat([torch.ones(4, 2, dtype=torch.bool), masks["video"].flatten(1)], 1)
    assert trace.records["layer.1.video.attention.of.video"][:, 2:].equal(kept[:, 2:])
    assert not trace.records["layer.1.video.attention.of.video"][:, :2].any()
    assert weights.shape == (4, 3, 8, 8)
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 3, 8))
    assert (weights > 0).equal(kept[:, None, None].expand_as(weights))


def test_cost_grows_with_each_length_and_not_with_their_sum() -> None:
    trace, dims = Trace(), {"a": 4, "b": 4}
    Bottleneck(dims, num_tokens=1)({"a": torch.randn(1, 7, 4), "b": torch.randn(1, 5, 4)}, trace=trace)
    assert trace.records["layer.0.a.attention"].shape[-2:] == (8, 8)
    assert trace.records["layer.0.b.attention"].shape[-2:] == (6, 6)


def test_the_official_backbone_s_keys_are_converted() -> None:
    part = Bottleneck({"sound": 4, "film": 4}, num_tokens=3, num_layers=2)
    inner = {"norm1": "attention_norm", "attn.qkv": "qkv", "attn.proj": "out"}
    inner |= {"norm2": "feedforward_norm", "mlp.fc1": "up", "mlp.fc2": "down"}
    state = part.state_dict()
    official = {"bot_token": torch.randn(1, 3, 4), "norm_audio.weight": torch.ones(4)}
    for theirs, ours in {"audio": "sound", "video": "film"}.items():
        for number in range(2):
            for outer, own in inner.items():
                for kind in ("weight", "bias"):
                    value = torch.randn_like(state[f"layers.{number}.{ours}.{own}.{kind}"])
                    official[f"bot_{theirs}_blocks.{number}.{outer}.{kind}"] = value
    converted = convert_bottleneck(official, {"sound": "audio", "film": "video"})
    part.load_state_dict(converted)
    assert part.bottleneck.equal(official["bot_token"][0])
    assert part.layers[1]["film"].up.bias.equal(official["bot_video_blocks.1.mlp.fc1.bias"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"num_layers": 1},
            r"^num_layers must be at least 2, got 1\. In the first layer the shared tokens hold",
        ),
        ({"num_tokens": 0}, r"^num_tokens must be at least 1, got 0\.$"),
        ({"num_heads": 4}, r"^dim must be a multiple of num_heads=4, got 6\.$"),
        ({"hidden": 0}, r"^hidden must be at least 1, got 0\.$"),
        ({"dropout": 1.0}, r"^dropout must be in \[0, 1\), got 1\.0\.$"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Bottleneck(DIMS, **options)


def test_unequal_widths_are_refused() -> None:
    with pytest.raises(
        ModalityError, match=r"^Widths must be equal, got .*\. Give all encoders the same width\.$"
    ):
        Bottleneck({"a": 4, "b": 6})


@pytest.mark.compile
@pytest.mark.slow
def test_shared_blocks_compile_as_one_graph() -> None:
    part = Bottleneck(dict.fromkeys("ab", 4), shared=True, num_tokens=1)
    compiled = torch.compile(part, fullgraph=True, dynamic=True, backend="aot_eager")
    for lengths in ((3, 5), (4, 4)):
        values = {n: torch.randn(2, count, 4) for n, count in zip("ab", lengths, strict=True)}
        given = {"a": torch.rand(2, lengths[0]) < 0.5}
        torch.testing.assert_close(compiled(values, given), part(values, given))
    torch._dynamo.reset()
