import numpy as np
import pytest
import torch

from fuseloom.comparison.exchange_samples import exhibited, pictured
from fuseloom.data.dataset import Image, Map, Text
from fuseloom.diagnose.exchanged import ExchangedSample, SampleLayer, SampleStream
from fuseloom.diagnose.modality_maps import Scene
from fuseloom.types import Batch

LAYER = SampleLayer(layer="exchange.0", chosen=(1,), scores=())


def stream(modality: str, positions: int, grid: tuple[int, int] | None = None) -> SampleStream:
    return SampleStream(modality=modality, positions=positions, grid=grid, layers=(LAYER,))


def texts(*values: str | None) -> Text:
    return Text(values=np.array(values, dtype=object))


@pytest.fixture
def rows() -> Batch:
    words = torch.zeros(2, 4, 6, dtype=torch.int32)
    pictures = torch.arange(2 * 3 * 12 * 12).remainder(255).to(torch.uint8).reshape(2, 3, 12, 12)
    return Batch(inputs={"text": words, "photo": pictures})


@pytest.fixture
def sample() -> ExchangedSample:
    return ExchangedSample(place=1, streams=(stream("text", 3), stream("photo", 9, (3, 3))))


def test_words_are_those_of_the_row_that_its_number_says_and_are_cut_as_the_model_cut_them(
    rows: Batch, sample: ExchangedSample
) -> None:
    data = {
        "text": texts("a", "b", "see Mount Osk again"),
        "photo": Image(items=np.array([None] * 3, dtype=object)),
    }
    found = exhibited(sample, rows, data, places=[0, 2], ids=["first", "second"])
    words, picture = found.streams
    assert found.row == "second"
    assert words.words == ("see", "Mount", "Osk")
    assert picture.words == ()


def test_a_picture_is_what_the_model_read(rows: Batch, sample: ExchangedSample) -> None:
    from fuseloom.data.thumbnail import data_uri

    data = {"text": texts("a", "see Mount Osk"), "photo": Image(items=np.array([None] * 2, dtype=object))}
    picture = exhibited(sample, rows, data).streams[1].picture
    assert picture is not None
    assert picture.picture == data_uri(rows.inputs["photo"][1].permute(1, 2, 0).numpy())
    assert (picture.width, picture.height, picture.words) == (12, 12, "12 x 12 pixels")


def test_nothing_is_shown_of_private_rows_or_of_what_has_no_place(
    rows: Batch, sample: ExchangedSample
) -> None:
    assert exhibited(sample, rows, None).streams == sample.streams
    assert exhibited(sample, rows, None).row == "1"
    data = {"text": texts("a", "see Mount Osk"), "photo": Image(items=np.array([None] * 2, dtype=object))}
    numbers = {name: value.float() for name, value in rows.inputs.items()}
    plain = exhibited(sample, Batch(inputs=numbers), data)
    assert [(one.words, one.picture) for one in plain.streams] == [((), None)] * 2
    absent = ExchangedSample(place=1, streams=(stream("text", 0), stream("photo", 9), stream("other", 2)))
    assert exhibited(absent, rows, data).streams == absent.streams


def test_a_scene_shows_pictures_as_read_and_maps_in_grey_but_nothing_that_is_absent() -> None:
    from fuseloom.data.thumbnail import data_uri, grey

    depth = torch.tensor([[-1.0, 0.0], [1.0, 9.0]]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    real = torch.tensor([[True, True], [True, False]]).expand(2, 2, 2)
    rows = Batch(
        inputs={"rgb": torch.zeros(2, 3, 2, 2, dtype=torch.uint8), "depth": depth, "gone": depth},
        masks={"depth": real, "gone": torch.zeros(2, 2, 2, dtype=torch.bool)},
    )
    nothing = np.array([None] * 2, dtype=object)
    data = {"rgb": Image(items=nothing), "depth": Map(items=nothing), "gone": Map(items=nothing)}
    scene = pictured(Scene(place=1, maps=(), labels=()), rows, data, ids=["first", "second"])
    assert scene.row == "second"
    assert scene.pictures.keys() == {"rgb", "depth"}
    shades = grey(np.array([[-1.0, 0.0], [1.0, -1.0]]), low=-1, high=1)
    assert scene.pictures["depth"].picture == data_uri(shades)
