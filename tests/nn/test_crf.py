import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torchcrf
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fuseloom.errors import DataError, MaskError, OptionError
from fuseloom.nn.crf import LinearChainCrf
from fuseloom.nn.tag_scheme import tag_constraints
from fuseloom.testing.goldens.muse_crf import RUNNERS
from fuseloom.testing.verify import find_cases, verify_case

BIO = tag_constraints(["O", "B-A", "I-A", "B-B", "I-B"])


def trained(num_tags: int, **options: Any) -> LinearChainCrf:
    """A module whose scores matter."""
    crf = LinearChainCrf(num_tags, **options)
    for value in crf.parameters():
        nn.init.normal_(value)
    return crf


def drawn(batch: int, length: int, num_tags: int, *, empty: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Emissions, tags and a mask."""
    lengths = torch.randint(0 if empty else 1, length + 1, (batch, 1))
    emissions = 2 * torch.randn(batch, length, num_tags)
    return emissions, torch.randint(num_tags, (batch, length)), torch.arange(length) < lengths


@pytest.mark.parametrize("case", ["crf_01", "crf_02_nomaskpad", "crf_03_seqfirst"])
def test_the_official_tensors_are_reproduced(case: str, goldens_dir: Path) -> None:
    (path,) = find_cases([goldens_dir / "muse" / f"{case}.json"])
    result = verify_case(path, RUNNERS)
    assert (result.status, result.reason) == ("ok", "")
    assert not result.idle
    assert len(result.checks) == 9


@pytest.mark.parametrize(
    ("batch", "length", "num_tags"), [(1, 1, 1), (6, 1, 4), (5, 9, 1), (32, 40, 9), (8, 64, 12)]
)
def test_it_is_what_pytorch_crf_is(batch: int, length: int, num_tags: int) -> None:
    ours, theirs = trained(num_tags), torchcrf.CRF(num_tags, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    emissions, tags, mask = drawn(batch, length, num_tags)
    emissions.requires_grad_()
    found, expected = ours(emissions, tags, mask), theirs(emissions, tags, mask, reduction="none")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    paths = ours.decode(emissions, mask)
    assert [path[path >= 0].tolist() for path in paths] == theirs.decode(emissions, mask)
    assert (paths >= 0).equal(mask)
    sources = [emissions, *ours.parameters()]
    others = [emissions, *theirs.parameters()]
    for one, other in zip(
        torch.autograd.grad(found.mean(), sources),
        torch.autograd.grad(expected.mean(), others, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_parameters_begin_as_those_of_pytorch_crf() -> None:
    crf = LinearChainCrf(40, constraints=None)
    assert {name: value.shape for name, value in crf.state_dict().items()} == {
        name: value.shape for name, value in torchcrf.CRF(40).state_dict().items()
    }
    for value in crf.parameters():
        assert value.abs().max() <= 0.1
        assert value.detach().std() == pytest.approx(0.2 / 12**0.5, rel=0.3)


def test_constraints_hold_in_decoding_and_are_not_saved() -> None:
    plain, restricted = trained(5), LinearChainCrf(5, constraints=BIO)
    restricted.load_state_dict(plain.state_dict())
    emissions, tags, mask = drawn(40, 12, 5)
    paths, _ = restricted.best_paths(emissions, mask, num_paths=4)
    assert paths[:, 0].equal(restricted.decode(emissions, mask))
    ranks = mask[:, None].expand_as(paths) & (paths >= 0)
    assert BIO.start[paths[..., 0]][ranks[..., 0]].all()
    assert BIO.transitions[paths[..., :-1], paths[..., 1:]][ranks[..., 1:]].all()
    assert not paths[:, 0].equal(plain.decode(emissions, mask))
    assert (restricted.marginals(emissions, mask)[:, 0, ~BIO.start] == 0).all()
    assert restricted(emissions, tags, mask).equal(plain(emissions, tags, mask))


def test_constraints_always_hold_in_the_likelihood_too() -> None:
    crf = trained(5, constraints=BIO, constrain="always")
    emissions, _, mask = drawn(20, 3, 5)
    paths, scores = crf.best_paths(emissions, mask, num_paths=5**3)
    likelihoods = torch.stack([crf(emissions, path.clamp(min=0), mask) for path in paths.unbind(1)], 1)
    exists = scores > torch.finfo(torch.float32).min
    assert 1 < exists.sum(1).min() < 5**3
    torch.testing.assert_close(likelihoods.exp().where(exists, 0).sum(1), torch.ones(20))


def test_a_module_moves_with_its_constraints() -> None:
    crf = copy.deepcopy(trained(5, constraints=BIO)).to("meta")
    emissions, tags, mask = (value.to("meta") for value in drawn(3, 4, 5))
    assert crf(emissions, tags, mask).shape == (3,)
    assert crf.decode(emissions, mask).is_meta
    assert crf.marginals(emissions, mask).is_meta
    assert crf.log_probability(emissions, emissions > 0, mask).is_meta
    for value in crf.best_paths(emissions, mask, num_paths=2):
        assert value.is_meta


def test_scores_of_half_precision_are_summed_in_full() -> None:
    crf = trained(9)
    emissions, tags, mask = drawn(4, 200, 9)
    low = emissions.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = crf(low, tags, mask)
        marginals = crf.marginals(low, mask)
        path = crf.decode(low, mask)
    assert found.equal(crf(low.float(), tags, mask))
    assert marginals.equal(crf.marginals(low.float(), mask))
    assert path.equal(crf.decode(low.float(), mask))


def test_gradients_of_half_precision_come_back_in_it() -> None:
    crf = trained(5)
    emissions, tags, mask = drawn(4, 20, 5)
    low = emissions.bfloat16().requires_grad_()
    crf(low, tags, mask).sum().backward()
    high = low.detach().float().requires_grad_()
    crf(high, tags, mask).sum().backward()
    assert low.grad is not None
    assert high.grad is not None
    assert low.grad.equal(high.grad.bfloat16())


class Counted(TorchDispatchMode):
    """Operations, views among them or not, and those that read a value."""

    def __init__(self) -> None:
        super().__init__()
        self.every = self.real = 0
        self.reads: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.every += 1
        self.real += not func.is_view
        if {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags):
            self.reads.add(str(func))
        return func(*args, **(kwargs or {}))


def uses(crf: LinearChainCrf, length: int) -> dict[str, Counted]:
    """What each method does to sequences of a length."""
    emissions, tags, mask = drawn(4, length, crf.num_tags, empty=True)
    emissions.requires_grad_()
    runs = {
        "likelihood": lambda: crf(emissions, tags, mask),
        "likelihood and gradient": lambda: torch.autograd.grad(
            crf(emissions, tags, mask).mean(), [emissions, *crf.parameters()]
        ),
        "decode": lambda: crf.decode(emissions, mask),
        "best_paths": lambda: crf.best_paths(emissions, mask, num_paths=3),
        "marginals": lambda: crf.marginals(emissions.detach(), mask),
        "log_probability": lambda: crf.log_probability(emissions, emissions > 0, mask),
    }
    found = {}
    for name, run in runs.items():
        with Counted() as counted:
            run()
        found[name] = counted
    return found


@pytest.mark.parametrize("options", [{}, {"constraints": BIO, "constrain": "always"}], ids=["free", "bio"])
def test_few_operations_per_step_and_none_that_reads_a_value(options: dict[str, Any]) -> None:
    crf = trained(5, **options)
    short, long = uses(crf, 5), uses(crf, 15)
    steps = {name: (long[name].real - short[name].real) / 10 for name in short}
    views = {name: (long[name].every - short[name].every) / 10 for name in short}
    assert steps["likelihood"] == steps["likelihood and gradient"] == 3
    assert steps["decode"] == 3
    assert max(views.values()) <= 8, (steps, views)
    assert not any(counted.reads for counted in long.values())


class Trained(nn.Module):
    """What training and prediction need, as one program."""

    def __init__(self, crf: LinearChainCrf) -> None:
        super().__init__()
        self.crf = crf

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        return self.crf(emissions, tags, mask), self.crf.decode(emissions, mask)


class Asked(nn.Module):
    """All else, as one program."""

    def __init__(self, crf: LinearChainCrf) -> None:
        super().__init__()
        self.crf = crf

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        allowed = (emissions > 0) | (torch.arange(5) == 0)  # nothing but O is always a path
        return (
            *self.crf.best_paths(emissions, mask, num_paths=2),
            self.crf.marginals(emissions, mask),
            self.crf.log_probability(emissions, allowed, mask),
        )


PROGRAMS = [Trained, pytest.param(Asked, marks=pytest.mark.slow)]


@pytest.mark.compile
@pytest.mark.parametrize("form", PROGRAMS)
def test_it_compiles_whole_with_its_gradient(form: type[nn.Module]) -> None:
    program = form(trained(5, constraints=BIO))
    compiled = torch.compile(program, fullgraph=True, backend="aot_eager")
    emissions, tags, mask = drawn(6, 3, 5, empty=True)
    emissions.requires_grad_()
    found, expected = compiled(emissions, tags, mask), program(emissions, tags, mask)
    torch.testing.assert_close(found, expected)
    sources = [emissions, *program.parameters()]
    gradients = [
        torch.autograd.grad(sum(one.sum() for one in outputs if one.requires_grad), sources)
        for outputs in (found, expected)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.compile
@pytest.mark.parametrize("form", PROGRAMS)
def test_it_exports_with_a_dynamic_batch(form: type[nn.Module]) -> None:
    program, batch = form(trained(5, constraints=BIO)), torch.export.Dim("batch")
    given = drawn(3, 3, 5, empty=True)
    exported = torch.export.export(program, given, dynamic_shapes=({0: batch}, {0: batch}, {0: batch}))
    for size in (2, 7):
        given = drawn(size, 3, 5, empty=True)
        torch.testing.assert_close(exported.module()(*given), program(*given))


def test_no_sequence_at_all_has_no_path() -> None:
    crf = trained(3)
    emissions, tags, mask = (value[:0] for value in drawn(2, 4, 3))
    assert crf(emissions, tags, mask).shape == (0,)
    assert crf.decode(emissions, mask).shape == (0, 4)
    assert crf.best_paths(emissions, mask, num_paths=2)[0].shape == (0, 2, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_tags": 0}, r"^num_tags must be at least 1, got 0\.$"),
        ({"num_tags": 4, "constraints": BIO}, r"^constraints must be of 4 tags, got 5\.$"),
        ({"num_tags": 5, "constrain": "never"}, r"^constrain must be 'decoding' or 'always', got 'never'\.$"),
    ],
    ids=["tags", "constraints", "constrain"],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        LinearChainCrf(**options)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 0, 5)])
def test_emissions_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"^emissions must be \[B, T, 5\] with a position or more, got \[2"):
        LinearChainCrf(5).decode(torch.zeros(shape))


@pytest.mark.parametrize(
    "mask", [torch.ones(2, 3), torch.ones(3, 2, dtype=torch.bool)], ids=["float", "shape"]
)
def test_masks_of_another_type_or_shape_are_refused(mask: Tensor) -> None:
    with pytest.raises(MaskError, match=r"^mask must be bool \[2, 3\], got torch\.(float32|bool) \["):
        LinearChainCrf(5).marginals(torch.zeros(2, 3, 5), mask)


@pytest.mark.parametrize(
    "tags", [torch.zeros(2, 3), torch.zeros(2, 4, dtype=torch.int64)], ids=["float", "shape"]
)
def test_tags_of_another_type_or_shape_are_refused(tags: Tensor) -> None:
    with pytest.raises(DataError, match=r"^tags must be int64 \[2, 3\], got torch\.(float32|int64) \["):
        LinearChainCrf(5)(torch.zeros(2, 3, 5), tags)


def test_other_arguments_out_of_range_are_refused() -> None:
    crf, emissions = LinearChainCrf(2), torch.zeros(1, 3, 2)
    with pytest.raises(OptionError, match=r"^num_paths must be at least 1, got 0\.$"):
        crf.best_paths(emissions, num_paths=0)
    with pytest.raises(DataError, match=r"^allowed must be bool \[1, 3, 2\], got torch\.bool \[1, 3\]\.$"):
        crf.log_probability(emissions, torch.ones(1, 3, dtype=torch.bool))


def test_it_prints_what_it_is() -> None:
    assert repr(LinearChainCrf(5, constraints=BIO)) == "LinearChainCrf(num_tags=5, constrain='decoding')"
