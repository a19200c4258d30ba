import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fuseloom import Batch
from fuseloom.encoders.embedding import EmbeddingEncoder
from fuseloom.errors import OptionError
from fuseloom.merge.concat import Concat
from fuseloom.models import FusionModel
from fuseloom.tasks.classification import Classification
from fuseloom.train.fit import FitConfig, fit
from fuseloom.train.remedies import Course, Passage, Remedied, view_of
from fuseloom.train.remedies.cml import CML

TASK = Classification(["a", "b", "c"])
WIDTHS = {"text": 6, "audio": 4, "video": 3}


def model_of(names):
    torch.manual_seed(0)
    encoders = {name: EmbeddingEncoder(WIDTHS[name], dim=5, dropout=0.0) for name in names}
    return FusionModel(encoders, Concat(dict.fromkeys(names, 5), 3), nn.Identity())


def rows_of(names, *, absent=True):
    generator = torch.Generator().manual_seed(1)
    inputs = {name: torch.randn(40, WIDTHS[name], generator=generator) for name in names}
    masks = {name: torch.rand(40, generator=generator) > 0.4 for name in names} if absent else {}
    return Batch(inputs=inputs, masks=masks, target=torch.randint(3, (40,), generator=generator))


def naive(model, batch, order, *, weight, by_row):
    """The toolkit's way: outputs less the shares of what was removed, and more of the bias."""
    features, names = model.encode(batch.inputs, batch.masks)[0], list(model.encoders)
    there = {name: batch.mask_of(name) for name in names}
    bias = model.merge.bias
    shares = {name: features[name] @ model.merge.weight[name].T + bias / len(names) for name in names}
    outputs, left = sum(shares.values()), list(names)
    losses, growth = [F.cross_entropy(outputs, batch.target)], 0.0
    for name in order[:-1]:
        left.remove(name)
        rest = outputs - shares[name] + bias / len(names)
        some = torch.stack([there[other] for other in left]).any(0)
        losses.append(F.cross_entropy(rest[some], batch.target[some]))
        rows = [i for i in range(len(some)) if some[i] and there[name][i]]
        grown = [(rest[i].softmax(-1).max() - outputs[i].softmax(-1).max()).item() for i in rows]
        kept = [max(value, 0) for value in grown] if by_row else [max(sum(grown) / len(grown), 0)]
        growth += sum(kept) / len(kept)
        outputs = rest
    return sum(losses).item() / len(names) + weight * growth, growth


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("order", [("audio", "text"), ("text", "audio"), ("video", "text", "audio")])
def test_the_loss_is_that_of_the_rule_row_by_row(order, by_row, absent):
    names = tuple(name for name in WIDTHS if name in order)
    model, batch = model_of(names), rows_of(names, absent=absent)
    remedy = CML(weight=2.0, by_row=by_row)
    remedied = Remedied(model, remedy, TASK)
    remedy.order.copy_(torch.tensor([names.index(name) for name in order]))
    wanted, growth = naive(model, batch, order, weight=2.0, by_row=by_row)
    assert not by_row or growth > 1e-3
    assert remedied.loss(batch).item() == pytest.approx(wanted, rel=1e-5)


def test_rows_make_up_for_one_another_unless_each_counts():
    names = ("text", "audio")
    model, batch = model_of(names), rows_of(names, absent=False)
    seen = Passage(view_of(model), batch, TASK)
    grown = seen.outputs_of(["text"]).softmax(-1).amax(-1) - seen.outputs.softmax(-1).amax(-1)
    falling = batch.take(grown <= grown.sort().values[30])
    found = {
        (weight, by_row): Remedied(model, CML(weight=weight, by_row=by_row), TASK).loss(falling).item()
        for weight in (0.0, 1.0)
        for by_row in (False, True)
    }
    assert grown.sort().values[:31].mean() < 0 < grown.sort().values[30]
    assert found[1.0, False] == found[0.0, False] == found[0.0, True] < found[1.0, True]


def test_descending_on_the_penalty_makes_the_whole_surer_than_its_parts():
    names = ("text", "audio", "video")
    model, batch = model_of(names), rows_of(names, absent=False)
    remedied = Remedied(model, CML(weight=20.0, by_row=True), TASK)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)

    def grown():
        seen = Passage(view_of(model), batch, TASK)
        sure = [seen.outputs_of(left).softmax(-1).amax(-1) for left in (names, names[:2], names[:1])]
        return sum((behind - before).relu().mean().item() for before, behind in itertools.pairwise(sure))

    before = grown()
    for _ in range(40):
        optimizer.zero_grad()
        remedied.loss(batch).backward()
        optimizer.step()
    assert grown() < before / 2


def test_each_epoch_draws_an_order_and_the_state_holds_it():
    names, orders = tuple(WIDTHS), set()
    model = model_of(names)
    remedied = Remedied(model, CML(), TASK)
    torch.manual_seed(0)
    for epoch in range(40):
        remedied.start_epoch(Course(epoch=epoch, num_steps=1))
        orders.add(tuple(remedied.remedy.order.tolist()))
    assert len(orders) == 6
    other = Remedied(copy.deepcopy(model), CML(), TASK)
    other.load_state_dict(remedied.state_dict())
    batch = rows_of(names)
    assert other.remedy.order.equal(remedied.remedy.order)
    assert other.loss(batch).equal(remedied.loss(batch))


def test_a_run_that_goes_on_is_the_same_as_one_that_never_stopped(problem, tmp_path):
    made = problem()
    build, train, valid, task = made.build, made.train, made.valid, made.task
    short, whole = (FitConfig(max_epochs=epochs, planned_epochs=4, batch_size=35) for epochs in (2, 4))
    undisturbed, _ = fit(build, train, valid, task, whole, remedy=CML())
    state = tmp_path / "state"
    fit(build, train, valid, task, short, remedy=CML(), state=state)
    resumed, _ = fit(build, train, valid, task, whole, remedy=CML(), state=state)
    for name, value in undisturbed.state_dict().items():
        assert resumed.state_dict()[name].equal(value), name


def test_a_batch_of_rows_that_have_nothing_left_is_finite():
    names = ("text", "audio")
    model, batch = model_of(names), rows_of(names, absent=False)
    batch = Batch(inputs=batch.inputs, masks={"text": torch.zeros(40, dtype=torch.bool)}, target=batch.target)
    seen = Passage(view_of(model), batch, TASK)
    loss = Remedied(model, CML(), TASK).loss(batch)  # removes audio, of rows that have nothing else
    torch.testing.assert_close(loss, seen.loss / 2)
    loss.backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in model.parameters())


def test_a_negative_weight_is_refused():
    with pytest.raises(OptionError, match=r"weight must not be negative, got -1."):
        CML(weight=-1)
