import copy

import pytest
import torch
from torch import nn

from fuseloom import Batch
from fuseloom.encoders.embedding import EmbeddingEncoder
from fuseloom.encoders.identity import IdentityEncoder
from fuseloom.errors import ModalityError, OptionError
from fuseloom.merge.concat import Concat
from fuseloom.models import FusionModel, ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression
from fuseloom.train.fit import FitConfig, fit
from fuseloom.train.remedies import Passage, Remedied, view_of
from fuseloom.train.remedies.umt import UMT

TASK = Classification(["a", "b", "c"])
WIDTHS = {"text": 6, "audio": 4, "video": 3}


def encoders_of(names, *, seed, dropout=0.0, dim=5):
    torch.manual_seed(seed)
    return {name: EmbeddingEncoder(WIDTHS[name], dim=dim, dropout=dropout) for name in names}


def model_of(names, *, outputs=3):
    return FusionModel(encoders_of(names, seed=0), Concat(dict.fromkeys(names, 5), outputs), nn.Identity())


def rows_of(names, *, tokens=0):
    generator = torch.Generator().manual_seed(1)
    inputs, masks = {}, {}
    for name in names:
        steps = (tokens,) if tokens else ()
        inputs[name] = torch.randn(30, *steps, WIDTHS[name], generator=generator)
        masks[name] = torch.rand(30, *steps, generator=generator) > 0.5
    return Batch(inputs=inputs, masks=masks, target=torch.randint(3, (30,), generator=generator))


@pytest.mark.parametrize("tokens", [0, 3])
@pytest.mark.parametrize("names", [("text", "audio"), tuple(WIDTHS)])
def test_the_loss_is_that_of_the_rule_row_by_row(names, tokens):
    model, batch, teachers = model_of(names), rows_of(names, tokens=tokens), encoders_of(names, seed=1)
    seen, wanted = Passage(view_of(model), batch, TASK), 0.0
    for name in names:
        own, given = (
            part[name](batch.inputs[name], batch.masks[name])[0] for part in (model.encoders, teachers)
        )
        distances = []
        for i in range(30):
            mask = batch.masks[name][i]
            if mask.any():
                f, g = (value[i][mask].mean(0) if tokens else value[i] for value in (own, given))
                distances.append(((f - g) ** 2).mean().item())
        wanted += sum(distances) / len(distances)
    found = Remedied(model, UMT(teachers=teachers, weight=3.0), TASK).loss(batch)
    assert found.item() == pytest.approx(seen.loss.item() + 3 * wanted, rel=1e-5)


def test_with_weight_zero_training_is_plain_training(problem):
    made = problem()
    build, train, valid, task = made.build, made.train, made.valid, made.task
    config = FitConfig(max_epochs=3, lr=1e-2)
    teachers = {"text": EmbeddingEncoder(6, dim=8), "audio": EmbeddingEncoder(4, dim=8)}
    plain, _ = fit(build, train, valid, task, config)
    remedied, _ = fit(build, train, valid, task, config, remedy=UMT(teachers=teachers, weight=0.0))
    for name, value in plain.state_dict().items():
        assert remedied.state_dict()[name].equal(value), name


def test_encoders_of_models_that_were_trained_alone_teach(problem):
    made = problem()
    build, train, valid, task = made.build, made.train, made.valid, made.task
    settings = FitConfig(max_epochs=4, lr=1e-2)
    alone, teachers = {}, {}
    for name, width in (("text", 6), ("audio", 4)):
        config = ModelConfig(
            encoders={name: {"kind": "embedding", "in_dim": width}}, fusion="concat", dim=8, dropout=0.3
        )
        own = [Batch(inputs={name: rows.inputs[name]}, target=rows.target) for rows in (train, valid)]
        alone[name], _ = fit(lambda config=config: build_model(config, task), *own, task, settings)
        teachers[name] = alone[name].encoders[name]
    before = copy.deepcopy(teachers)

    def distance(model):
        seen = Passage(view_of(model), valid, task)
        rows = valid.masks["audio"]
        given = teachers["audio"](valid.inputs["audio"], rows)[0]
        return (seen.features("audio") - given)[rows].square().mean().item()

    plain, _ = fit(build, train, valid, task, settings)
    taught, _ = fit(build, train, valid, task, settings, remedy=UMT(teachers=teachers))
    assert distance(taught) < 0.8 * distance(plain)
    for name, teacher in teachers.items():
        assert all(value.requires_grad for value in teacher.parameters())
        for key, value in teacher.state_dict().items():
            assert value.equal(before[name].state_dict()[key])


