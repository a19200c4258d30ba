"""Tags of two windows of a sentence that overlap as those of one."""

from collections.abc import Iterator, Sequence
from itertools import chain

from fuseloom.metrics.spans import Span, entity_spans

__all__ = ["place_to_join"]


def place_to_join(left: Sequence[str], right: Sequence[str], start: int) -> int:
    """Up to which word the tags of one window count, and from which on those of the next.

    It is the nearest to the middle of what both have read, where a word has as much around it in the one as
    in the other, that divides no entity of either. Where an entity lies over the middle, one that keeps such
    an entity goes first. Where every place divides one, it is the middle.

    Args:
        left: Tags of the first window.
        right: Tags of the next one.
        start: Word of the first window at which the next one begins.

    Example:
        >>> place_to_join(["O", "O", "O", "B-PER", "I-PER", "I-PER"], ["O", "B-PER", "I-PER", "I-PER"], 2)
        3
    """
    middle = (start + len(left) + 1) // 2
    before = entity_spans(left)
    behind = [Span(span.type, span.start + start, span.end + start) for span in entity_spans(right)]
    over = [span for span in (*before, *behind) if span.start < middle < span.end]

    def whole() -> Iterator[tuple[int, list[Span]]]:
        """Places that divide no entity, and the entities that they leave."""
        for place in sorted(range(start, len(left) + 1), key=lambda place: abs(place - middle)):
            left_over = [span for span in before if span.end <= place]
            left_over += [span for span in behind if span.start >= place]
            if entity_spans([*left[:place], *right[place - start :]]) == left_over:
                yield place, left_over

    keeping = (place for place, left_over in whole() if not over or set(over) & set(left_over))
    return next(chain(keeping, (place for place, _ in whole()), [middle]))
