import collections
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fuseloom.errors import RunError
from fuseloom.models.checkpoint import read_checkpoint

WEIGHTS = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}


def assert_same(found, expected=WEIGHTS):
    assert found.keys() == expected.keys()
    assert all(value.equal(expected[name]) for name, value in found.items())


@pytest.mark.parametrize(
    "held",
    [
        WEIGHTS,
        collections.OrderedDict(WEIGHTS),
        {"state_dict": WEIGHTS, "epoch": 3, "args": {"lr": 0.1}},
        {"model": WEIGHTS, "optimizer": {"state": {}}},
        {f"module.{name}": value for name, value in WEIGHTS.items()},
        {"net": {f"module._orig_mod.{name}": value for name, value in WEIGHTS.items()}},
    ],
)
def test_weights_are_found_wherever_a_training_program_keeps_them(tmp_path, held):
    torch.save(held, tmp_path / "model.pth")
    assert_same(read_checkpoint(tmp_path / "model.pth"))


def test_another_protocol_is_refused_without_a_warning(tmp_path):
    torch.save(WEIGHTS, tmp_path / "model.bin", pickle_protocol=4)
    with pytest.raises(
        RunError, match=r"^model\.bin must hold weights only, got what cannot be read without"
    ):
        read_checkpoint(tmp_path / "model.bin")


def test_a_wrapper_s_name_before_some_weights_only_stays(tmp_path):
    held = {"module.fc.bias": torch.ones(2), "other": torch.zeros(1)}
    torch.save(held, tmp_path / "model.pth")
    assert_same(read_checkpoint(tmp_path / "model.pth"), held)


def test_formats_that_hold_arrays_only(tmp_path):
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    assert_same(read_checkpoint(tmp_path / "model.safetensors"))
    np.savez(tmp_path / "model.npz", **{name: value.numpy() for name, value in WEIGHTS.items()})
    assert_same(read_checkpoint(tmp_path / "model.npz"))


class Bomb:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return open, (str(self.place), "w")


@pytest.mark.parametrize("save", [torch.save, lambda held, path: path.write_bytes(pickle.dumps(held))])
def test_objects_are_never_made(tmp_path, save):
    save({"model": Bomb(tmp_path / "boom")}, tmp_path / "model.pth")
    with pytest.raises(
        RunError, match=r"^model\.pth must hold weights only, got .*torch\.save\(model\.state_dict\(\)"
    ):
        read_checkpoint(tmp_path / "model.pth")
    assert not (tmp_path / "boom").exists()


def test_a_whole_module_is_refused_with_what_to_do(tmp_path):
    torch.save(torch.nn.Linear(2, 1), tmp_path / "model.pth")
    message = (
        r"must hold weights only, got an object of torch\.nn\.modules\.linear\.Linear; objects are never"
    )
    with pytest.raises(RunError, match=message):
        read_checkpoint(tmp_path / "model.pth")


def test_arrays_of_objects_are_refused(tmp_path):
    np.savez(tmp_path / "model.npz", w=np.array([{"a": 1}], dtype=object))
    with pytest.raises(
        RunError, match=r"model\.npz must be a checkpoint that can be read, got: Object arrays"
    ):
        read_checkpoint(tmp_path / "model.npz")


@pytest.mark.parametrize("name", ["model.pth", "model.npz", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04 cut off"])
def test_what_is_no_checkpoint_is_answered_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=rf"^{name} must (be|hold) [^\n]*$"):
        read_checkpoint(tmp_path / name)


def test_one_array_is_no_checkpoint(tmp_path):
    with (tmp_path / "model.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(RunError, match="got: one array instead of several with names"):
        read_checkpoint(tmp_path / "model.npz")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RunError, match=r"checkpoint must be a file, got .*No such file"):
        read_checkpoint(tmp_path / "model.npz")


@pytest.mark.parametrize(
    ("held", "got"),
    [
        ({"epoch": 3, "lr": 0.1}, r"\['epoch', 'lr'\]"),
        ({"state_dict": WEIGHTS, "model": WEIGHTS}, r"\['model', 'state_dict'\]"),
        ({}, r"\[\]"),
        ([1.0, 2.0], "list"),
        (torch.ones(2), "Tensor"),
    ],
)
def test_a_file_without_a_state_dict_says_what_it_holds(tmp_path, held, got):
    torch.save(held, tmp_path / "model.pth")
    with pytest.raises(RunError, match=rf"^model\.pth must hold a state dict, .* got {got}\."):
        read_checkpoint(tmp_path / "model.pth")
