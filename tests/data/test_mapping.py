"""Arrays in files."""

import numpy as np

from fuseloom.data.dataset import Embedding
from fuseloom.data.mapping import mapped, room, taken

VALUES = np.arange(5000 * 3, dtype=np.float32).reshape(5000, 3)


def test_many_rows_of_a_mapped_array_go_to_a_file_and_are_the_same(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    rows = np.random.default_rng(0).permutation(5000)[:3000]
    found = taken(mapped(tmp_path / "a.npy"), rows, large=VALUES.nbytes // 2)
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, VALUES[rows])
    few = taken(mapped(tmp_path / "a.npy"), rows[:9], large=VALUES.nbytes // 2)
    np.testing.assert_array_equal(few, VALUES[rows[:9]])


def test_a_slice_of_a_mapped_array_is_a_view(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    whole = Embedding(values=mapped(tmp_path / "a.npy"), mask=np.ones(5000, dtype=np.bool_))
    part = whole.take(slice(10, 20))
    assert np.shares_memory(part.values, whole.values)


def test_what_is_written_to_a_map_stays_in_memory(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    mapped(tmp_path / "a.npy")[0] = -1
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), VALUES)


def test_much_room_is_a_file_without_a_name() -> None:
    few, many = room((4, 3)), room((4, 3), large=40)
    assert (isinstance(few, np.memmap), isinstance(many, np.memmap)) == (False, True)
    for values in (few, many):
        values[1:3] = 2.5
        assert values.sum() == 15
        assert (values[0] == 0).all()
