import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode

from fuseloom.errors import OptionError
from fuseloom.nn.rotation import MatrixRotation, Rotation
from fuseloom.nn.turned_query import fold_queries, turn_query, turned_by

FORMS = [Rotation, MatrixRotation]


class Counted(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def prepared(form=Rotation, *, turns=2, heads=2, dim=3, layer=None):
    torch.manual_seed(0)
    layer = nn.Linear(5, heads * dim) if layer is None else layer
    rotation = form(dim, num_heads=heads)
    turn_query(layer, rotation)
    for _ in range(turns):
        rotation.append(*torch.randn(2, heads, dim))
    return layer, rotation


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("turns", [1, 3])
def test_a_turned_layer_makes_turned_queries(form, turns):
    layer, rotation = prepared(form, turns=0)
    x = torch.randn(4, 5)
    before = layer(x).detach()
    for _ in range(turns):
        rotation.append(*torch.randn(2, 2, 3))
    torch.testing.assert_close(layer(x), rotation(before.view(4, 2, 3)).flatten(1))


def test_a_rotation_of_all_heads_at_once_turns_what_they_make_together():
    layer, rotation = prepared(heads=1, dim=6, turns=0)
    x = torch.randn(4, 5)
    before = layer(x).detach()
    rotation.append(before[:1], torch.ones(1, 6))
    turned = layer(x[:1])[0].detach()
    torch.testing.assert_close(turned / turned.norm(), torch.ones(6) / 6**0.5)


def test_of_a_fused_projection_only_the_queries_are_turned():
    layer, rotation = prepared(heads=2, dim=3, turns=0, layer=nn.Linear(5, 18))
    x = torch.randn(4, 5)
    before = layer(x).detach()
    rotation.append(*torch.randn(2, 2, 3))
    after = layer(x)
    torch.testing.assert_close(after[:, :6], rotation(before[:, :6].view(4, 2, 3)).flatten(1))
    torch.testing.assert_close(after[:, 6:], before[:, 6:], rtol=0, atol=0)


@pytest.mark.parametrize("bias", [True, False])
def test_nothing_is_computed_while_nothing_is_turned(bias):
    plain = nn.Linear(5, 6, bias=bias)
    layer, rotation = prepared(turns=0, layer=copy.deepcopy(plain))
    x = torch.randn(4, 5)
    counts = []
    for one in (plain, layer):
        with Counted() as counted:
            one(x).sum().backward()
        counts.append(counted.count)
    assert counts[0] == counts[1]
    rotation.append(*torch.randn(2, 2, 3))
    with Counted() as counted:
        layer(x)
    assert counted.count > counts[0]


def test_an_optimiser_made_before_goes_on_with_the_same_parameters():
    torch.manual_seed(0)
    layer = nn.Linear(5, 6)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rotation = Rotation(3, num_heads=2)
    turn_query(layer, rotation)
    assert {id(value) for value in layer.parameters()} == {
        id(value) for value in optimizer.param_groups[0]["params"]
    }
    assert not any(value is rotation.vectors for value in layer.parameters())


def test_gradients_come_back_through_the_rotation():
    layer, rotation = prepared(turns=2)
    x, out = torch.randn(4, 5), torch.randn(4, 6)
    (layer(x) * out).sum().backward()
    back = torch.einsum("hji,bhj->bhi", rotation.matrix().float(), out.view(4, 2, 3)).flatten(1)
    torch.testing.assert_close(layer.parametrizations.weight.original.grad, back.T @ x)
    torch.testing.assert_close(layer.parametrizations.bias.original.grad, back.sum(0))


@pytest.mark.parametrize("form", FORMS)
def test_folding_leaves_a_plain_layer_with_the_same_output(form):
    layer, _ = prepared(form)
    model, x = nn.Sequential(nn.Linear(5, 5), layer), torch.randn(4, 5)
    before = model(x).detach()
    plain = fold_queries(model)
    torch.testing.assert_close(plain(x), before)
    assert type(plain[1]) is nn.Linear
    assert sorted(plain.state_dict()) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    assert turned_by(plain) is None
    twin = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 6))
    twin.load_state_dict(plain.state_dict())
    torch.testing.assert_close(twin(x), before)


