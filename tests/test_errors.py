import builtins
import re

import pytest

from fuseloom import errors
from fuseloom.errors import FuseloomError, did_you_mean

CLASSES = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_is_ours_and_the_builtin_that_the_tree_draws(cls: type[Exception]) -> None:
    assert issubclass(cls, FuseloomError)
    drawn = dict(re.findall(r"── (\w+)\s+\((\w+)\)", errors.__doc__ or ""))
    if cls is not FuseloomError:
        assert cls.__bases__ == (FuseloomError, getattr(builtins, drawn[cls.__name__]))


def test_the_tree_draws_every_error_once() -> None:
    drawn = re.findall(r"── (\w+)", errors.__doc__ or "")
    assert sorted(drawn) == sorted(cls.__name__ for cls in CLASSES if cls is not FuseloomError)


def test_a_near_name_is_suggested_and_all_are_listed_sorted() -> None:
    assert did_you_mean("txet", ["video", "text"]) == " Did you mean 'text'? Known: text, video."


def test_a_far_name_gets_the_list_alone() -> None:
    assert did_you_mean("zzz", iter(["text", "audio"])) == " Known: audio, text."


def test_nothing_known_is_said() -> None:
    assert did_you_mean("x", []) == " Known: none."
