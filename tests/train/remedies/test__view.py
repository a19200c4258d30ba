import pytest
import torch
from torch import nn

from fuseloom import Batch, Trace
from fuseloom.errors import OptionError
from fuseloom.train.remedies import Encoded, FusionView, view_of


def encoded(**masks):
    streams = {
        "embedding": torch.arange(6.0).view(3, 2),
        "tokens": torch.arange(12.0).view(3, 2, 2),
        "map": torch.arange(24.0).view(3, 2, 2, 2),
    }
    return Encoded(streams=streams, masks=masks, batch=Batch(inputs=streams))


def test_features_are_the_mean_of_what_is_real():
    mask = torch.tensor([[True, False], [True, True], [False, False]])
    places = torch.zeros(3, 2, 2, dtype=torch.bool)
    places[:, 0, 1] = True
    rows = encoded(tokens=mask, map=places)
    assert rows.features("embedding") is rows.streams["embedding"]
    assert rows.features("tokens").tolist() == [[0, 1], [5, 6], [0, 0]]
    assert rows.features("map").equal(rows.streams["map"][:, :, 0, 1])
    assert encoded().features("tokens").equal(rows.streams["tokens"].mean(1))
    assert encoded().features("map").equal(rows.streams["map"].mean((2, 3)))


def test_a_row_has_a_modality_where_anything_of_it_is_real():
    rows = encoded(
        embedding=torch.tensor([True, False, True]),
        tokens=torch.tensor([[True, False], [False, False], [False, True]]),
    )
    assert rows.present("embedding").tolist() == [True, False, True]
    assert rows.present("tokens").tolist() == [True, False, True]
    assert rows.present("map").tolist() == [True, True, True]


def test_rows_without_a_modality_keep_the_masks_of_others_and_are_not_changed():
    mask = torch.tensor([True, False, True])
    rows = encoded(embedding=mask)
    less = rows.without(["tokens", "map"])
    assert less.masks["embedding"] is mask
    assert not less.masks["tokens"].any()
    assert not less.masks["map"].any()
    assert [less.masks[name].shape for name in ("tokens", "map")] == [(3, 2), (3, 2, 2)]
    assert set(rows.masks) == {"embedding"}
    assert not rows.without(["embedding"]).masks["embedding"].any()


def test_streams_are_multiplied_by_a_factor_of_all_rows_or_one_of_each():
    rows = encoded()
    scaled = rows.times({"map": torch.tensor([1.0, 0.0, 2.0]), "embedding": torch.tensor(3.0)})
    assert scaled.streams["map"][1].eq(0).all()
    assert scaled.streams["map"][2].equal(rows.streams["map"][2] * 2)
    assert scaled.streams["embedding"].equal(rows.streams["embedding"] * 3)
    assert scaled.streams["tokens"] is rows.streams["tokens"]


@pytest.mark.parametrize("fusion", ["concat", "cross_attention+low_rank", "attention_pool"])
def test_encoders_and_the_rest_are_the_model(problem, fusion):
    given = problem(3, fusion=fusion, dropout=0.0)
    model = given.build()
    view, rows = view_of(model), given.train
    trace = Trace(keep_records=False)
    assert view.fuse(view.encode(rows), trace).equal(model(rows.inputs, rows.masks))
    assert view.modalities == ("text", "audio", "video")
    assert set(view.dims.values()) == {8}
    hidden = {**rows.masks, "audio": torch.zeros(len(rows), dtype=torch.bool)}
    without = view.fuse(view.without(view.encode(rows), ["audio"]))
    torch.testing.assert_close(without, model(rows.inputs, hidden))


def test_parameters_are_those_of_an_encoder_that_are_trained(problem):
    model = problem(2).build(frozen=["audio"])
    view = FusionView(model)
    assert view.parameters("audio") == []
    assert {id(p) for p in view.parameters("text")} == {id(p) for p in model.encoders["text"].parameters()}
    assert view.encoder("text") is model.encoders["text"]


def test_the_only_fusion_in_a_model_is_found(problem):
    given = problem(2)
    model = given.build()
    found = view_of(nn.ModuleDict({"inside": nn.ModuleList([model])}))
    assert isinstance(found, FusionView)
    assert found.model is model
    with pytest.raises(OptionError, match=r"model must have one FusionModel, got 0 in Linear\. Give a Modal"):
        view_of(nn.Linear(2, 2))
    with pytest.raises(OptionError, match="model must have one FusionModel, got 2 in ModuleList"):
        view_of(nn.ModuleList([model, given.build()]))
