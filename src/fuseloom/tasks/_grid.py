"""What tasks that answer at each pixel have in common."""

from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Self, TypeVar

from fuseloom.errors import OptionError, did_you_mean
from fuseloom.tasks._base import Floats, Task

__all__ = ["GridTask", "read_each"]

S = TypeVar("S")
T = TypeVar("T")


class GridTask(Task, ABC):
    """A task that answers at each pixel of a grid; it has no classical baseline, and its rows no classes."""

    stratified = False
    on_grid: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ()
    """Entries of `state` that a person may set."""

    def configured(self, options: Mapping[str, Any]) -> Self:
        if unknown := sorted(options.keys() - set(self.options)):
            hint = did_you_mean(unknown[0], self.options)
            raise OptionError(
                f"Options of {self.name} must be of {list(self.options)}, got {unknown[0]!r}.{hint}"
            )
        return type(self).from_state({**self.state(), **options})

    def resized(self, height: int, width: int) -> Self:
        """The same at another size."""
        return type(self).from_state({**self.state(), "size": [height, width]})

    @property
    def baseline_name(self) -> str:
        return "none"

    def baselines(self, seed: int) -> list[Any]:
        return []

    def baseline_predict(self, estimator: Any, features: Any) -> Floats:
        raise OptionError(f"A baseline must be one of the task's, got one of another: {self.name} has none.")


def read_each(items: Sequence[S], look: Callable[[S], T]) -> Iterator[T]:
    """What is made of each of these files, read by several threads, in order."""
    with ThreadPoolExecutor() as threads:
        yield from threads.map(look, items)
