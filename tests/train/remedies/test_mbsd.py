import math

import pytest
import torch
from torch import nn

from fuseloom import Batch, create_remedy
from fuseloom.encoders.embedding import EmbeddingEncoder
from fuseloom.merge.concat import Concat
from fuseloom.models import FusionModel
from fuseloom.tasks.classification import Classification
from fuseloom.train.remedies import Passage, Remedied, view_of
from fuseloom.train.remedies.mbsd import MBSD, pair_terms

TASK = Classification(["a", "b", "c", "d"])
WIDTHS = {"text": 6, "audio": 4, "video": 3}


def model_of(names):
    torch.manual_seed(0)
    encoders = {name: EmbeddingEncoder(WIDTHS[name], dim=5, dropout=0.0) for name in names}
    return FusionModel(encoders, Concat(dict.fromkeys(names, 5), 4), nn.Identity())


def rows_of(names, count=40, *, absent=True):
    generator = torch.Generator().manual_seed(1)
    inputs = {name: 3 * torch.randn(count, WIDTHS[name], generator=generator) for name in names}
    masks = {name: torch.rand(count, generator=generator) > 0.3 for name in names[1:]} if absent else {}
    target = torch.randint(4, (count,), generator=generator)
    return Batch(inputs=inputs, masks=masks, target=target)


def naive_pair(first, second, label, *, official=False):
    """Weight, similarity and divergence of a row, number by number."""
    p, q = ([math.exp(v) / sum(map(math.exp, z)) for v in z] for z in (first, second))
    ahead, behind = (p, q) if p[label] >= q[label] else (q, p)
    right = any(max(range(len(z)), key=z.__getitem__) == label for z in (first, second))
    weight = ahead[label] - behind[label] if right else 0.0
    similarity = sum((x - y) ** 2 for x, y in zip(first, second, strict=True)) / len(first)
    if official:
        divergence = behind[label] * (math.log(behind[label]) - ahead[label])
    else:
        divergence = sum(b * math.log(b / a) for a, b in zip(ahead, behind, strict=True))
    return weight, similarity, divergence


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def cross_entropy(logits, label):
    return math.log(sum(map(math.exp, logits))) - logits[label]


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("names", [("text", "audio"), ("text", "audio", "video")])
def test_the_loss_is_that_of_the_rule_row_by_row(names, official):
    model, batch = model_of(names), rows_of(names)
    seen = Passage(view_of(model), batch, TASK)
    labels, whole = batch.target.tolist(), seen.outputs.tolist()
    split = {name: value.tolist() for name, value in seen.split().items()}
    there = {name: seen.present(name).tolist() for name in names}
    wanted = mean(map(cross_entropy, whole, labels))
    for name in names:
        wanted += mean(
            cross_entropy(z, y) for z, y, p in zip(split[name], labels, there[name], strict=True) if p
        )
    pairs = []
    for place, m in enumerate(names):
        for n in names[place + 1 :]:
            both = [i for i in range(len(labels)) if there[m][i] and there[n][i]]
            terms = [naive_pair(split[m][i], split[n][i], labels[i], official=official) for i in both]
            pairs.append(mean(w * (s + d) for w, s, d in terms))
    assert min(map(abs, pairs)) > 1e-3
    found = Remedied(model, MBSD(official=official), TASK).loss(batch)
    assert found.item() == pytest.approx(wanted + mean(pairs), rel=1e-5)


def test_the_shares_of_modalities_add_up_to_the_outputs():
    seen = Passage(view_of(model_of(("text", "audio"))), rows_of(("text", "audio")), TASK)
    torch.testing.assert_close(torch.stack(list(seen.split().values())).sum(0), seen.outputs)


def test_the_divergence_is_least_where_two_agree_and_the_official_one_where_both_are_certain():
    torch.manual_seed(0)
    first, second, target = torch.randn(50, 4), torch.randn(50, 4), torch.randint(4, (50,))
    certain = 50 * torch.eye(4)[target]
    assert pair_terms(first, second, target).divergence.min() > 1e-3
    for agreed in (first, certain):
        torch.testing.assert_close(pair_terms(agreed, agreed, target).divergence, torch.zeros(50))
    official = [pair_terms(z, z, target, official=True).divergence for z in (first, certain)]
    assert (official[0] < 0).all()
    torch.testing.assert_close(official[1], -torch.ones(50))


def test_descending_on_the_divergence_brings_both_together():
    torch.manual_seed(0)
    first, second = (torch.randn(50, 4, requires_grad=True) for _ in range(2))
    target, gap = torch.randint(4, (50,)), (first.softmax(-1) - second.softmax(-1)).abs().sum().item()
    before = first.detach().clone(), second.detach().clone()
    optimizer = torch.optim.SGD([first, second], lr=2.0)
    for _ in range(30):
        optimizer.zero_grad()
        pair_terms(first, second, target).divergence.sum().backward()
        optimizer.step()
    assert (first.softmax(-1) - second.softmax(-1)).abs().sum().item() < gap / 4
    assert not first.equal(before[0])
    assert not second.equal(before[1])


def test_rows_that_neither_predicts_weigh_nothing_and_the_order_of_two_is_all_the_same():
    torch.manual_seed(0)
    first, second, target = torch.randn(60, 4), torch.randn(60, 4), torch.randint(4, (60,))
    terms, turned = pair_terms(first, second, target), pair_terms(second, first, target)
    wrong = (first.argmax(-1) != target) & (second.argmax(-1) != target)
    assert (terms.weight == 0).equal(wrong)
    assert (terms.surer >= terms.less_sure).all()
    for name in ("weight", "surer", "less_sure", "similarity", "divergence"):
        torch.testing.assert_close(getattr(terms, name), getattr(turned, name))


def test_what_an_absent_modality_holds_has_no_effect():
    names = ("text", "audio")
    model, batch = model_of(names), rows_of(names)
    other = Batch(inputs=dict(batch.inputs), masks=batch.masks, target=batch.target)
    other.inputs["audio"] = batch.inputs["audio"].masked_fill(~batch.masks["audio"][:, None], 99.0)
    remedied = Remedied(model, MBSD(), TASK)
    assert remedied.loss(other).equal(remedied.loss(batch))


def test_without_a_row_that_has_both_no_pair_adds_anything():
    names = ("text", "audio")
    model, batch = model_of(names), rows_of(names, absent=False)
    batch = Batch(
        inputs=batch.inputs, masks={"audio": torch.zeros(40, dtype=torch.bool)}, target=batch.target
    )
    seen = Passage(view_of(model), batch, TASK)
    loss = Remedied(model, MBSD(), TASK).loss(batch)
    torch.testing.assert_close(loss, seen.loss + seen.loss_of(seen.split()["text"]))
    loss.backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in model.parameters())


def test_rows_count_by_their_weight():
    names = ("text", "audio")
    model, batch = model_of(names), rows_of(names)
    weight = torch.arange(40) % 3
    weighted = Batch(
        inputs=batch.inputs, masks=batch.masks, target=batch.target, extras={"weight": weight.float()}
    )
    repeated = batch.take(torch.arange(40).repeat_interleave(weight))
    remedied = Remedied(model, create_remedy("mbsd"), TASK)
    torch.testing.assert_close(remedied.loss(weighted), remedied.loss(repeated))
