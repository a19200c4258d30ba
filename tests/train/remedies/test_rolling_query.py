import copy
from dataclasses import replace

import pytest
import torch

from fuseloom.errors import OptionError
from fuseloom.nn.turned_query import turned_by
from fuseloom.train.fit import FitConfig, fit
from fuseloom.train.remedies import FusionView, ModalityView, Remedied
from fuseloom.train.remedies.rolling_query import RollingQueryRemedy
from fuseloom.train.rolling_query import RollingQuery
from fuseloom.train.step import training_loss


@pytest.fixture
def attending(problem):
    def made(**options):
        return problem(2, fusion="attention_pool", **{"kind": "projection"} | options)

    return made


def by_hand(given, model, rolling, *, epochs):
    """What the remedy should do, by `RollingQuery` itself."""
    rolling.attach(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for epoch in range(epochs):
        model.train()
        course = given.course(epoch)
        for step, batch in enumerate(course.train()):
            with rolling.watching(model, step, course.num_steps):
                loss = training_loss(model, batch, given.task)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        rolling.end_epoch(model, (model(part.inputs, part.masks) for part in course.train()))
    return model


@pytest.mark.parametrize("options", [{}, {"window": 2, "max_rotations": 2, "rho": 2.0}, {"heads": "each"}])
def test_it_does_what_rolling_query_does(attending, options):
    given = attending()
    model = given.build()
    twin, rolling = copy.deepcopy(model), RollingQuery(**options)
    remedied = Remedied(model, RollingQueryRemedy(**options), given.task)
    torch.manual_seed(3)
    given.learn(remedied, epochs=3)
    torch.manual_seed(3)
    by_hand(given, twin, rolling, epochs=3)
    assert remedied.remedy.rolling.log == rolling.log
    assert rolling.log[0].decision == "rotated"
    for name, value in twin.state_dict().items():
        assert value.equal(model.state_dict()[name]), name


def test_without_a_rotation_training_is_plain(attending):
    given = attending()
    config = FitConfig(max_epochs=3, lr=1e-2, batch_size=16)
    plain, _ = fit(given.build, given.train, given.valid, given.task, config)
    remedy = RollingQueryRemedy(max_rotations=0)
    model, _ = fit(given.build, given.train, given.valid, given.task, config, remedy=remedy)
    assert [roll.decision for roll in remedy.rolling.log[:1]] == ["enough"]
    assert plain.state_dict().keys() == model.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert value.equal(model.state_dict()[name]), name


def test_the_released_model_is_plain_and_predicts_the_same(attending):
    given = attending()
    model = given.build()
    keys = set(model.state_dict())
    remedied = Remedied(model, RollingQueryRemedy(), given.task)
    given.learn(remedied)
    assert len(turned_by(model.merge.query)) == 1
    model.eval()
    rows = given.valid
    before = model(rows.inputs, rows.masks)
    assert remedied.released() is model
    assert set(model.state_dict()) == keys
    assert turned_by(model.merge.query) is None
    torch.testing.assert_close(model(rows.inputs, rows.masks), before)
    given.build().load_state_dict(model.state_dict())


def test_what_fit_gives_predicts_with_the_turned_query_of_its_best_epoch(attending, tmp_path):
    given, path = attending(), tmp_path / "state.safetensors"
    config = FitConfig(max_epochs=3, lr=1e-2, batch_size=16, planned_epochs=3)
    whole, _ = fit(given.build, given.train, given.valid, given.task, config, remedy=RollingQueryRemedy())
    fit(
        given.build,
        given.train,
        given.valid,
        given.task,
        replace(config, max_epochs=1),
        remedy=RollingQueryRemedy(),
        state=path,
    )
    remedy = RollingQueryRemedy()
    again, _ = fit(given.build, given.train, given.valid, given.task, config, remedy=remedy, state=path)
    plain, _ = fit(given.build, given.train, given.valid, given.task, config)
    assert remedy.rolling.log[0].decision == "rotated"
    assert not whole.merge.class_query().equal(plain.merge.class_query())
    for name, value in whole.state_dict().items():
        assert value.equal(again.state_dict()[name]), name


def test_its_state_holds_the_log_and_an_unfinished_window(attending):
    given = attending()
    remedied, fresh = (
        Remedied(given.build(), RollingQueryRemedy(window=2, max_rotations=2), given.task) for _ in range(2)
    )
    given.learn(remedied)
    course = given.course(1)
    remedied.start_epoch(course)
    first, second, third = course.train()
    for batch in (first, second):
        remedied.loss(batch)
    state = remedied.state_dict()
    assert state["remedy._extra_state"].dtype == torch.uint8
    fresh.load_state_dict(state)
    assert fresh.remedy.rolling.log == remedied.remedy.rolling.log
    fresh.resume_epoch(course, 2)
    for one in (remedied, fresh):
        torch.manual_seed(5)
        one.loss(third)
        one.end_epoch()
    assert fresh.remedy.rolling.log == remedied.remedy.rolling.log
    assert [roll.decision for roll in fresh.remedy.rolling.log] == ["rotated", "rotated"]
    for name, value in remedied.model.state_dict().items():
        assert value.equal(fresh.model.state_dict()[name]), name


def test_a_model_without_the_attention_is_refused(problem):
    given = problem(2)
    with pytest.raises(OptionError, match="model must have one AttentionPool, got 0"):
        given.remedied("rolling_query")


def test_a_view_of_another_model_is_refused(attending):
    class Other(ModalityView):
        """Of a model that is no fusion."""

        def __init__(self, view):
            self.view = view

        @property
        def dims(self):
            return self.view.dims

        def encoder(self, modality):
            return self.view.encoder(modality)

        def encode(self, batch):
            return self.view.encode(batch)

        def fuse(self, encoded, trace=None):
            return self.view.fuse(encoded, trace)

    given = attending()
    model = given.build()
    with pytest.raises(OptionError, match=r"view must be a FusionView, .* got Other. Use RollingQuery"):
        Remedied(model, RollingQueryRemedy(), given.task, view=Other(FusionView(model)))


def test_a_course_without_training_rows_is_refused(attending):
    given = attending()
    remedied = given.remedied("rolling_query")
    with pytest.raises(OptionError, match=r"train must give the training rows, got None\. Make the Course"):
        remedied.start_epoch(replace(given.course(), train=None))


def test_an_option_out_of_its_range_is_refused():
    with pytest.raises(OptionError, match="window must be at least 1, got 0"):
        RollingQueryRemedy(window=0)
