"""Which parts fuse and where they stand, as text: ``cross_attention@early+concat``."""

from dataclasses import dataclass
from typing import Literal, Self, get_args

from fuseloom.errors import OptionError, did_you_mean
from fuseloom.registry import Interaction, card, list_fusions

__all__ = ["Depth", "FusionSpec", "PlacedPart", "stages_run"]

Depth = Literal["early", "middle", "late"]
"""Behind the first stage of the encoders, behind the one in the middle, or behind the last, where encoders
that can give tokens do."""

_DEPTHS = get_args(Depth)
_ORDERS: tuple[Interaction, ...] = ("additive", "multiplicative", "nonlinear")


@dataclass(frozen=True, kw_only=True)
class PlacedPart:
    """A part by name and where it stands."""

    name: str
    depth: Depth | None = None
    """None is behind the last stage, of encoders as they are."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NAME`` or ``NAME@DEPTH``.

        Raises:
            OptionError: an unknown depth.

        Example:
            >>> PlacedPart.parse("sum@middle")
            PlacedPart(name='sum', depth='middle')
        """
        name, at, depth = (part.strip() for part in text.partition("@"))
        if at and depth not in _DEPTHS:
            hint = did_you_mean(depth, _DEPTHS)
            raise OptionError(
                f"depth must be one of {list(_DEPTHS)}, got {depth!r} in {text.strip()!r}.{hint}"
            )
        return cls(name=name, depth=next((known for known in _DEPTHS if known == depth), None))

    def __str__(self) -> str:
        return self.name if self.depth is None else f"{self.name}@{self.depth}"

    @property
    def is_inside(self) -> bool:
        """Whether it stands before the last stage."""
        return self.depth in ("early", "middle")

    def stage(self, num_stages: int) -> int:
        """The stage behind which it stands, of so many.

        Example:
            >>> [PlacedPart(name="sum", depth=depth).stage(5) for depth in ("early", "middle", "late")]
            [0, 2, 4]
        """
        return {"early": 0, "middle": (num_stages - 1) // 2}.get(str(self.depth), num_stages - 1)


@dataclass(frozen=True, kw_only=True)
class FusionSpec:
    """Which parts fuse: exchanges in their order, then one merge."""

    exchanges: tuple[PlacedPart, ...] = ()
    merge: PlacedPart = PlacedPart(name="concat")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``MERGE`` or ``EXCHANGE+MERGE``, each with ``@early``, ``@middle`` or ``@late`` if need be.

        Raises:
            OptionError: an unknown part or depth, parts in another order, or an exchange behind the merge.

        Example:
            >>> spec = FusionSpec.parse("cross_attention@early+sum")
            >>> spec.exchanges, spec.merge.name
            ((PlacedPart(name='cross_attention', depth='early'),), 'sum')
        """
        *exchanges, merge = (PlacedPart.parse(one) for one in text.split("+"))
        for part, kind in [*((part, "exchange") for part in exchanges), (merge, "merge")]:
            known = list_fusions(kind=kind)
            if part.name not in known:
                hint = did_you_mean(part.name, known)
                raise OptionError(
                    f"fusion must be MERGE or EXCHANGE+MERGE, got {kind} {part.name!r} in {text!r}.{hint}"
                )
        if late := [part for part in exchanges if part.stage(3) > merge.stage(3)]:
            raise OptionError(
                f"Exchanges must stand before the merge, got {late[0]!s} and {merge!s} in {text!r}. Behind "
                "it modalities are one."
            )
        return cls(exchanges=tuple(exchanges), merge=merge)

    def __str__(self) -> str:
        return "+".join(map(str, self.parts))

    @property
    def parts(self) -> tuple[PlacedPart, ...]:
        """Exchanges and merge."""
        return (*self.exchanges, self.merge)

    @property
    def wants_tokens(self) -> bool:
        """Whether encoders are to end in tokens where they can, as some part stands ``@late``."""
        return any(part.depth == "late" for part in self.parts)

    @property
    def interaction(self) -> Interaction:
        """Highest order of interaction that it can express; stages behind a part bend what it mixed."""
        if any(part.is_inside for part in self.parts):
            return "nonlinear"
        return max((card(part.name).interaction for part in self.parts), key=_ORDERS.index)


def stages_run(count: int, *, behind: int, depth: int) -> int:
    """How many of its stages an encoder has run behind a stage, where it spreads them over all.

    Args:
        count: Its stages.
        behind: Stage of all, from 0; -1 is before the first.
        depth: How many there are.

    Example:
        >>> [stages_run(2, behind=stage, depth=4) for stage in range(4)]
        [1, 1, 2, 2]
    """
    return -(-(behind + 1) * count // depth)  # rounded up
