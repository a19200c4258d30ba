"""The assembly for dense prediction."""

import torch
from torch import Tensor, nn

from fuseloom.models.dense import DenseModel, Ensemble, StreamEncoder, run_shared
from fuseloom.types import Masks, Streams, Trace


class Convolved(StreamEncoder):
    def __init__(self) -> None:
        super().__init__({"rgb": 2, "depth": 2}, [3, 4], [1, 2])
        self.first, self.second = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 4, 2, stride=2)

    def run(self, streams: Streams, there: Masks, *, trace: Trace | None) -> list[Streams]:
        first = run_shared(self.first, streams)
        if trace is not None:
            trace.loss("shown", first["rgb"].mean())
        return [first, run_shared(self.second, first)]


class Summed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.label = nn.Conv2d(3, 5, 1)
        self.calls = 0

    def forward(self, maps: list[Tensor], real: Tensor | None = None) -> Tensor:
        self.calls += 1
        assert [value.shape[1] for value in maps] == [3, 4]
        found: Tensor = self.label(maps[0])
        return found


def build() -> DenseModel:
    torch.manual_seed(0)
    return DenseModel(Convolved(), Summed(), Ensemble(["rgb", "depth"]))


def test_each_modality_predicts_and_their_mean_comes_last() -> None:
    model, maps = build(), {"rgb": torch.randn(3, 2, 4, 6), "depth": torch.randn(3, 2, 4, 6)}
    found = model(maps)
    assert found.shape == (3, 3, 5, 4, 6)
    torch.testing.assert_close(found[:, 2], found[:, :2].mean(1))
    assert isinstance(model.head, Summed)
    assert model.head.calls == 2  # statistics of a batch are those of one modality
    turned = model({"rgb": maps["depth"], "depth": maps["rgb"]})
    torch.testing.assert_close(turned[:, [1, 0, 2]], found)


def test_the_mean_is_of_those_that_are_there() -> None:
    found = build()({"depth": torch.randn(3, 2, 4, 6)})
    torch.testing.assert_close(found[:, 2], found[:, 1])


def test_what_the_backbone_learns_from_besides_is_told() -> None:
    trace = Trace()
    build()({"rgb": torch.randn(1, 2, 2, 2)}, trace=trace)
    assert [*trace.losses] == ["encoder.shown"]
