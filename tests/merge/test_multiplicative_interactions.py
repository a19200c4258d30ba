from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuseloom.errors import ModalityError, OptionError
from fuseloom.merge.multiplicative_interactions import (
    Form,
    MultiplicativeInteractions,
    convert_multiplicative_interactions,
)

Array = NDArray[np.float64]


def redraw(merge: MultiplicativeInteractions) -> MultiplicativeInteractions:
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.normal_()
    return merge


def generated(merge: MultiplicativeInteractions, context: dict[str, Array]) -> tuple[Array, Array]:
    """``A`` and ``B`` of each sample, by the sum over every product of features."""
    state = {name: value.double().numpy() for name, value in merge.state_dict().items()}
    total = np.broadcast_to(state["bias"], (len(next(iter(context.values()))), len(state["bias"]))).copy()
    for name, value in context.items():
        total += np.einsum("bn,on->bo", value, state[f"weight.{name}"])
    if len(context) == 2:
        (x_name, x), (y_name, y) = context.items()
        weight = state[f"weight.{y_name}_from_{x_name}"].reshape(-1, x.shape[1], y.shape[1])
        total += np.einsum("bn,bm,onm->bo", x, y, weight)
    applied, shift = merge.sizes
    return total[:, :applied], total[:, applied : applied + shift]


def oracle(merge: MultiplicativeInteractions, form: Form, values: dict[str, Array]) -> Array:
    (name, target), *context = values.items()
    scale, shift = generated(merge, dict(context))
    project = merge.state_dict().get(f"apply_to.{name}.project.weight")
    if form == "matrix":
        return np.einsum("bzd,bz->bd", scale.reshape(*target.shape, -1), target) + shift
    return (target if project is None else target @ project.double().numpy().T) * scale + shift


@pytest.mark.parametrize("form", ["matrix", "vector", "scalar"])
@pytest.mark.parametrize("num", [2, 3])
@pytest.mark.parametrize("dim", [4, 6])
def test_it_is_the_formula_of_the_paper(form: Form, num: int, dim: int) -> None:
    dims = dict(list({"text": 4, "audio": 3, "video": 2}.items())[:num])
    merge = redraw(MultiplicativeInteractions(dims, dim, form=form))
    streams = {name: torch.randn(7, width) for name, width in dims.items()}
    expected = oracle(merge, form, {name: value.double().numpy() for name, value in streams.items()})
    np.testing.assert_allclose(merge(streams).detach(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["matrix", "vector", "scalar"])
def test_the_terms_without_an_absent_modality_remain(form: Form, case: Any) -> None:
    merge = redraw(MultiplicativeInteractions(case.dims, dim=6, form=form))
    fused = merge(case.streams, case.masks).detach().numpy()
    expected = oracle(merge, form, dict(case.pooled))
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-4)
    _, constant = generated(merge, {"audio": np.zeros((1, 3))})
    np.testing.assert_allclose(fused[3], np.broadcast_to(constant[0], 6), rtol=1e-5)
    assert abs(fused[0] - constant[0]).max() > 0.1, "text alone counts"


def test_pixels_are_fused_one_by_one_where_nothing_pools(maps: dict[str, Tensor], pixels: Tensor) -> None:
    merge = redraw(MultiplicativeInteractions({"rgb": 4, "depth": 3}, 6, form="matrix", pool=None))
    kept = {"rgb": maps["rgb"] * pixels[:, None], "depth": maps["depth"]}
    rows = {name: value.permute(0, 2, 3, 1).flatten(0, 2).double().numpy() for name, value in kept.items()}
    expected = oracle(merge, "matrix", rows).reshape(2, 5, 6, 6).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(merge(maps, {"rgb": pixels}).detach(), expected, rtol=1e-4, atol=1e-4)


def test_three_modalities_interact_as_a_triple() -> None:
    merge = redraw(MultiplicativeInteractions({"text": 4, "audio": 3, "video": 2}, 6)).double()
    ends = [{n: torch.randn(5, w).double() for n, w in merge.dims.items()} for _ in range(2)]
    mixed = torch.zeros(5, 6).double()
    for index in np.ndindex(2, 2, 2):
        chosen = {name: ends[i][name] for name, i in zip(merge.dims, index, strict=True)}
        mixed += (-1) ** sum(index) * merge(chosen).detach()
    assert mixed.abs().min() > 1e-4


def test_inputs_are_clipped_and_absent_ones_are_not() -> None:
    merge = redraw(MultiplicativeInteractions({"text": 4, "audio": 3}, clip=(0.5, 1.0)))
    streams = {"text": torch.randn(6, 4), "audio": torch.randn(6, 3)}
    clipped = {name: value.clamp(0.5, 1.0) for name, value in streams.items()}
    absent = {"audio": torch.arange(6) < 3}
    plain = redraw(MultiplicativeInteractions({"text": 4, "audio": 3}))
    plain.load_state_dict(merge.state_dict())
    torch.testing.assert_close(merge(streams, absent), plain(clipped, absent))
    assert not merge(streams)[3:].equal(merge(streams, absent)[3:])