def test_the_rotation_stands_once_in_a_state_dict_that_safetensors_takes(tmp_path):
    layer, _ = prepared()
    state = layer.state_dict()
    assert [name for name in state if "vectors" in name] == ["parametrizations.weight.0.rotation.vectors"]
    save_file(state, tmp_path / "layer.safetensors")
    fresh, rotation = prepared(turns=0)
    fresh.load_state_dict(load_file(tmp_path / "layer.safetensors"))
    x = torch.randn(4, 5)
    assert len(rotation) == 2
    assert fresh(x).equal(layer(x))


def test_a_copy_has_its_own_rotation_for_weight_and_bias():
    layer, _ = prepared(turns=1)
    twin, x = copy.deepcopy(layer), torch.randn(4, 5)
    kept = layer(x)
    assert twin(x).equal(kept)
    turned_by(twin).append(*torch.randn(2, 2, 3))
    assert layer(x).equal(kept)
    zero = torch.zeros(1, 5)  # leaves the bias alone
    assert not twin(zero).allclose(layer(zero))
    assert not twin(x).sub(twin(zero)).allclose(layer(x).sub(layer(zero)))


def test_it_moves_and_changes_type_with_its_layer():
    layer, rotation = prepared()
    x = torch.randn(4, 5)
    before = layer(x).detach()
    torch.testing.assert_close(layer.double()(x.double()).float(), before)
    assert layer.to("meta")(x.to("meta")).is_meta
    assert rotation.vectors.is_meta


def test_autocast_runs_the_turned_layer_in_its_own_type():
    layer, _ = prepared()
    x = torch.randn(4, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = layer(x)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), layer(x), rtol=2e-2, atol=2e-2)


@pytest.mark.compile
@pytest.mark.parametrize("turns", [0, 2])
def test_it_compiles_whole(turns):
    layer, rotation = prepared(turns=turns)
    x = torch.randn(4, 5)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))
    rotation.append(*torch.randn(2, 2, 3))
    torch.testing.assert_close(compiled(x), layer(x))


@pytest.mark.compile
@pytest.mark.parametrize("turns", [0, 2])
def test_it_exports_with_a_dynamic_batch(turns):
    layer, _ = prepared(turns=turns)
    program = torch.export.export(layer, (torch.randn(4, 5),), dynamic_shapes=({0: torch.export.Dim("b")},))
    x = torch.randn(7, 5)
    torch.testing.assert_close(program.module()(x), layer(x))


def test_a_layer_is_turned_once():
    layer, _ = prepared()
    with pytest.raises(OptionError, match="weight of ParametrizedLinear must be a parameter of its own"):
        turn_query(layer, Rotation(3, num_heads=2))


def test_a_layer_that_is_refused_stays_as_it_was():
    layer = nn.Linear(5, 6)
    layer.register_parameter("short", nn.Parameter(torch.zeros(3)))
    with pytest.raises(OptionError, match=r"short of Linear must have 6 rows or more to turn, got 3\."):
        turn_query(layer, Rotation(3, num_heads=2), names=("weight", "short"))
    assert not parametrize.is_parametrized(layer)


def test_there_must_be_something_to_turn():
    with pytest.raises(OptionError, match=r"layer must have one of \['weight', 'bias'\], got ReLU\."):
        turn_query(nn.ReLU(), Rotation(3))


def test_what_others_compute_is_not_folded():
    layer, _ = prepared()
    parametrize.register_parametrization(layer, "weight", nn.Identity())
    with pytest.raises(
        OptionError, match=r"Linear must be parametrised by its rotation alone .* of 'weight'"
    ):
        fold_queries(layer)
    assert parametrize.is_parametrized(layer, "bias")


def test_a_layer_is_folded_alone_and_its_copies_stay_turned():
    layer, _ = prepared()
    twin, x = copy.deepcopy(layer), torch.randn(4, 5)
    kept, parameters = layer(x).detach(), set(map(id, twin.parameters()))
    folded = fold_queries(twin)
    assert type(folded) is nn.Linear
    assert {id(value) for value in folded.parameters()} == parameters
    torch.testing.assert_close(folded(x), kept)
    assert layer(x).equal(kept)
    assert turned_by(layer) is not None
    fold_queries(layer)
    assert turned_by(prepared()[0]) is not None


def test_folding_a_module_without_a_rotation_leaves_it():
    layer = nn.Linear(5, 6)
    parametrize.register_parametrization(layer, "weight", nn.Identity())
    assert fold_queries(layer) is layer
    assert parametrize.is_parametrized(layer, "weight")
