"""The contract that all systems on transformers keep: who hears whom, who is absent, any size and number."""

from functools import partial

import pytest
import torch
from torch import Tensor

from fuseloom.exchange.token_exchange import TokenExchange
from fuseloom.models.dense import DenseModel
from fuseloom.models.dense.geminifusion import geminifusion_mit, geminifusion_swin
from fuseloom.models.dense.mit import MitSize
from fuseloom.models.dense.swin import SwinSize
from fuseloom.models.dense.tokenfusion import tokenfusion_mit
from fuseloom.types import Trace

CHANNELS = {"rgb": 3, "depth": 1, "heat": 1}
MIT = MitSize(dims=(8, 16, 24), depths=(1, 2, 1), num_heads=(1, 2, 3), reductions=(4, 2, 1))
SWIN = SwinSize(dim=8, depths=(1, 2, 1), num_heads=(1, 2, 4), window=4)
SYSTEMS = {
    "geminifusion-mit": partial(geminifusion_mit, size=MIT),
    "geminifusion-swin": partial(geminifusion_swin, size=SWIN),
    "tokenfusion-mit": partial(tokenfusion_mit, size=MIT),
}


def maps(
    batch: int = 2, size: tuple[int, int] = (48, 64), names: tuple[str, ...] = tuple(CHANNELS)
) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: torch.randn(batch, CHANNELS[name], *size) for name in names}


def build(system: str, names: tuple[str, ...] = tuple(CHANNELS), **options: object) -> DenseModel:
    torch.manual_seed(0)
    channels = {name: CHANNELS[name] for name in names}
    model = SYSTEMS[system](channels, 5, head_dim=6, **options)  # type: ignore[operator]
    for part in model.modules():
        if isinstance(part, TokenExchange):
            for predictor in part.predictor.values():
                predictor.layers[-1].bias.data = torch.tensor([-4.0, 0.0])  # about half give way
                predictor.layers[-1].weight.data *= 60
    return model


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("names", [("depth",), ("rgb", "depth"), ("rgb", "depth", "heat")])
@pytest.mark.parametrize("size", [(48, 64), (37, 50)])
def test_any_number_of_modalities_and_any_size_is_predicted(
    system: str, names: tuple[str, ...], size: tuple[int, int]
) -> None:
    found = build(system, names).eval()(maps(size=size, names=names))
    assert found.shape == (2, len(names) + 1, 5, -(-size[0] // 4), -(-size[1] // 4))
    assert found.isfinite().all()


@pytest.mark.parametrize("system", SYSTEMS)
def test_modalities_hear_one_another_through_the_exchange_alone(system: str) -> None:
    given = maps()
    other = {**given, "rgb": given["rgb"] + 1}
    for last, heard in ((None, True), (0, False)):
        model = build(system, last=last).eval()
        assert (not torch.allclose(model(given)[:, 1], model(other)[:, 1])) == heard


@pytest.mark.parametrize("system", SYSTEMS)
def test_who_is_absent_says_nothing_neither_forward_nor_in_gradients(system: str) -> None:
    model, given = build(system).eval(), maps()
    mask = torch.tensor([True, False])[:, None, None].expand(2, 48, 64)
    holed = {**given, "heat": given["heat"].clone()}
    holed["heat"][1] = torch.nan
    holed["heat"].requires_grad_()
    found = model(holed, {"heat": mask})
    without = model({name: value for name, value in given.items() if name != "heat"})
    torch.testing.assert_close(found[1, [0, 1, 3]], without[1, [0, 1, 3]], rtol=1e-4, atol=1e-5)
    found[:, [0, 1, 3]].square().sum().backward()
    assert holed["heat"].grad is not None
    assert holed["heat"].grad.isfinite().all()
    assert holed["heat"].grad[1].abs().max() == 0
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_weight_learns_and_the_exchanges_are_told(system: str) -> None:
    model, trace = build(system).train(), Trace()
    found = model(maps(batch=4), trace=trace)
    losses = torch.stack([*trace.losses.values(), torch.zeros(())]).sum()
    ((found * torch.randn(5, 1, 1)).square().sum() + losses).backward()
    assert all(weight.grad is not None for weight in model.parameters())
    places = {".".join(name.split(".")[:4]) for name in trace.records}
    assert places == {
        f"encoder.stages.{stage}.{block}" for stage, depth in enumerate(MIT.depths) for block in range(depth)
    }


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_it_compiles_whole_and_is_exported_for_any_batch(system: str) -> None:
    model = build(system, ("rgb", "depth")).eval()
    given = maps(names=("rgb", "depth"))
    expected = model(given)
    compiled = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(compiled(given), expected, rtol=1e-4, atol=1e-4)
    batch = torch.export.Dim("batch", min=2)
    dynamic = ({name: {0: batch} for name in given},)
    exported = torch.export.export(model, (maps(7, names=("rgb", "depth")),), dynamic_shapes=dynamic).module()
    torch.testing.assert_close(exported(given), expected, rtol=1e-4, atol=1e-4)
