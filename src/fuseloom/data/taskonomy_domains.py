"""Pictures of Taskonomy's domains, decoded as the translations of CEN and TokenFusion take them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.maps import read_map
from fuseloom.data.taskonomy import DOMAINS
from fuseloom.errors import DataError, UnknownNameError, did_you_mean

__all__ = ["decode_domain"]

_LARGEST: Mapping[str, float] = {
    "depth_euclidean": 11.1,
    "depth_zbuffer": 11.1,
    "edge_occlusion": 11584.0,
    "edge_texture": 11355.0,
}
"""What becomes 255, of logarithms of 512ths of a metre and of strengths of edges."""
_LOGARITHMIC = "depth_"
_WHITE = 255


def decode_domain(item: Any, domain: str) -> NDArray[np.float32]:
    """A picture of a domain ``[3, H, W]``, from -1 to 1; one of a single channel is repeated.

    Depth is the natural logarithm of one more than its number. Depth and edges, of 16 bits, are brought to
    255 and lose their fractions, as the official code goes through bytes.

    Args:
        item: As of `read_map`: a path, bytes or an array.
        domain: One of `fuseloom.data.taskonomy.DOMAINS`.

    Raises:
        DataError: as of `read_map`; or it has neither one channel nor three.
        UnknownNameError: there is no such domain.

    Example:
        >>> decode_domain(np.array([[0, 11355]]), "edge_texture")[0]
        array([[-1.,  1.]], dtype=float32)
    """
    if domain not in DOMAINS:
        raise UnknownNameError(f"Unknown domain {domain!r}.{did_you_mean(domain, DOMAINS)}")
    values = read_map(item)[0].astype(np.float64)
    if len(values) not in (1, 3):
        raise DataError(f"a picture of Taskonomy must have 1 or 3 channels, got {len(values)}")
    if domain.startswith(_LOGARITHMIC):
        values = np.log1p(values)
    if domain in _LARGEST:
        values = values * _WHITE / _LARGEST[domain]
    shares = values.astype(np.uint8).astype(np.float32) / np.float32(_WHITE)
    return np.broadcast_to((shares - np.float32(0.5)) / np.float32(0.5), (3, *shares.shape[1:])).copy()
