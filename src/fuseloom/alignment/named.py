"""Which alignment goes between which streams."""

from collections.abc import Iterable, Mapping

from fuseloom.errors import OptionError, did_you_mean
from fuseloom.types import Alignment

__all__ = ["named_alignments"]


def named_alignments(
    given: Alignment | Mapping[str, Alignment] | None, names: Iterable[str], *, batch: int
) -> dict[str, Alignment]:
    """``<target>_from_<source>`` -> alignment, where one is given for either direction.

    An alignment is read both ways, unless another one is given for the other way.

    Args:
        given: As above; for two modalities also one alone, of the first's tokens (source) to the second's.
        names: The modalities.
        batch: Samples of the streams.

    Raises:
        OptionError: an alignment without names where there are more than two modalities, an unknown pair, or
            another number of samples.

    Example:
        >>> pair = Alignment.from_pairs([[(0, 2)]])
        >>> found = named_alignments({"image_from_text": pair}, ["text", "image"], batch=1)
        >>> found["image_from_text"].target_index.item(), found["text_from_image"].target_index.item()
        (2, 0)
    """
    order = list(names)
    if isinstance(given, Alignment):
        if len(order) != 2:
            raise OptionError(
                f"alignment must name its modalities where there are {len(order)}, got one alone. Pass "
                f"{{'{order[1]}_from_{order[0]}': ...}}."
            )
        given = {f"{order[1]}_from_{order[0]}": given}
    known = [f"{target}_from_{source}" for target in order for source in order if target != source]
    found: dict[str, Alignment] = {}
    for key, alignment in (given or {}).items():
        if key not in known:
            raise OptionError(f"alignment must be of known pairs, got {key!r}.{did_you_mean(key, known)}")
        if (rows := alignment.source_index.shape[0]) != batch:
            raise OptionError(f"alignment[{key!r}] must have {batch} samples like the streams, got {rows}.")
        target, _, source = key.partition("_from_")
        found.setdefault(f"{source}_from_{target}", alignment.transpose())
    return found | dict(given or {})
