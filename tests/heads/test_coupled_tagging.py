from itertools import product

import numpy as np
import pytest
import torch

from fuseloom import Batch, Trace
from fuseloom.errors import OptionError
from fuseloom.heads import CoupledTaggingHead
from fuseloom.nn.crf import LinearChainCrf
from fuseloom.nn.crf_packing import unpack_chain
from fuseloom.tasks.tagging import Tagging
from fuseloom.train.outcome import outcome_loss

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
SPANS = [0, 1, 2, 1, 2]
MASK = torch.arange(4) < torch.tensor([[4], [3]])


@pytest.fixture
def head():
    found = CoupledTaggingHead(6, TAGS, text_dim=4, share=0.25, weight=0.3)
    torch.nn.init.normal_(found.conversion)
    return found


def plain_loss(crf: LinearChainCrf, scores: list[list[float]], tags: list[int]) -> float:
    """Minus the logarithm of the share of one path in the sum over all."""

    def weigh(path):
        steps = crf.transitions[list(path[:-1]), list(path[1:])].sum()
        own = sum(row[tag] for row, tag in zip(scores, path, strict=True))
        return (crf.start_transitions[path[0]] + steps + crf.end_transitions[path[-1]]).item() + own

    paths = [weigh(path) for path in product(range(crf.num_tags), repeat=len(tags))]
    return float(np.logaddexp.reduce(paths)) - weigh(tags)


def test_scores_of_spans_pass_into_those_of_tags_as_the_matrix_says(head):
    fused = torch.randn(2, 4, 6)
    chain, emissions, kept = unpack_chain(head(fused, MASK))
    for row, place in product(range(2), range(4)):
        own = head.linear(fused[row, place])
        spans = head.span_linear(fused[row, place, :4])
        for tag in range(5):
            passed = sum(spans[span] * head.conversion[span, tag] for span in range(3))
            torch.testing.assert_close(emissions[row, place, tag], 0.75 * own[tag] + 0.25 * passed)
    assert kept.equal(MASK)
    assert chain.transitions.equal(head.crf.transitions)


def test_the_matrix_starts_as_the_scheme_says():
    head = CoupledTaggingHead(3, ["O", "B-A", "B-B", "B-C", "B-D", "I-A"], text_dim=3)
    assert head.spans == ("O", "B", "I")
    assert head.conversion.tolist() == [
        [1, 0, 0, 0, 0, 0],
        [0, 0.25, 0.25, 0.25, 0.25, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_the_loss_is_that_of_the_tags_and_of_the_spans_by_hand(head):
    task, fused, trace = Tagging(TAGS), torch.randn(2, 4, 6), Trace(keep_records=False)
    target = torch.tensor([[1, 2, 0, 3], [0, 3, 4, -1]])
    outputs = head(fused, MASK, trace=trace)
    loss = outcome_loss(outputs, Batch(inputs={}, target=target), task, trace)
    scores, spans = unpack_chain(outputs)[1].tolist(), head.span_linear(fused[..., :4]).tolist()
    wanted = 0.0
    for row, count in enumerate((4, 3)):
        tags = target[row, :count].tolist()
        wanted += plain_loss(head.crf, scores[row][:count], tags) / 2
        of_spans = plain_loss(head.span_crf, spans[row][:count], [SPANS[tag] for tag in tags])
        types = sum(tag != 0 for tag in tags) * np.log(2)
        wanted += 0.3 * (of_spans + types) / 2
    assert loss.item() == pytest.approx(wanted, rel=1e-4)


def test_only_the_text_tells_spans_and_both_losses_teach_it(head):
    task, fused = Tagging(TAGS), torch.randn(2, 4, 6, requires_grad=True)
    target, trace = torch.tensor([[1, 2, 0, 3], [0, 3, 4, -1]]), Trace()
    outputs = head(fused, MASK, trace=trace)
    (aside,) = torch.autograd.grad(task.loss(trace.predictions["spans"], target), fused, retain_graph=True)
    assert aside[MASK][:, :4].abs().min() > 0
    assert not aside[..., 4:].any()
    (own,) = torch.autograd.grad(task.loss(outputs, target), fused, retain_graph=True)
    assert own[MASK].abs().min() > 0
    outcome_loss(outputs, Batch(inputs={}, target=target), task, trace).backward()
    assert all(value.grad.abs().sum() > 0 for value in head.parameters())


def test_without_a_trace_the_outputs_are_the_same(head):
    fused, trace = torch.randn(2, 4, 6), Trace()
    assert head(fused, MASK).equal(head(fused, MASK, trace=trace))
    assert list(trace.prediction_weights.values()) == [0.3]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"text_dim": 7}, r"^text_dim must be in \[1, 6\], got 7\.$"),
        ({"text_dim": 0}, r"^text_dim must be in \[1, 6\], got 0\.$"),
        ({"text_dim": 4, "share": 1.5}, r"^share must be in \[0, 1\], got 1\.5\.$"),
        ({"text_dim": 4, "weight": -1.0}, r"^weight must be at least 0, got -1\.0\.$"),
        ({"text_dim": 4, "tags": []}, r"^tags must be one at least, got none\.$"),
    ],
)
def test_options_out_of_range_are_refused(options, said):
    with pytest.raises(OptionError, match=said):
        CoupledTaggingHead(6, **{"tags": TAGS, **options})


@pytest.mark.compile
def test_it_compiles_whole(head):
    fused = torch.randn(2, 4, 6)
    compiled = torch.compile(head, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(fused, MASK), head(fused, MASK))
