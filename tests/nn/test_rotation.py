import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fuseloom.errors import OptionError
from fuseloom.nn.rotation import MatrixRotation, Rotation, mirrors, procrustes_rotation

FORMS = [Rotation, MatrixRotation]


def turned(form, source, target):
    rotation = form(source.shape[-1], num_heads=len(source))
    rotation.append(source, target)
    return rotation


def unit(value):
    return value / value.norm(dim=-1, keepdim=True)


def pair(dim, seed, kind="random", heads=2):
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(heads, dim, generator=generator, dtype=torch.float64)
    other = torch.randn(heads, dim, generator=generator, dtype=torch.float64)
    targets = {
        "random": other,
        "same": source,
        "scaled": 3 * source,
        "near": source + 1e-9 * other,
        "opposite": -2 * source,
        "nearly_opposite": -source + 1e-9 * other,
        "across": other - (other * unit(source)).sum(-1, keepdim=True) * unit(source),
    }
    return source, targets[kind]


KINDS = ["random", "same", "scaled", "near", "opposite", "nearly_opposite", "across"]


@pytest.mark.parametrize("form", FORMS)
@given(dim=st.integers(2, 24), seed=st.integers(0, 999), kind=st.sampled_from(KINDS))
def test_it_turns_one_direction_to_another_and_is_a_rotation(form, dim, seed, kind):
    source, target = pair(dim, seed, kind)
    rotation = turned(form, source, target)
    torch.testing.assert_close(rotation(unit(source)), unit(target), rtol=0, atol=1e-12)
    matrix = rotation.matrix()
    same = torch.eye(dim, dtype=torch.float64).expand(2, -1, -1)
    torch.testing.assert_close(matrix @ matrix.mT, same, rtol=0, atol=1e-12)
    assert torch.linalg.det(matrix).tolist() == pytest.approx([1, 1])


@given(dim=st.integers(3, 24), seed=st.integers(0, 999), kind=st.sampled_from(KINDS))
def test_what_is_across_both_stays_where_it_is(dim, seed, kind):
    source, target = pair(dim, seed, kind, heads=1)
    rotation = turned(Rotation, source, target)
    plane = torch.cat([source, mirrors(source, target)[1]]).mT  # [d, 2]
    basis, _ = torch.linalg.qr(plane)
    some = torch.randn(1, dim, dtype=torch.float64)
    across = some - some @ basis @ basis.mT
    torch.testing.assert_close(rotation(across), across, rtol=0, atol=1e-11)


@given(dim=st.integers(2, 16), seed=st.integers(0, 999))
def test_it_is_the_closed_form_of_the_smallest_rotation(dim, seed):
    source, target = pair(dim, seed, heads=1)
    x, y = unit(source)[0], unit(target)[0]
    skew = y.outer(x) - x.outer(y)
    expected = torch.eye(dim, dtype=torch.float64) + skew + skew @ skew / (1 + x @ y)
    torch.testing.assert_close(turned(Rotation, source, target).matrix()[0], expected, rtol=0, atol=1e-9)


def test_the_same_direction_turns_nothing_to_the_bit_and_a_near_one_hardly():
    source, _ = pair(8, 0)
    query = torch.randn(5, 2, 8)
    assert turned(Rotation, source, 2 * source)(query).equal(query)
    near = turned(Rotation, *pair(8, 0, "near"))
    torch.testing.assert_close(near(query), query, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_the_second_turn_starts_where_the_first_ended(form):
    (source, first), (_, second) = pair(6, 0), pair(6, 1)
    rotation = turned(form, source, first)
    rotation.append(rotation(source), second)
    assert len(rotation) == 2
    torch.testing.assert_close(rotation(unit(source)), unit(second))
    query = torch.randn(4, 2, 6, dtype=torch.float64)
    torch.testing.assert_close(rotation(query), torch.einsum("hij,bhj->bhi", rotation.matrix(), query))


def test_official_matrices_are_multiplied_from_the_left():
    rotation = MatrixRotation(3)
    first, second = (procrustes_rotation(*pair(3, seed, heads=1)) for seed in (0, 1))
    rotation.multiply(first)
    rotation.multiply(second)
    assert len(rotation) == 2
    torch.testing.assert_close(rotation.matrix(), second @ first)


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_turns_as_it_did_when_it_was_saved(form, tmp_path):
    rotation = turned(form, *pair(6, 0))
    rotation.append(*pair(6, 1))
    torch.save(rotation.state_dict(), tmp_path / "rotation.pt")
    fresh = form(6, num_heads=2)
    fresh.load_state_dict(torch.load(tmp_path / "rotation.pt", weights_only=True))
    query = torch.randn(4, 2, 6)
    assert len(fresh) == 2
    assert fresh(query).equal(rotation(query))
    assert copy.deepcopy(fresh)(query).equal(rotation(query))
    with pytest.raises(RuntimeError, match="size mismatch"):
        form(5, num_heads=2).load_state_dict(rotation.state_dict())


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_trained_and_gradients_are_turned_back(form):
    rotation = turned(form, *pair(6, 0))
    assert list(rotation.parameters()) == []
    query = torch.randn(3, 2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotation, query)
    weight = torch.randn(3, 2, 6, dtype=torch.float64)
    (given_back,) = torch.autograd.grad((rotation(query) * weight).sum(), query)
    torch.testing.assert_close(rotation(given_back), weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_queries_keep_their_dtype(dtype):
    rotation = turned(Rotation, *pair(6, 0))
    query = torch.randn(4, 2, 6, dtype=dtype)
    exact = rotation(query.double())
    assert rotation(query).dtype == dtype
    torch.testing.assert_close(rotation(query).double(), exact, rtol=0, atol=16 * torch.finfo(dtype).eps)
    assert nn.Sequential(copy.deepcopy(rotation)).float()[0].vectors.dtype == torch.float32


def test_a_wide_matrix_is_no_reflection():
    """In float32 the determinant of so wide a matrix is zero, and its sign cannot be told."""
    source, target = (value.float() for value in pair(512, 3, heads=1))
    sign, size = torch.linalg.slogdet(procrustes_rotation(source, target))
    assert sign.item() == 1
    assert abs(size.item()) < 1e-9


@pytest.mark.parametrize("form", FORMS)
def test_what_cannot_be_turned_is_refused(form):
    with pytest.raises(OptionError, match="dim must be at least 2, got 1"):
        form(1)
    with pytest.raises(OptionError, match="num_heads must be at least 1, got 0"):
        form(3, num_heads=0)
    rotation = form(3)
    with pytest.raises(OptionError, match=r"\[heads, width\] = \[1, 3\], got \[3\]"):
        rotation.append(torch.ones(3), torch.ones(3))
    with pytest.raises(OptionError, match="source must have a direction in every head"):
        rotation.append(torch.zeros(1, 3), torch.ones(1, 3))
    with pytest.raises(OptionError, match="target must have a direction in every head"):
        rotation.append(torch.ones(1, 3), torch.full((1, 3), torch.nan))
    assert len(rotation) == 0


def test_mirrors_of_other_shapes_are_refused():
    with pytest.raises(OptionError, match=r"with d of at least 2, got \[1\] and \[1\]"):
        mirrors(torch.ones(1), torch.ones(1))
