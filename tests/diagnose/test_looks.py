import pytest
import torch
from torch import Tensor

from fuseloom.diagnose.looks import looks
from fuseloom.encoders import Encoder
from fuseloom.encoders.identity import IdentityEncoder
from fuseloom.heads import LinearHead, TaggingHead
from fuseloom.merge.concat import Concat
from fuseloom.models import FusionModel
from fuseloom.models.anchor import Anchor, Context
from fuseloom.types import Batch

DIMS = {"text": 6, "image": 3}


class Patches(torch.nn.Module):
    """Pictures to their pixels."""

    def forward(self, pictures: Tensor, mask: Tensor | None) -> tuple[Tensor, None]:
        return pictures.flatten(2).mT, None


class PatchEncoder(Encoder):
    def __init__(self) -> None:
        super().__init__([Patches()], [3])


def model(context: Context = "attention") -> FusionModel:
    torch.manual_seed(0)
    anchor = Anchor(DIMS, "text", context=context)
    encoders = {"text": IdentityEncoder(6), "image": PatchEncoder()}
    return FusionModel(encoders, Concat(DIMS, 4, pool=None), TaggingHead(4, 3), anchor=anchor).eval()


def rows(count: int = 5) -> Batch:
    lengths = torch.tensor([[4], [2], [0], [3], [1]])[:count]
    return Batch(
        inputs={"text": torch.randn(count, 4, 6), "image": torch.randn(count, 3, 2, 4)},
        masks={"text": torch.arange(4) < lengths},
    )


def test_each_real_word_looks_at_every_patch_as_the_anchor_does() -> None:
    net, given = model(), rows()
    found = looks(net, given, num_rows=5)
    assert [one.row.place for one in found] == [0, 1, 3, 4]  # row 2 has no word
    assert [len(one.weights) for one in found] == [4, 2, 3, 1]
    asking, asked = found[0].row.streams
    assert (asking.modality, asked.modality, asked.positions, asked.grid) == ("text", "image", 8, (2, 4))
    bring = net.anchor.context["image"]
    tokens = given.inputs["image"].flatten(2).mT
    scores = bring.query(given.inputs["text"]) @ bring.key(tokens).mT / 6**0.5
    torch.testing.assert_close(torch.tensor(found[1].weights), scores.softmax(-1)[1, :2], atol=6e-5, rtol=0)


def test_rows_are_drawn_and_the_same_ones_again() -> None:
    first, again = (looks(model(), rows(), num_rows=2, seed=3) for _ in range(2))
    assert [one.row.place for one in first] == [one.row.place for one in again]
    assert len(first) <= 2


@pytest.mark.parametrize("context", ["mean"])
def test_a_model_whose_positions_do_not_attend_has_none(context: Context) -> None:
    assert looks(model(context), rows()) == ()


def test_a_model_of_rows_has_none() -> None:
    encoders = {name: IdentityEncoder(width) for name, width in DIMS.items()}
    net = FusionModel(encoders, Concat(DIMS, 4), LinearHead(4, 2))
    given = Batch(inputs={name: torch.randn(2, width) for name, width in DIMS.items()})
    assert looks(net, given) == ()
