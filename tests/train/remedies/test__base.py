import pytest
import torch
from torch import nn

from fuseloom.errors import ModalityError, OptionError
from fuseloom.train.generators import undisturbed
from fuseloom.train.remedies import Course, Remedied, Remedy, RemedyCard
from fuseloom.train.step import training_loss


def card(**claims):
    return RemedyCard(summary="Notes what it is asked.", cost="none", **{"touches": ("loss",)} | claims)


class Noting(Remedy):
    """Notes the calls; learns a bias on outputs."""

    card = card()

    def __init__(self):
        super().__init__()
        self.calls = []
        self.register_buffer("steps", torch.zeros(()))

    def prepare(self, view, task):
        self.bias = nn.Parameter(torch.rand(task.num_outputs))
        self.calls.append(("prepare", view.modalities))

    def loss(self, seen):
        self.calls.append(("loss", seen.moment))
        return seen.loss_of(self.predict(seen))

    def before_step(self, view):
        self.steps += 1
        self.calls.append(("before_step", self.bias.grad is not None))

    def start_epoch(self, view, course):
        self.calls.append(("start_epoch", course.epoch))

    def end_epoch(self, view, course):
        self.calls.append(("end_epoch", course.epoch))

    def predict(self, seen):
        return seen.outputs + self.bias


class Predicting(Remedy):
    """Has a part in predictions."""

    card = card(touches=("loss", "outputs"))

    def loss(self, seen):
        return seen.loss

    def predict(self, seen):
        return 2 * seen.outputs


def claiming(**claims):
    class Claiming(Remedy):
        """Asks for something."""

        def loss(self, seen):
            return seen.loss

    Claiming.card = card(**claims)
    return Claiming()


def test_a_remedy_is_asked_in_the_order_of_training(problem):
    given = problem(2, rows=32)
    remedied = Remedied(given.build(), Noting(), given.task)
    remedied.remedy.phases = ("first", "second")
    given.learn(remedied, epochs=2)
    step = ["loss", "before_step"] * 4
    names = [name for name, _ in remedied.remedy.calls]
    assert names == ["prepare", *["start_epoch", *step, "end_epoch"] * 2]
    moments = [moment for name, moment in remedied.remedy.calls if name == "loss"]
    assert [(one.epoch, one.step, one.phase) for one in moments] == [
        (epoch, step, phase) for epoch in (0, 1) for step in (0, 1) for phase in ("first", "second")
    ]
    assert {one.num_steps for one in moments} == {2}
    assert all(had for name, had in remedied.remedy.calls if name == "before_step")


def test_the_scale_of_a_loss_is_told(problem):
    given = problem(2)
    remedied = Remedied(given.build(), Noting(), given.task)
    remedied.loss(given.train, scale=8.0)
    assert remedied.remedy.calls[-1][1].scale == 8.0
    assert remedied.remedy.calls[-1][1].phase == ""


def test_an_epoch_of_a_run_before_is_gone_on_with(problem):
    given = problem(2)
    remedied = Remedied(given.build(), Noting(), given.task)
    remedied.resume_epoch(Course(epoch=3, num_steps=9), 5)
    remedied.loss(given.train)
    remedied.loss(given.train)
    moments = [moment for name, moment in remedied.remedy.calls if name == "loss"]
    assert [(one.epoch, one.step, one.num_steps) for one in moments] == [(3, 5, 9), (3, 6, 9)]
    assert "start_epoch" not in dict(remedied.remedy.calls)


def test_preparing_draws_nothing_that_training_would_miss(problem):
    given = problem(2)
    model = given.build()
    state = torch.get_rng_state()
    remedied = Remedied(model, Noting(), given.task)
    assert torch.get_rng_state().equal(state)
    torch.set_rng_state(state)
    assert remedied.remedy.bias.equal(torch.rand(3))


def test_what_it_learns_and_keeps_is_in_the_state_under_its_name(problem):
    given = problem(2)
    remedied = Remedied(given.build().double(), Noting(), given.task)
    state = remedied.state_dict()
    assert {name for name in state if not name.startswith("model.")} == {"remedy.bias", "remedy.steps"}
    assert state["remedy.bias"].dtype == torch.float64
    assert state["remedy.steps"].dtype == torch.float32


def test_the_plain_loss_is_that_of_plain_training(problem):
    given = problem(2, fusion="cross_attention+low_rank")
    model = given.build().train()
    remedied = Remedied(model, claiming(), given.task)
    with undisturbed():
        wanted = training_loss(model, given.train, given.task)
    assert remedied.loss(given.train).equal(wanted)


def test_it_predicts_as_the_model_unless_the_remedy_has_a_part_in_it(problem):
    given = problem(2)
    model, rows = given.build().eval(), given.valid
    plain = Remedied(model, Noting(), given.task)
    assert plain.finished() is model
    assert plain.released() is model
    assert plain(rows.inputs, rows.masks).equal(model(rows.inputs, rows.masks))
    ours = Remedied(model, Predicting(), given.task).eval()
    assert ours.finished() is ours
    masks = {"audio": rows.masks["audio"], "text": None}
    assert ours(rows.inputs, masks).equal(2 * model(rows.inputs, rows.masks))


def test_what_the_model_reads_reaches_it_through_the_remedy(problem):
    given = problem(2, fusion="cross_attention+low_rank")
    model = given.build().eval()
    remedied = Remedied(model, Predicting(), given.task)
    assert remedied.reads == tuple(model.reads)
    assert Remedied(nn.ModuleList([model]), Predicting(), given.task).reads == ()
    read = {}

    def predict(seen):
        read.update(seen.batch.reads(["alignment", "scores"]))
        return seen.outputs

    remedied.remedy.predict = predict
    given_besides = {"alignment": torch.ones(2), "scores": {"text": torch.zeros(3)}}
    remedied(given.valid.inputs, given.valid.masks, **given_besides)
    assert read["alignment"] is given_besides["alignment"]
    assert read["scores"]["text"] is given_besides["scores"]["text"]


@pytest.mark.parametrize(
    ("arity", "count", "message"),
    [
        ((2, None), 1, r"Claiming must have 2 or more modalities, got \['text'\]"),
        ((2, 2), 3, r"Claiming must have 2 modalities, got \['text', 'audio', 'video'\]"),
        ((2, 3), 1, "Claiming must have 2 to 3 modalities"),
    ],
)
def test_too_few_or_too_many_modalities_are_refused(problem, arity, count, message):
    given = problem(count)
    with pytest.raises(ModalityError, match=message):
        Remedied(given.build(), claiming(arity=arity), given.task)


def test_what_a_remedy_needs_is_asked_for_when_it_is_built(problem):
    given = problem(2, task="regression")
    with pytest.raises(OptionError, match=r"must have one class per row .* got the task 'regression'"):
        Remedied(given.build(), claiming(needs=("classes",)), given.task)
    Remedied(given.build(), claiming(), given.task)
    given = problem(2)
    frozen = given.build(frozen=["audio"])
    with pytest.raises(OptionError, match=r"must have encoders to train, got none for \['audio'\]\. Give"):
        Remedied(frozen, claiming(needs=("encoders",)), given.task)
    Remedied(frozen, claiming(needs=("classes",)), given.task)


def test_a_model_has_one_remedy(problem):
    made = problem(2)
    once = Remedied(made.build(), Noting(), made.task)
    with pytest.raises(OptionError, match="model must have no remedy yet"):
        Remedied(once, Noting(), made.task)
