"""Translation of maps into pictures: any number of maps, who is absent, checkpoints, and a few steps."""

from functools import partial

import pytest
import torch
from torch import Tensor

from fuseloom.errors import ModalityError, OptionError
from fuseloom.exchange.channel_exchange import ChannelExchange
from fuseloom.exchange.pixel_attention import PixelAttention
from fuseloom.exchange.token_exchange import TokenExchange
from fuseloom.losses.adversarial import adversarial_loss, judgement_loss, likeness_loss
from fuseloom.models.dense import DenseModel
from fuseloom.models.dense.cen_translation import (
    PatchDiscriminator,
    UNetStreams,
    cen_translation,
    convert_cen_translation,
    official_cen_translation,
)
from fuseloom.models.dense.mit import MitSize
from fuseloom.models.dense.token_translation import (
    TRANSLATION_SIZES,
    MitDiscriminator,
    convert_tokenfusion_translation,
    official_tokenfusion_translation,
    tokenfusion_translation,
)
from fuseloom.types import Trace

NAMES = ["depth", "edges", "shade"]
TINY = MitSize(dims=(8, 16, 16), depths=(1, 2, 1), num_heads=(1, 2, 2), reductions=(4, 2, 1), stem=(3, 2))
SYSTEMS = {
    "tokenfusion": partial(tokenfusion_translation, size=TINY),
    "cen": partial(cen_translation, dim=4, depth=4),
    "geminifusion": partial(tokenfusion_translation, size=TINY, exchange=PixelAttention),
}


def maps(names: list[str] = NAMES, size: tuple[int, int] = (32, 48), batch: int = 2) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: torch.randn(batch, 1, *size) for name in names}


def build(system: str, names: list[str] = NAMES, **options: object) -> DenseModel:
    torch.manual_seed(0)
    model = SYSTEMS[system](dict.fromkeys(names, 1), 3, **options)  # type: ignore[operator]
    for part in model.modules():
        if isinstance(part, TokenExchange):
            for predictor in part.predictor.values():
                predictor.layers[-1].bias.data = torch.tensor([-4.0, 0.0])  # about half give way
                predictor.layers[-1].weight.data *= 60
    for norms in getattr(model.encoder, "norms", []):
        for norm in norms.values():
            norm.weight.data[::2] = 0.001  # where channels are exchanged, half of them are
    return model


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_stream_makes_a_picture_and_their_mean_is_one(system: str, count: int) -> None:
    found = build(system, NAMES[:count]).eval()(maps(NAMES[:count]))
    assert found.shape == (2, count + 1, 3, 32, 48)
    assert found.abs().max() <= 1
    torch.testing.assert_close(found[:, -1], found[:, :-1].mean(1))


@pytest.mark.parametrize("system", SYSTEMS)
def test_streams_hear_one_another_through_the_exchange_alone(system: str) -> None:
    given = maps()
    other = {**given, "depth": given["depth"] + torch.randn(2, 1, 32, 48)}
    for options, heard in (({}, True), ({"exchange": None}, False)):
        model = build(system, **options).eval()
        assert (not torch.allclose(model(given)[:, 1], model(other)[:, 1])) == heard


@pytest.mark.parametrize("system", SYSTEMS)
def test_who_is_absent_says_nothing_neither_forward_nor_in_gradients(system: str) -> None:
    model, given = build(system).eval(), maps()
    mask = torch.tensor([True, False])[:, None, None].expand(2, 32, 48)
    holed = {**given, "shade": given["shade"].clone()}
    holed["shade"][1] = torch.nan
    holed["shade"].requires_grad_()
    found = model(holed, {"shade": mask})
    without = model({name: value for name, value in given.items() if name != "shade"})
    torch.testing.assert_close(found[1, [0, 1, 3]], without[1, [0, 1, 3]], rtol=1e-4, atol=1e-5)
    found[:, [0, 1, 3]].square().sum().backward()
    gradient = holed["shade"].grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient[1].abs().max() == 0


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_weight_learns(system: str) -> None:
    model, trace = build(system).train(), Trace()
    found = model(maps(), trace=trace)
    (likeness_loss(found, torch.rand(2, 3, 32, 48)) + sum(trace.losses.values())).backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_a_side_that_is_odd_is_made_whole_by_the_transformer() -> None:
    tokens = build("tokenfusion").eval()
    assert tokens(maps(size=(32, 40))).shape[-2:] == (32, 40)
    with pytest.raises(ModalityError, match="multiples of 16, as they are halved 4 times, got 32 x 40"):
        build("cen")(maps(size=(32, 40)))


