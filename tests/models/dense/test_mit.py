"""Mix Transformers of many streams, and where exchanges stand in their blocks."""

from functools import partial

import pytest
import torch
from torch import Tensor

from fuseloom import create
from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.pixel_attention import PixelAttention
from fuseloom.models.dense import DenseModel
from fuseloom.models.dense.geminifusion import geminifusion_mit
from fuseloom.models.dense.mit import MIT_SIZES, MitSize, MitStreams
from fuseloom.models.dense.placed import Place, Placed
from fuseloom.models.dense.tokenfusion import tokenfusion_mit
from fuseloom.types import Trace

CHANNELS = {"rgb": 3, "depth": 1, "heat": 1}
TINY = MitSize(dims=(8, 16, 24), depths=(1, 2, 1), num_heads=(1, 2, 3), reductions=(4, 2, 1))


def maps(
    batch: int = 2, size: tuple[int, int] = (48, 64), names: tuple[str, ...] = tuple(CHANNELS)
) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: torch.randn(batch, CHANNELS[name], *size) for name in names}


def build(**options: object) -> DenseModel:
    torch.manual_seed(0)
    return tokenfusion_mit(CHANNELS, 5, size=TINY, head_dim=6, **options)  # type: ignore[arg-type]


def test_checkpointing_gives_the_same_gradients() -> None:
    given, found = maps(batch=3), []
    for checkpointing in (False, True):
        model, trace = build(checkpointing=checkpointing, drop_path=0.0).train(), Trace()
        model.head.eval()
        (model(given, trace=trace).square().sum() + sum(trace.losses.values())).backward()
        assert len(trace.losses) == 4
        found.append([weight.grad for weight in model.encoder.parameters()])
    torch.testing.assert_close(found[0], found[1])


def test_paths_are_dropped_of_each_modality_by_itself_and_in_training_only() -> None:
    torch.manual_seed(0)
    net = MitStreams({"rgb": 1, "depth": 1}, TINY, drop_path=0.9)
    for norms in net.modules():
        if isinstance(norms, torch.nn.ModuleDict) and set(norms) == {"rgb", "depth"}:
            norms["depth"].load_state_dict(norms["rgb"].state_dict())
    one = torch.randn(8, 1, 32, 32)
    trained = net.train()({"rgb": one, "depth": one})[0][-1]
    assert not torch.allclose(trained["rgb"], trained["depth"])
    still = net.eval()({"rgb": one, "depth": one})[0][-1]
    torch.testing.assert_close(still["rgb"], still["depth"])


@pytest.mark.parametrize("at", ["before_projection", "after_attention", "after_block"])
def test_exchanges_stand_where_they_are_placed(at: Place) -> None:
    build_one = partial(PixelAttention, num_heads=2)
    for first, last, expected in (
        (None, None, ["0_0", "1_0", "1_1", "2_0"]),
        (2, None, ["0_0", "1_0"]),
        (None, 1, ["2_0"]),
        (9, 9, ["0_0", "1_0", "1_1", "2_0"]),
    ):
        net = MitStreams(CHANNELS, TINY, [Placed(build=build_one, at=at, first=first, last=last)])
        assert list(net.exchanges) == [f"{block}_{at}" for block in expected]
    shared = MitStreams(CHANNELS, TINY, [Placed(build=build_one, at=at, per_stage=True)])
    assert list(shared.exchanges) == [f"{block}_{at}" for block in ("0_0", "1_0", "2_0")]
    given, trace = maps(), Trace()
    shared(given, trace=trace)
    assert any(name.startswith(f"stages.1.1.{at}.") for name in trace.records)


def test_shared_layers_run_once_for_all_streams() -> None:
    model, calls = build().eval(), []
    model.encoder.embed[0].register_forward_hook(lambda module, args, out: calls.append(args[0].shape))
    model(maps())
    assert [tuple(shape) for shape in calls] == [(6, 3, 48, 64)]


def test_other_exchanges_stand_in_the_blocks_too() -> None:
    net = MitStreams(CHANNELS, TINY, [Placed(build=partial(create, "cross_attention"), last=1)]).eval()
    given = maps()
    one, other = (net(each)[0][-1]["depth"] for each in (given, {**given, "rgb": given["rgb"] + 1}))
    assert not torch.allclose(one, other)


def test_what_does_not_fit_is_answered() -> None:
    placed = Placed(build=PixelAttention)
    with pytest.raises(ModalityError, match="must have 3 channels or 1, as they share the stem, got 2"):
        MitStreams({"rgb": 3, "flow": 2}, TINY)
    with pytest.raises(OptionError, match=r"size must be one of \['b0', .*\], got 'b7'"):
        MitStreams(CHANNELS, "b7")
    with pytest.raises(OptionError, match="between two modalities at least, got one"):
        MitStreams({"rgb": 3}, TINY, [placed])
    with pytest.raises(OptionError, match="got two after_attention of block 0 in stage 0"):
        MitStreams(CHANNELS, TINY, [placed, placed])
    with pytest.raises(OptionError, match=r"at must be one of .*, got 'after_atention'\. Did you mean"):
        Placed(build=PixelAttention, at="after_atention")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="last must be a number of blocks of at least 0, got -1"):
        Placed(build=PixelAttention, last=-1)
    with pytest.raises(OptionError, match=r"depths must be one for each of 2 stages, got \[1\]"):
        MitSize(dims=(8, 16), depths=(1,), num_heads=(1, 2), reductions=(1, 1))
    with pytest.raises(OptionError, match="num_heads must divide dims, got 3 for a width of 16"):
        MitSize(dims=(8, 16), depths=(1, 1), num_heads=(1, 3), reductions=(1, 1))
    with pytest.raises(ModalityError, match=r"4 x 4 pixels for its keys, got 1 x 1 of maps of 1 x 1"):
        MitStreams(CHANNELS, TINY)(maps(size=(1, 1)))


def test_published_sizes_are_as_large_as_published() -> None:
    """Parameters of the two-stream networks, as counted with the official code."""
    with torch.device("meta"):
        tokens = {name: tokenfusion_mit({"rgb": 3, "depth": 3}, 40, size=name) for name in ("b0", "b3")}
        gemini = geminifusion_mit({"rgb": 3, "depth": 3}, 40, size="b0", faithful=True)
    counted = {name: sum(weight.numel() for weight in model.parameters()) for name, model in tokens.items()}
    assert counted == {"b0": pytest.approx(4.05e6, rel=2e-3), "b3": pytest.approx(45.92e6, rel=2e-3)}
    assert sum(weight.numel() for weight in gemini.parameters()) == 5_863_562
    assert [sum(size.depths) for size in MIT_SIZES.values()] == [8, 8, 16, 28, 41, 52]
