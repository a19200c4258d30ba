"""The imbalance rate of attention over the epochs of a training."""

import pytest
import torch

from fuseloom import Batch, create
from fuseloom.comparison.imbalance import ImbalanceRecorder
from fuseloom.errors import OptionError
from fuseloom.metrics.attention import attention_imbalance_rate, key_cosine
from fuseloom.train.class_adapters import find_class_attention
from fuseloom.train.rolling_query import RollingQuery


@pytest.fixture
def rows():
    return Batch(inputs={"text": torch.randn(600, 5, 3), "audio": torch.randn(600, 2)})


def test_it_is_the_rate_of_the_first_512_rows_and_leaves_the_model_alone(rows):
    model = create("attention_pool", {"text": 3, "audio": 2}, dim=4).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recorder = ImbalanceRecorder(rows)
    recorder(model)
    with find_class_attention(model).reading() as readings, torch.no_grad():
        model(rows.take(slice(0, 512)).inputs)
    query, keys = readings[0].query.flatten(1), readings[0].keys
    cosines = {name: key_cosine(query, key.flatten(1)) for name, key in keys.items()}
    assert recorder.rates == pytest.approx([float(attention_imbalance_rate(cosines))])
    assert model.training
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_it_follows_a_turned_query(rows):
    model = create("attention_pool", {"text": 3, "audio": 2}, dim=4)
    rolling, recorder = RollingQuery(rho=2.0), ImbalanceRecorder(rows)
    rolling.attach(model)
    recorder(model)
    rolling.over(rows)(model)
    recorder(model)
    assert len(recorder.rates) == 2
    assert recorder.rates[0] != pytest.approx(recorder.rates[1])


def test_a_model_without_a_class_token_is_refused(rows):
    with pytest.raises(OptionError, match="one AttentionPool"):
        ImbalanceRecorder(rows)(create("sum", {"text": 3, "audio": 2}, dim=4))