@pytest.mark.parametrize("judge", ["transformer", "convolutions"])
def test_generator_and_judge_learn_from_each_other(judge: str) -> None:
    names = NAMES[:2]
    model, given, target = build("cen", names).train(), maps(names, (64, 64)), torch.rand(2, 3, 64, 64)
    referee: MitDiscriminator | PatchDiscriminator
    if judge == "transformer":
        referee = MitDiscriminator(dict.fromkeys(names, 1), size=TINY)
    else:
        referee = PatchDiscriminator(1, dim=4)
    made = model(given)
    shown = {name: made[:, i] for i, name in enumerate(names)}
    unmoved = {name: value.detach() for name, value in shown.items()}
    judged = judgement_loss(referee(given, dict.fromkeys(names, target)), referee(given, unmoved))
    judged.backward()
    assert all(weight.grad is not None for weight in referee.parameters())
    assert all(weight.grad is None for weight in model.parameters())
    adversarial_loss(referee(given, shown)).backward()
    assert all(
        weight.grad is not None for name, weight in model.named_parameters() if name != "ensemble.alpha"
    )


def test_a_judge_gives_one_word_per_patch() -> None:
    given = maps(NAMES[:2], (64, 64))
    images = dict.fromkeys(NAMES[:2], torch.rand(2, 3, 64, 64))
    assert PatchDiscriminator(1, dim=4)(given, images)["depth"].shape == (2, 1, 6, 6)
    assert MitDiscriminator(dict.fromkeys(NAMES[:2], 1), size=TINY)(given, images)["edges"].shape == (
        2,
        1,
        8,
        8,
    )


def test_a_checkpoint_of_tokenfusion_becomes_ours_and_theirs_again() -> None:
    state = tokenfusion_translation({"depth": 3, "edges": 3}, size=TINY).state_dict()
    names = ["depth", "edges"]
    official = official_tokenfusion_translation(state, names)
    assert official["score_predictor.1.score_nets.1.7.bias"].shape == (2,)
    assert official["patch_embed_dec.0.norm.lrnorm_1.weight"].tolist() == [1.0] * 16
    back = convert_tokenfusion_translation({f"module.{n}": v for n, v in official.items()}, names)
    assert back.keys() == state.keys()
    assert all(value.equal(state[name]) for name, value in back.items())


@pytest.mark.parametrize("tracked", [False, True])
def test_a_checkpoint_of_cen_becomes_ours_and_theirs_again(tracked: bool) -> None:
    exchange = partial(ChannelExchange, norm=None, threshold=0.01, faithful=True)
    names = ["depth", "edges"]
    model = cen_translation(dict.fromkeys(names, 3), dim=4, exchange=exchange, tracked=tracked)
    state = model.state_dict()
    official = official_cen_translation(state, names)
    assert official["conv8.insnorm_conv.insnorm_1.weight"].tolist() == [1.0] * 32
    assert official["deconv1.insnorm_deconv.insnorm_0.running_var"].shape == (32,)
    back = convert_cen_translation(official, names, tracked=tracked)
    assert back.keys() == state.keys()
    assert all(value.equal(state[name]) for name, value in back.items())


def test_what_does_not_fit_is_answered() -> None:
    with pytest.raises(OptionError, match="depth must be at least 2, got 1"):
        UNetStreams({"depth": 1}, depth=1)
    with pytest.raises(OptionError, match=r"that of a generator of CEN, got 'conv2\.other'"):
        convert_cen_translation({"conv2.other": torch.ones(1)}, NAMES)
    with pytest.raises(OptionError, match="that of a generator of TokenFusion, got 'other'"):
        convert_tokenfusion_translation({"other": torch.ones(1)}, NAMES)
    assert TRANSLATION_SIZES["b2"].dims == (64, 128, 256, 512, 1024)


def test_published_sizes_are_as_large_as_counted_with_the_official_code() -> None:
    two = {"depth": 3, "edges": 3}
    with torch.device("meta"):
        models = {
            "b0": tokenfusion_translation(two, size="b0"),
            "b2": tokenfusion_translation(two),
            "cen": cen_translation(two),
            "judge": PatchDiscriminator(),
        }
    counted = {name: sum(weight.numel() for weight in model.parameters()) for name, model in models.items()}
    assert counted == {
        "b0": pytest.approx(17.6e6, rel=5e-3),
        "b2": pytest.approx(131.1e6, rel=5e-3),
        "cen": pytest.approx(54.43e6, rel=5e-3),
        "judge": pytest.approx(2.77e6, rel=5e-3),
    }
