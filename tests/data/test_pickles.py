"""Pickles of arrays are read as `pickle` reads them; of anything else nothing is run."""

import pickle
import subprocess
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fuseloom.data.pickles import read_pickle
from fuseloom.errors import DataError

CONTENT = {
    "train": {
        "vision": np.arange(12.0, dtype=np.float32).reshape(2, 3, 2),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big-endian": np.arange(3, dtype=">f4"),
        "flags": np.array([True, False]),
        "id": np.array([[b"v1", b"0.0", b"2.5"]]),
        "words": np.array(["a", "longer"]),
        "objects": np.array([["text", None], [1, 2.5]], dtype=object),
        "empty": np.zeros((0, 3)),
    },
    "plain": [1, -2.5, True, None, "é", b"\xff", (2**70, ["x"])],
    "scalar": np.float32(2.5),
}


class Command:
    """What a hostile file would do."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return subprocess.check_call, (["touch", str(self.marker)],)


class Plain:
    """A class of somebody's own."""


def equal(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name, value in expected.items():
            equal(found[name], value)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_in_plain_containers_are_read_from_every_protocol(tmp_path: Path, protocol: int) -> None:
    equal(read_pickle(written(tmp_path / "set.pkl", pickle.dumps(CONTENT, protocol))), CONTENT)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_names_of_numpy_1_are_those_of_numpy_2(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps(np.arange(3.0), protocol)
    # Lengths stand before names from protocol 4 on; an equal number of letters keeps them.
    older = content.replace(b"numpy._core.", b"numpy.core.") if protocol < 4 else content
    assert protocol >= 4 or b"_core" not in older
    equal(read_pickle(written(tmp_path / "set.pkl", older)), np.arange(3.0))


def test_strings_of_python_2_are_strings(tmp_path: Path) -> None:
    content = b"\x80\x02}U\x05trainU\x02\xe9!s."  # {"train": "..."} with SHORT_BINSTRING
    assert read_pickle(written(tmp_path / "set.pkl", content)) == {"train": "é!"}


def test_an_array_that_stands_twice_is_made_once(tmp_path: Path) -> None:
    array = np.ones(3)
    found = read_pickle(written(tmp_path / "set.pkl", pickle.dumps([array, array])))
    assert found[0] is found[1]


@given(
    arrays.arrays(
        st.sampled_from(["<f4", ">f8", "<i8", "u1", "?", "S3", "<U2"]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    st.integers(0, pickle.HIGHEST_PROTOCOL),
)
def test_any_array_comes_back(tmp_path_factory: pytest.TempPathFactory, array: Any, protocol: int) -> None:
    path = tmp_path_factory.mktemp("pickles") / "set.pkl"
    equal(read_pickle(written(path, pickle.dumps(array, protocol))), array)


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(1, 40))
def test_damage_of_any_kind_is_an_error_of_ours_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, inserted: bytes, at: int, removed: int
) -> None:
    whole = pickle.dumps(CONTENT, 4)
    damaged = whole[:at] + inserted + whole[at + removed :]
    with suppress(DataError):
        read_pickle(written(tmp_path_factory.mktemp("pickles") / "set.pkl", damaged))


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_command_is_not_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    path = written(tmp_path / "set.pkl", pickle.dumps({"train": Command(marker)}, protocol))
    with pytest.raises(DataError, match=r"got (subprocess|commands)\.check_call, which is never loaded\."):
        read_pickle(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"(S'1'\ni__builtin__\neval\n.",
        b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.",
        b"cnumpy.core.multiarray\nfromstring\n.",
        b"ccopyreg\n_reconstructor\n.",
    ],
    ids=["global", "instance", "stack-global", "of-numpy", "copyreg"],
)
def test_no_other_name_is_found(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match=r"must hold arrays in plain containers, got \S+, which is never"):
        read_pickle(written(tmp_path / "set.pkl", content))


def test_what_a_file_may_call_cannot_be_changed_by_it(tmp_path: Path) -> None:
    content = b"c_codecs\nencode\n}S'make'\nS'x'\nsb."
    with pytest.raises(DataError, match=r"got a state for what has none\."):
        read_pickle(written(tmp_path / "set.pkl", content))
    equal(read_pickle(written(tmp_path / "set.pkl", pickle.dumps(CONTENT, 0))), CONTENT)


def of_array(state: bytes) -> bytes:
    """A program that makes an array and sets it to a state."""
    return b"cnumpy.core.multiarray\n_reconstruct\n(tR" + state + b"b."


DTYPE = b"cnumpy\ndtype\n(S'f4'\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (of_array(b"(I1\n(I2\nt" + DTYPE + b"I00\nS'abc'\nt"), r"an array of shape \(2,\) whose content has"),
        (of_array(b"(I1\n(I-2\nt" + DTYPE + b"I00\nS''\nt"), r"an array of shape \(-2,\)"),
        (of_array(b"(I1\n(I2\nt" + DTYPE + b"I00\nt"), r"a numpy (array|buffer) in an unknown form"),
        (of_array(b"(I1\n(I2\ntS'f4'\nI00\nS''\nt"), r"a numpy (array|buffer) in an unknown form"),
        (of_array(b"(I1\n(I1\ntcnumpy\ndtype\n(S'V8'\ntRI00\nS''\nt"), r"an array of 'V8', not of numbers"),
        (
            of_array(b"(I1\n(I1\ntcnumpy\ndtype\n(S'O8'\ntRI00\nS''\nt"),
            r"an array of shape \(1,\) whose content has another size",
        ),
        (b"cnumpy\nndarray\n(I3\ntR.", r"numpy\.ndarray called by name"),
        (b"cnumpy\ndtype\n(S'f4'\ntR.", r"a numpy dtype in an unknown form"),
        (b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.", r"text in 'rot13'"),
        (b"cnumpy.core.multiarray\nscalar\n(tR.", r"a numpy scalar in an unknown form"),
        (b"cnumpy.core.numeric\n_frombuffer\n(tR.", r"a numpy (array|buffer) in an unknown form"),
        (b"(lp0\ng0\na.", r"containers nested deeper than 100"),
    ],
)
def test_an_array_that_does_not_fit_together_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"set\.pkl must hold arrays in plain containers, got {message}"):
        read_pickle(written(tmp_path / "set.pkl", content))


@pytest.mark.parametrize(
    "value", [Plain(), OrderedDict(a=1), {1, 2}, torch.ones(2)], ids=lambda value: type(value).__name__
)
def test_other_objects_are_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(DataError, match="must hold arrays in plain containers, got"):
        read_pickle(written(tmp_path / "set.pkl", pickle.dumps(value)))


@pytest.mark.parametrize("content", [b"", b"abc", pickle.dumps(CONTENT)[:-40]], ids=["empty", "text", "cut"])
def test_a_damaged_file_is_said_to_be_so(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match=r"set\.pkl must be a whole pickle .* Download it again\."):
        read_pickle(written(tmp_path / "set.pkl", content))


def test_a_file_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"set\.pkl must be a file that can be read, got: no such file"):
        read_pickle(tmp_path / "set.pkl")
