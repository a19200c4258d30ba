import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from fuseloom.train.remedies import Remedied
from fuseloom.train.remedies._processes import average_gradients, drawing_alike, rows_of_all, sum_over

PROGRAM = Path(__file__).parent / "several_processes.py"


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("processes")
    commands = [[sys.executable, str(PROGRAM), str(folder), str(rank), "2"] for rank in range(2)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    for one in running:
        _, errors = one.communicate(timeout=120)
        assert one.returncode == 0, errors
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def alone():
    """What one process finds on the rows of both."""
    return runpy.run_path(str(PROGRAM))["results"]()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ogm", "mmpareto", "uniform_loss", "rolling_query"])
def test_two_processes_learn_what_one_does_on_all_rows(several, alone, name):
    for path, value in alone[name].items():
        torch.testing.assert_close(several[0][name][path], value, msg=f"{path} differs")
        assert several[0][name][path].equal(several[1][name][path]), path


@pytest.mark.slow
def test_noise_is_the_same_in_all_processes(several, alone):
    for path, value in several[0]["ogm_ge"].items():
        assert value.equal(several[1]["ogm_ge"][path]), path
    assert any(not value.equal(alone["ogm_ge"][path]) for path, value in several[0]["ogm_ge"].items())


@pytest.mark.slow
@pytest.mark.parametrize("heads", ["shared", "each"])
def test_the_query_is_turned_by_the_rows_of_all_processes(several, alone, heads):
    one, (first, second) = alone[f"rolled.{heads}"], (found[f"rolled.{heads}"] for found in several)
    assert first["query"].equal(second["query"])
    assert first["log"] == second["log"]
    torch.testing.assert_close(first["query"], one["query"])
    assert first["log"]["decision"] == "rotated"
    for name in ("rates", "angles"):
        assert first["log"][name] == pytest.approx(one["log"][name], abs=1e-6)
    for name in ("cosines", "shares"):
        for modality, values in one["log"][name].items():
            assert first["log"][name][modality] == pytest.approx(values, abs=1e-6)


@pytest.mark.slow
def test_gradients_are_averaged_where_any_process_has_one(several):
    for found in (one["helpers"] for one in several):
        assert found["averaged"].tolist() == [[1.5, 3.0]]
        assert found["unused"] is None
        assert found["late"].tolist() == [0.5]


@pytest.mark.slow
def test_rows_of_all_stand_one_behind_the_other_and_nan_behind_the_fewer(several):
    nan = float("nan")
    wanted = torch.tensor([[0.0, 0.0], [0.0, 0.0], [nan, nan], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    for one in several:
        torch.testing.assert_close(one["helpers"]["rows"], wanted, equal_nan=True)


@pytest.mark.slow
def test_all_begin_with_the_state_of_the_first_and_draw_alike_only_inside(several):
    first, second = (one["helpers"] for one in several)
    torch.manual_seed(0)
    weight = nn.init.normal_(torch.empty(2))
    for found in (first, second):
        assert found["shared"][0].equal(weight)
        assert found["shared"][1].tolist() == [1.0, 1.0]
    assert first["alike"].equal(second["alike"])
    assert not first["own"].equal(second["own"])


@pytest.fixture
def group(tmp_path):
    """A group of this process alone."""
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield dist.group.WORLD
    dist.destroy_process_group()


@pytest.mark.parametrize("name", ["ogm", "uniform_loss", "mmpareto"])
def test_a_group_of_one_learns_what_a_process_does_without(group, problem, name):
    given = problem(2, dropout=0.0)
    states = []
    for one in (None, group):
        torch.manual_seed(1)
        remedied = Remedied(given.build(), given.remedy(name), given.task, group=one)
        given.learn(remedied, epochs=2)
        states.append(remedied.state_dict())
    for path, value in states[0].items():
        assert value.equal(states[1][path]), path


@pytest.mark.parametrize("heads", ["shared", "each"])
def test_a_group_of_one_turns_the_query_as_a_process_does_without(group, heads):
    rolled = runpy.run_path(str(PROGRAM))["rolled"]
    ours, theirs = (rolled(heads, one, 0, 1) for one in (None, group))
    assert ours["log"] == theirs["log"]
    assert ours["query"].equal(theirs["query"])


def test_the_means_and_rows_of_one_process_are_its_own(group):
    layer, unused = nn.Linear(2, 2).requires_grad_(True), nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    layer.weight.grad = torch.arange(4.0).view(2, 2)
    average_gradients([*layer.parameters(), *unused.parameters()], group)
    assert layer.weight.grad.equal(torch.arange(4.0).view(2, 2))
    assert [value.grad for value in (layer.bias, unused.weight, unused.bias)] == [None] * 3
    average_gradients([], group)
    values = torch.rand(3, 2)
    assert rows_of_all(values, group).equal(values)
    total = sum_over(values, group)
    assert total.equal(values)
    assert total is not values


def test_what_is_drawn_alike_is_no_part_of_the_draws_behind(group):
    torch.manual_seed(3)
    torch.randint(2**62, ())
    wanted = torch.rand(2)
    torch.manual_seed(3)
    with drawing_alike(group, torch.device("cpu")):
        first = torch.rand(2)
    assert torch.rand(2).equal(wanted)
    assert not first.equal(wanted)


def test_without_a_group_nothing_is_different():
    values = torch.ones(2, requires_grad=True)
    assert sum_over(values, None) is values
    assert rows_of_all(values, None) is values
    torch.manual_seed(3)
    with drawing_alike(None, torch.device("cpu")):
        inside = torch.rand(2)
    torch.manual_seed(3)
    assert inside.equal(torch.rand(2))
