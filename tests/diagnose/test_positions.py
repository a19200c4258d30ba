import torch

from fuseloom import Batch, create
from fuseloom.diagnose.positions import fixed_positions
from fuseloom.diagnose.reliance import hide
from fuseloom.diagnose.split import split
from fuseloom.encoders.identity import IdentityEncoder
from fuseloom.heads import LinearHead, TaggingHead
from fuseloom.models import FusionModel
from fuseloom.models.muse import muse
from fuseloom.nn import PostNormBlock
from fuseloom.nn.crf_packing import unpack_chain
from fuseloom.train.step import apply_model

DIMS = {"text": 8, "image": 8}


def tagger():
    encoders = {name: IdentityEncoder(8) for name in DIMS}
    return muse(encoders, TaggingHead(8, 3), block=lambda width: PostNormBlock(width, num_heads=2)).eval()


def rows(*, masked=True):
    inputs = {"text": torch.randn(5, 6, 8), "image": torch.randn(5, 4, 8)}
    mask = torch.arange(6) < torch.tensor([6, 1, 3, 4, 2])[:, None]
    return Batch(inputs=inputs, masks={"text": mask} if masked else {})


@torch.no_grad()
def real_positions(model, batch):
    return unpack_chain(apply_model(model, batch))[2]


def test_positions_are_those_of_the_model_itself_and_change_no_output():
    model, batch = tagger(), rows()
    fixed = fixed_positions(model, batch, batch_size=2)
    assert fixed.extras["positions"].equal(batch.masks["text"])
    with torch.no_grad():
        assert apply_model(model, fixed).equal(apply_model(model, batch))
    assert fixed_positions(model, fixed) is fixed
    assert fixed_positions(model, rows(masked=False)).extras["positions"].all()


def test_a_sentence_whose_words_are_hidden_keeps_its_positions():
    model, batch = tagger(), rows()
    assert not real_positions(model, hide(batch, "text")).any()
    fixed = fixed_positions(model, batch)
    assert real_positions(model, hide(fixed, "text")).equal(batch.masks["text"])


def test_a_model_of_rows_needs_none():
    encoders = {name: IdentityEncoder(8) for name in DIMS}
    model, batch = FusionModel(encoders, create("sum", DIMS), LinearHead(8, 2)), rows()
    assert fixed_positions(model, batch) is batch


def test_a_model_in_two_parts_keeps_them_too():
    model = tagger()
    fixed = fixed_positions(model, rows())
    parts = split(model)
    with torch.no_grad():
        together = parts.together(parts.alone(hide(fixed, "text")))
        torch.testing.assert_close(together, apply_model(model, hide(fixed, "text")))