def test_teachers_are_frozen_copies_that_an_optimiser_leaves_alone():
    names = ("text", "audio")
    teachers = encoders_of(names, seed=1, dropout=0.5)
    remedied = Remedied(model_of(names), UMT(teachers=teachers), TASK)
    optimizer = torch.optim.AdamW(remedied.parameters(), lr=0.1, weight_decay=0.5)
    batch = rows_of(names)
    remedied.train()
    first = remedied.remedy.taught(batch)
    for _ in range(3):
        optimizer.zero_grad()
        remedied.loss(batch).backward()
        optimizer.step()
    again = remedied.remedy.taught(batch)
    for name in names:
        assert again.features(name).equal(first.features(name))  # no dropout, and nothing learnt
        assert not any(part.training for part in remedied.remedy.teachers[name].modules())
        assert all(value.requires_grad for value in teachers[name].parameters())
    assert not any(value.requires_grad for value in remedied.remedy.parameters())


def test_rows_without_a_modality_learn_nothing_about_it():
    names = ("text", "audio")
    batch = rows_of(names)
    batch = Batch(
        inputs=batch.inputs, masks={"audio": torch.zeros(30, dtype=torch.bool)}, target=batch.target
    )
    model = model_of(names)
    teachers, other = encoders_of(names, seed=1), encoders_of(names, seed=2)
    first, second = (
        Remedied(model, UMT(teachers={"text": teachers["text"], "audio": audio}), TASK).loss(batch)
        for audio in (teachers["audio"], other["audio"])
    )
    assert first.equal(second)
    first.backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in model.parameters())


def test_any_task_can_be_taught_and_rows_count_by_their_weight():
    names = ("text", "audio")
    batch, weight = rows_of(names), torch.arange(30) % 3
    target = torch.randn(30, generator=torch.Generator().manual_seed(2))
    rows = Batch(inputs=batch.inputs, masks=batch.masks, target=target)
    weighted = Batch(inputs=batch.inputs, masks=batch.masks, target=target, extras={"weight": weight.float()})
    task = Regression.learn(target.numpy())
    remedied = Remedied(model_of(names, outputs=1), UMT(teachers=encoders_of(names, seed=1)), task)
    repeated = rows.take(torch.arange(30).repeat_interleave(weight))
    torch.testing.assert_close(remedied.loss(weighted), remedied.loss(repeated))


def test_teachers_follow_the_precision_of_the_model():
    names = ("text", "audio")
    model = model_of(names).double()
    batch = rows_of(names)
    batch = Batch(inputs={n: v.double() for n, v in batch.inputs.items()}, target=batch.target)
    exact = Remedied(model, UMT(teachers=encoders_of(names, seed=1)), TASK).loss(batch)
    rough = Remedied(model_of(names), UMT(teachers=encoders_of(names, seed=1)), TASK).loss(
        Batch(inputs={n: v.float() for n, v in batch.inputs.items()}, target=batch.target)
    )
    assert exact.dtype == torch.float64
    assert exact.item() == pytest.approx(rough.item(), rel=1e-5)


@pytest.mark.parametrize("names", [("text",), ("text", "audio", "video"), ("text", "sound")])
def test_every_modality_must_have_a_teacher_and_no_other(names):
    teachers = {name: EmbeddingEncoder(4, dim=5) for name in names}
    with pytest.raises(ModalityError, match=r"teachers must be given for \['audio', 'text'\], got \["):
        Remedied(model_of(("text", "audio")), UMT(teachers=teachers), TASK)


def test_a_teacher_of_another_width_or_kind_is_refused():
    teachers = encoders_of(("text", "audio"), seed=1) | {"audio": IdentityEncoder(4)}
    with pytest.raises(ModalityError, match=r"The teacher of 'audio' must be of width 5, .*, got 4\."):
        Remedied(model_of(("text", "audio")), UMT(teachers=teachers), TASK)
    with pytest.raises(OptionError, match=r"The teacher of 'text' must be an Encoder, got Linear\."):
        UMT(teachers={"text": nn.Linear(2, 3)})


def test_a_negative_weight_is_refused():
    with pytest.raises(OptionError, match=r"weight must not be negative, got -1."):
        UMT(teachers={}, weight=-1)
