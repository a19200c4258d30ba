import torch

from fuseloom import Trace
from fuseloom.nn.attention_records import record_keys, record_owners


def test_each_token_is_one_modalitys_or_nobodys_and_padding_is_nobodys():
    trace = Trace()
    mask = torch.tensor([[True, True, False, True]])
    record_owners(trace, "here", {"a": 2, "b": 1}, like=mask, before=1, mask=mask, asked=mask[:, :2])
    assert trace.records["here.of.a"].tolist() == [[False, True, False, False]]
    assert trace.records["here.of.b"].tolist() == [[False, False, False, True]]
    assert trace.records["here.asked"].tolist() == [[True, True]]


def test_without_a_mask_all_tokens_count():
    trace = Trace()
    record_owners(trace, "here", {"a": 1, "b": 2}, like=torch.zeros(2, 5))
    assert trace.records["here.of.b"].tolist() == [[False, True, True]] * 2
    assert "here.asked" not in trace.records


def test_heads_are_apart_and_stand_before_the_queries():
    trace, query = Trace(), torch.arange(12.0).view(1, 3, 4)
    record_keys(trace, "here", query, {"a": torch.tensor([[0.0, 1.0, 2.0, 3.0]])}, num_heads=2)
    assert trace.records["here.query"][0, 1].tolist() == [[2, 3], [6, 7], [10, 11]]
    assert trace.records["here.key.a"].tolist() == [[[0, 1], [2, 3]]]


def test_nothing_is_made_where_no_records_are_kept():
    trace = Trace(keep_records=False)
    record_owners(trace, "here", {"a": 1}, like=torch.zeros(1, 1))
    record_keys(trace, "here", torch.zeros(1, 2), {"a": torch.zeros(1, 2)}, num_heads=1)
    assert trace.records == {}
