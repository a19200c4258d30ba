"""The training rows of an epoch, in pieces: one for each process and each part of a step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fuseloom.types import Batch, Selection

__all__ = ["Feed", "Piece"]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Rows of one step that one process learns from at once."""

    rows: Batch
    share: float
    """By what its mean loss counts: the mean over all pieces of a step is then the mean over its rows."""


class Feed:
    """Shuffled rows, step by step; where it stands can be saved in the middle of an epoch.

    The order is drawn from torch's global generator when an epoch begins, as `fit` draws it.

    Args:
        rows: All training rows.
        rows_per_step: Of all processes together.
        mass: By what the mean loss of some rows counts beside that of others; by default their number.
        pieces: Into how many pieces a process divides its rows of a step.
        rank: Number of this process.
        world: Number of processes.
        agree: Gives every process what the first one holds.

    Example:
        >>> feed = Feed(Batch(inputs={"x": torch.arange(5.0)}), 4, pieces=2)
        >>> [(len(piece.rows), piece.share) for piece in feed]
        [(2, 1.0), (2, 1.0), (1, 2.0), (1, 0.0)]
    """

    def __init__(
        self,
        rows: Batch | Selection,
        rows_per_step: int,
        *,
        mass: Callable[[Batch], float] = len,
        pieces: int = 1,
        rank: int = 0,
        world: int = 1,
        agree: Callable[[Tensor], Tensor] = lambda order: order,
    ) -> None:
        self.rows, self.rows_per_step, self.pieces = rows, rows_per_step, pieces
        self.rank, self.world, self.agree, self.mass = rank, world, agree, mass
        self.place = 0
        self._drawn_from: Tensor | None = None

    def __len__(self) -> int:
        """Pieces of an epoch for one process."""
        return -(-len(self.rows) // self.rows_per_step) * self.pieces

    def __iter__(self) -> Iterator[Piece]:
        order = self._order().to(self.rows.device)
        while self.place < len(self):
            step, piece = divmod(self.place, self.pieces)
            self.place += 1
            start = step * self.rows_per_step
            whole = self.rows.take(order[start : start + self.rows_per_step])
            yield self._piece(whole, piece * self.world + self.rank)

    def state_dict(self) -> dict[str, Any]:
        """Where it stands: the pieces given, and the state of the generator that the order was drawn from."""
        return {"place": self.place, "drawn_from": self._drawn_from}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.place, self._drawn_from = state["place"], state["drawn_from"]

    def _order(self) -> Tensor:
        """The order of the epoch that was begun, or of a new one."""
        if self._drawn_from is not None and 0 < self.place < len(self):
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(self._drawn_from)
                return torch.randperm(len(self.rows))
        self.place, self._drawn_from = 0, self.agree(torch.get_rng_state())
        return self.agree(torch.randperm(len(self.rows)))

    def _piece(self, step: Batch, number: int) -> Piece:
        """One of the pieces of a step; one without rows learns from a row that counts for nothing."""
        if (count := self.pieces * self.world) == 1:
            return Piece(rows=step, share=1.0)
        rows = torch.tensor_split(torch.arange(len(step)), count)[number]
        piece, whole = step.take(rows if len(rows) else slice(0, 1)), self.mass(step)
        return Piece(rows=piece, share=count * self.mass(piece) / whole if len(rows) and whole else 0.0)
