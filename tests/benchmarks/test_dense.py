"""The program that says what two-stream networks cost, and the plain networks in it."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fuseloom.models.dense.geminifusion import convert_geminifusion_mit, geminifusion_mit
from fuseloom.models.dense.mit import MitSize
from fuseloom.models.dense.model import DenseModel
from fuseloom.models.dense.tokenfusion import convert_tokenfusion_mit, tokenfusion_mit
from fuseloom.testing.goldens import GoldenCase, read_case
from fuseloom.types import Trace

pytest.importorskip("transformers")

NAMES = ("x0", "x1")
TINY = MitSize(dims=(8, 16, 24), depths=(1, 2, 1), num_heads=(1, 2, 3), reductions=(4, 2, 1))


@pytest.fixture
def program() -> Any:
    return import_module("dense")


def published(system: str, size: MitSize, num_labels: int, head_dim: int) -> DenseModel:
    """Of two modalities, without anything drawn in training."""
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "size": size,
        "head_dim": head_dim,
        "weighting": "frozen",
        "fixed_statistics": True,
        "drop_path": 0.0,
        "dropout": 0.0,
    }
    channels = dict.fromkeys(NAMES, 3)
    if system == "geminifusion":
        return geminifusion_mit(channels, num_labels, faithful=True, **options)
    return tokenfusion_mit(channels, num_labels, sparsity_weight=1e-6, reduction="sum", **options)


def plain_of(system: str, ours: DenseModel) -> Any:
    return getattr(import_module("rivals.dense"), f"plain_{system}")(ours)


def of_case(system: str, case: GoldenCase) -> DenseModel:
    option = case.config.__getitem__
    names = ("embed_dims", "depths", "num_heads", "sr_ratios")
    dims, depths, heads, reductions = (tuple(option(name)) for name in names)
    size = MitSize(dims=dims, depths=depths, num_heads=heads, reductions=reductions)
    width = "decoder_embedding_dim" if system == "geminifusion" else "embedding_dim"
    ours = published(system, size, option("num_classes"), option(width))
    convert = convert_geminifusion_mit if system == "geminifusion" else convert_tokenfusion_mit
    ours.load_state_dict(convert(case.weights, NAMES))
    return ours.eval()


OFFICIAL = {"geminifusion": ("rgb", "depth", "ens"), "tokenfusion": ("logits0", "logits1", "logits_ens")}


@pytest.mark.parametrize(
    ("system", "name"),
    [
        ("geminifusion", "wetr_mit_tiny_64"),
        ("tokenfusion", "seg_net_64x96"),
        ("tokenfusion", "seg_net_odd_60x84"),
    ],
)
def test_the_plain_network_reproduces_the_official_tensors(system: str, name: str, goldens_dir: Path) -> None:
    case = read_case(goldens_dir / system / f"{name}.json")
    plain = plain_of(system, of_case(system, case)).eval()
    found = plain({stream: case.inputs[stream] for stream in NAMES})
    for number, output in enumerate(OFFICIAL[system]):
        expected = case.expected[f"output.{output}"]
        atol = 1e-4 * expected.abs().max().item()  # as the case itself allows
        torch.testing.assert_close(found[:, number], expected, rtol=0, atol=atol)


def redrawn(ours: DenseModel) -> DenseModel:
    """With weights that leave nothing at its start, of which about half the scores are small."""
    for name, weight in ours.named_parameters():
        if weight.requires_grad:
            with torch.no_grad():
                weight.add_(torch.randn_like(weight), alpha=0.1)
        if name.endswith("layers.7.bias"):
            weight.data = torch.tensor([-4.0, 0.0])
        if name.endswith("layers.7.weight"):
            weight.data *= 60
    return ours


@pytest.mark.parametrize("system", ["geminifusion", "tokenfusion"])
def test_both_predict_the_same_with_the_same_losses_and_gradients(system: str) -> None:
    ours = redrawn(published(system, TINY, 5, 6)).train()
    plain = plain_of(system, ours).train()
    maps = {name: torch.randn(2, 3, 36, 52, requires_grad=True) for name in NAMES}
    trace, penalties = Trace(keep_records=False), list[Tensor]()
    found, expected = ours(maps, trace=trace), plain(maps, penalties)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(list(trace.losses.values()), penalties)
    assert len(penalties) == (4 if system == "tokenfusion" else 0)
    directions = torch.randn_like(found)
    both = (
        torch.autograd.grad((value * directions).sum() + sum(losses), list(maps.values()))
        for value, losses in ((found, trace.losses.values()), (expected, penalties))
    )
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.compile
@pytest.mark.parametrize("system", ["geminifusion", "tokenfusion"])
def test_the_plain_network_is_one_graph_for_a_compiler(system: str) -> None:
    plain = plain_of(system, published(system, TINY, 5, 6).eval()).eval()
    maps = {name: torch.randn(1, 3, 32, 48) for name in NAMES}
    compiled = torch.compile(plain, fullgraph=True, dynamic=False, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(maps), plain(maps))


def test_networks_that_differ_are_not_timed(program: Any) -> None:
    ours = published("geminifusion", TINY, 5, 6).eval()
    plain = plain_of("geminifusion", ours)
    maps = {name: torch.randn(1, 3, 32, 48) for name in NAMES}
    program.agree(ours, plain, maps)
    torch.nn.init.normal_(plain.decoder.linear_pred.weight)
    with pytest.raises(SystemExit, match="The two must agree, got predictions that lie"):
        program.agree(ours, plain, maps)


def test_operations_are_two_for_each_multiplication(program: Any) -> None:
    rows, weight = torch.ones(4, 3), torch.ones(3, 5)
    run = program.Entrant([(torch.nn.Identity(), lambda: [torch.ones(4, 5).addmm_(rows, weight)])])
    assert program.flops(run) == 2 * 4 * 3 * 5


def test_the_floor_of_pixel_attention_is_fourteen_products_of_each_token(program: Any) -> None:
    size = MitSize(dims=(8,), depths=(1,), num_heads=(1,), reductions=(4,))
    ours = published("geminifusion", size, 5, 6).eval()
    stages = [torch.randn(2, 8, 6, 7)]
    parts = import_module("rivals.dense").pixel_floor(ours, stages)
    assert program.flops(program.Entrant(parts)) == 14 * 2 * (2 * 6 * 7) * 8 * 8


def test_it_measures_every_system_and_tells_ratios(
    program: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.json"
    assert program.main(["--quick", "--json", str(path)]) == 0
    found = json.loads(path.read_text("utf-8"))
    assert [(row["system"], row["which"]) for row in found["races"]] == [
        ("GeminiFusion", "forward"),
        ("TokenFusion", "forward"),
        ("GeminiFusion", "forward+backward"),
        ("TokenFusion", "forward+backward"),
        ("CEN", "forward"),
    ]
    on_mit = {"ours", "plain", "floor", "encoders", "decoders", "segformers"}
    assert [set(row["times"]) for row in found["races"][:4]] == [on_mit] * 4
    assert set(found["races"][4]["times"]) == {"ours", "floor", "encoders", "decoders"}
    assert all(
        value > 0 for row in found["costs"] for key in ("gflop", "peak_mb") for value in row[key].values()
    )
    assert [(row["axis"], row["value"]) for row in found["growth"]] == [
        ("modalities of 64x96", "1"),
        ("modalities of 64x96", "2"),
        ("resolution", "64x96"),
        ("resolution", "96x128"),
    ]
    shown = capsys.readouterr().out
    times = found["races"][0]["times"]
    made_of = sum(times[who]["median_s"] for who in ("encoders", "decoders", "floor"))
    assert f"{times['ours']['median_s'] / made_of:.2f}" in shown
    assert f"{times['ours']['median_s'] / times['plain']['median_s']:.2f}" in shown


def test_what_takes_too_long_is_told_with_its_operations() -> None:
    tables = import_module("dense_tables")
    one = {"median_s": 1.0, "low_s": 1.0, "high_s": 1.0}
    times = {"ours": {**one, "median_s": 6.0}} | dict.fromkeys(("encoders", "decoders", "floor"), one)
    assert tables.bound(times) == 2
    row = {"system": "CEN", "backbone": "small", "compiled": False, "which": "forward", "times": times}
    found = {
        "size": {"height": 4, "width": 8, "batch": 1},
        "races": [row],
        "missed": [{**row, "busiest": [{"operation": "aten::add", "share": 0.25}]}],
        "costs": [],
        "growth": [],
        "environment": {"commit": "unknown"},
    }
    assert "CEN, small, eager, forward: aten::add 25%" in tables.render(found)
    del found["missed"]
    assert "aten::add" not in tables.render(found)


def test_a_page_that_names_the_results_gets_the_tables() -> None:
    page = import_module("pages").renewed("<!-- results: dense -->\n<!-- /results -->")
    assert "    MiT-B3, eager, forward\n      GeminiFusion " in page
