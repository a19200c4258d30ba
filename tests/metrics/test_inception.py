"""Features of Inception, by weights drawn at random, as no hub can be reached."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from fuseloom.errors import DataError, OptionError
from fuseloom.metrics.generation import frechet_distance
from fuseloom.metrics.inception import inception_features
from fuseloom.tasks.translation import Translation

inception = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of such weights as the network has."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    kind = inception.FeatureExtractorInceptionV3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "load_state_dict", lambda self, state: None)
        patch.setattr(torch, "load", lambda *args, **options: {})
        torch.manual_seed(0)
        network = kind("inception-v3-compat", ["2048"], feature_extractor_weights_path="none")
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.slow
def test_features_are_those_of_the_network_that_papers_use(weights: Path) -> None:
    pictures = torch.rand(3, 3, 20, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = inception_features(pictures, weights)
    assert found.shape == (3, 2048)
    torchmetrics = pytest.importorskip("torchmetrics.image.fid")
    fid = torchmetrics.FrechetInceptionDistance(
        feature=2048, normalize=False, feature_extractor_weights_path=str(weights)
    )
    of_bytes = ((pictures + 1) / 2 * 255).round().to(torch.uint8)
    torch.testing.assert_close(found, fid.inception(of_bytes), rtol=1e-4, atol=1e-5)
    grey = inception_features(pictures[:, :1], weights)
    torch.testing.assert_close(grey, inception_features(pictures[:, :1].expand(-1, 3, -1, -1), weights))


@pytest.mark.slow
def test_a_task_with_its_weights_scores_fid_and_kid_too(weights: Path) -> None:
    task = Translation(3, size=(8, 8), low=0, high=255).configured({"inception": str(weights)})
    assert Translation.from_state(task.state()).metrics.keys() == task.metrics.keys() >= {"fid", "kid"}
    rng = np.random.default_rng(0)
    made, real = (rng.uniform(-1, 1, (3, 3, 8, 8)).astype(np.float32) for _ in range(2))
    expected = frechet_distance(*(inception_features(torch.from_numpy(one), weights) for one in (made, real)))
    assert task.metrics["fid"].function(made, real) == pytest.approx(expected)
    assert np.isfinite(task.metrics["kid"].function(made, real))


class Surprise:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("executed",))


def test_other_files_are_refused_and_none_is_executed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = torch.zeros(2, 3, 8, 8)
    with pytest.raises(OptionError, match=r"of Inception's weights, got .*none\.pth, which is none"):
        inception_features(pictures, tmp_path / "none.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(OptionError, match=r"got other\.pth: Error"):
        inception_features(pictures, tmp_path / "other.pth")
    file = io.BytesIO()
    pickle.dump({"weights": Surprise()}, file, protocol=2)
    (tmp_path / "evil.pth").write_bytes(file.getvalue())
    with pytest.raises(OptionError, match=r"got evil\.pth: "):
        inception_features(pictures, tmp_path / "evil.pth")
    assert "executed" not in capsys.readouterr().out
    with pytest.raises(DataError, match="1 or 3 channels for Inception, got 2"):
        inception_features(torch.zeros(2, 2, 8, 8), tmp_path / "none.pth")