@pytest.mark.parametrize("form", ["matrix", "vector", "scalar"])
@pytest.mark.parametrize("num", [2, 3])
def test_the_output_starts_with_unit_variance_for_standardised_inputs(form: Form, num: int) -> None:
    dims = dict(list({"text": 12, "audio": 16, "video": 8}.items())[:num])
    streams = {name: torch.randn(200, width) for name, width in dims.items()}
    starts = [MultiplicativeInteractions(dims, 20, form=form) for _ in range(40)]
    spread = torch.stack([merge(streams).detach() for merge in starts]).std()
    assert 0.8 < spread < 1.25


@pytest.mark.parametrize("form", ["matrix", "vector", "scalar"])
def test_official_weights_of_two_modalities_convert(form: Form) -> None:
    x, z = torch.randn(5, 3), torch.randn(5, 4)
    shapes: dict[str, tuple[int, ...]] = {"matrix": (4, 6), "vector": (4,), "scalar": (1,)}
    out = shapes[form][1:] if form == "matrix" else shapes[form]
    state = {"W": (3, *shapes[form]), "U": (3, *out), "V": shapes[form], "b": out}
    official = {name: torch.randn(shape) for name, shape in state.items()}
    scale = torch.tensordot(x, official["W"], 1) + official["V"]
    shift = torch.tensordot(x, official["U"], 1) + official["b"]
    expected = torch.einsum("bzd,bz->bd", scale, z) + shift if form == "matrix" else scale * z + shift
    merge = MultiplicativeInteractions({"last": 4, "first": 3}, 6 if form == "matrix" else 4, form=form)
    merge.load_state_dict(convert_multiplicative_interactions(official, ["first"]))
    torch.testing.assert_close(merge({"first": x, "last": z}), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("faithful", [False, True])
def test_official_weights_of_three_modalities_convert(faithful: bool) -> None:
    x, y, z = torch.randn(5, 3), torch.randn(5, 4), torch.randn(5, 2)
    inner = {"W": (3, 4), "U": (3,), "V": (4,), "b": ()}
    out = {"a": (2, 6), "b": (6,)}
    official = {f"{g}.{n}": torch.randn(*s, *out[g]) for g in out for n, s in inner.items()}
    made = {
        group: torch.einsum("bn,bm,nm...->b...", x, y, official[f"{group}.W"])
        + torch.tensordot(x, official[f"{group}.U"], 1)
        + torch.tensordot(y, official[f"{group}.V"], 1)
        + official[f"{group}.b"]
        for group in out
    }
    pairs = torch.einsum("jc,ico->ijo", z, made["a"]) + made["b"]  # the official default, b by columns
    expected = pairs if faithful else pairs.diagonal().T
    merge = MultiplicativeInteractions({"m2": 2, "m0": 3, "m1": 4}, 6, form="matrix", faithful=faithful)
    merge.load_state_dict(convert_multiplicative_interactions(official, ["m0", "m1"]))
    torch.testing.assert_close(merge({"m0": x, "m1": y, "m2": z}), expected, rtol=1e-4, atol=1e-4)


def test_one_or_two_names_generate() -> None:
    with pytest.raises(OptionError, match=r"^context must have one or two names, got \[\]\.$"):
        convert_multiplicative_interactions({}, [])


@pytest.mark.parametrize("num", [1, 4])
def test_other_numbers_of_modalities_are_refused(num: int) -> None:
    with pytest.raises(ModalityError, match=rf"must have 2 to 3 modalities, got {num}"):
        MultiplicativeInteractions(dict.fromkeys("abcd"[:num], 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "matrx"}, r"^form must be one of \['matrix', 'scalar', 'vector'\], got 'matrx'\. Did you"),
        ({"clip": (1.0, 1.0)}, r"^clip must be \(low, high\) with low < high, got \(1\.0, 1\.0\)\.$"),
        ({"limit": 23}, r"^limit must be at least 24 to generate 8 values from 3 products, got 23\. Make"),
        ({"faithful": True}, r"^faithful must be False but for .* matrix form, got 2 in vector form\.$"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        MultiplicativeInteractions({"text": 4, "audio": 3}, **options)


def test_samples_are_not_mixed_by_position() -> None:
    with pytest.raises(OptionError, match=r"got 3 in matrix form with pool=None\.$"):
        MultiplicativeInteractions(dict.fromkeys("abc", 4), form="matrix", pool=None, faithful=True)
