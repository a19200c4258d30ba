"""Features of the network by which FID and KID are published."""

from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float
from torch import Tensor

from fuseloom.errors import DataError, MissingExtraError, OptionError

__all__ = ["inception_features"]

_NAME, _LAYER = "inception-v3-compat", "2048"
_AT_ONCE = 32
_WHITE = 255


def inception_features(
    pictures: Float[Tensor, "picture channel height width"], weights: Path | str
) -> Float[Tensor, "picture feature"]:
    """Features ``[N, 2048]`` of pictures from -1 to 1, with which the distances are FID and KID as published.

    Pictures are brought to bytes and to 299 x 299 pixels first, as the TensorFlow code does it. The published
    numbers of CEN and TokenFusion are of pictures that were stretched to their own range and drawn anew at
    500 x 500 pixels: they compare with none.

    Args:
        pictures: Of three channels, or of one, which is repeated.
        weights: File of the network's weights, ``pt_inception-2015-12-05-6726825d.pth`` of pytorch-fid or
            ``weights-inception-2015-12-05-6726825d.pth`` of torch-fidelity; nothing in it is executed.

    Raises:
        DataError: pictures of another number of channels.
        MissingExtraError: torch-fidelity is not installed.
        OptionError: there is no such file, or it holds other weights.
    """
    if pictures.shape[1] not in (1, 3):
        raise DataError(f"Pictures must have 1 or 3 channels for Inception, got {pictures.shape[1]}.")
    network = _network(Path(weights))
    seen = []
    with torch.inference_mode():
        for part in torch.split(pictures.cpu(), _AT_ONCE):
            shares = (part.clamp(-1, 1) + 1) / 2
            of_bytes = (shares * _WHITE).round().to(torch.uint8).expand(-1, 3, -1, -1)
            seen.append(network(of_bytes)[0])
    return torch.cat(seen)


def _network(path: Path) -> torch.nn.Module:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise MissingExtraError(
            "FID needs torch-fidelity. Install it with: pip install 'fuseloom[fid]'"
        ) from None
    if not path.is_file():
        raise OptionError(f"inception must be a file of Inception's weights, got {path}, which is none.")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        with TemporaryDirectory() as folder:
            # torch-fidelity would execute what a file says: it reads one that was written here.
            plain = Path(folder, "weights.pth")
            torch.save(weights, plain)
            network = FeatureExtractorInceptionV3(_NAME, [_LAYER], feature_extractor_weights_path=str(plain))
    except (RuntimeError, UnpicklingError, EOFError, AttributeError, TypeError) as error:
        first = str(error).strip().splitlines()[0]
        raise OptionError(
            f"inception must be a file of Inception's weights, got {path.name}: {first}"
        ) from None
    found: torch.nn.Module = network.eval()
    return found
