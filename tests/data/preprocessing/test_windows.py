import numpy as np
import pytest

from fuseloom.data.preprocessing._windows import find_windows


@pytest.mark.parametrize(("sizes", "most"), [([], 3), ([1, 2, 1], 3), ([4], 1)])
def test_what_fits_is_not_divided(sizes: list[int], most: int) -> None:
    assert find_windows(sizes, room=4, most=most) is None
    assert find_windows([*sizes, 5], room=4, most=most) is not None


@pytest.mark.parametrize("seed", range(20))
def test_every_word_that_fits_alone_is_read_in_windows_that_fit(seed: int) -> None:
    generator = np.random.default_rng(seed)
    room, most = int(generator.integers(1, 30)), int(generator.integers(1, 20))
    sizes = generator.integers(1, 8, size=int(generator.integers(room + 1, 300))).tolist()
    windows = find_windows(sizes, room=room, most=most)
    assert windows is not None
    assert windows.num_words == len(sizes)
    read = {word for first, behind in windows.parts for word in range(first, behind)}
    assert read == {word for word, size in enumerate(sizes) if size <= room}
    assert all(sum(sizes[first:behind]) <= room for first, behind in windows.parts)
    assert all(0 < behind - first <= most for first, behind in windows.parts)
    firsts, ends = zip(*windows.parts, strict=True)
    assert list(firsts) == sorted(set(firsts))
    assert list(ends) == sorted(set(ends))


@pytest.mark.parametrize("room", [4, 5, 40, 64])
def test_every_word_has_a_quarter_of_a_window_on_each_side(room: int) -> None:
    """Or the end of the text."""
    windows = find_windows([1] * 5000, room=room, most=room)
    assert windows is not None
    for word in range(5000):
        around = (
            min(word - first if first else room, behind - 1 - word if behind < 5000 else room)
            for first, behind in windows.parts
            if first <= word < behind
        )
        assert max(around) >= room // 4
    assert len(windows.parts) <= 2 * 5000 / (room - 1) + 1
