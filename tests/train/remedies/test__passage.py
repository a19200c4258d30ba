import pytest
import torch

from fuseloom.train.outcome import outcome_loss
from fuseloom.train.remedies import FusionView, Moment, Passage, view_of
from fuseloom.train.step import training_loss


class Counting(FusionView):
    """Counts what it is asked for."""

    def __init__(self, model):
        super().__init__(model)
        self.encoded, self.fused = 0, 0

    def encode(self, batch):
        self.encoded += 1
        return super().encode(batch)

    def fuse(self, encoded, trace=None):
        self.fused += 1
        return super().fuse(encoded, trace)


@pytest.fixture
def passed(problem):
    def made(*, count=2, dropout=0.0, **options):
        given = problem(count, dropout=dropout, **options)
        model = given.build().train()
        view = Counting(model)
        return model, view, Passage(view, given.train, given.task), given

    return made


def test_each_part_is_computed_once(passed):
    _, view, seen, _ = passed()
    assert (view.encoded, view.fused) == (1, 0)
    assert seen.outputs is seen.outputs_of(["audio", "text"])
    assert seen.loss.equal(seen.loss)
    assert seen.split().keys() == {"text", "audio"}
    assert seen.outputs_of(["text"]) is seen.outputs_of(["text"])
    assert (view.encoded, view.fused) == (1, 4)  # all, none, and each of two alone
    with torch.no_grad():
        whole = seen.outputs
    assert whole.equal(seen.outputs)
    assert not whole.requires_grad
    assert view.fused == 4


def test_gradients_reach_what_was_first_asked_for_without_them(passed):
    model, _, seen, _ = passed()
    with torch.no_grad():
        assert not seen.outputs_of(["text"]).requires_grad
        assert not seen.outputs.requires_grad
    seen.outputs_of(["text"]).sum().backward()
    assert any(value.grad is not None for value in model.encoders["text"].parameters())
    assert seen.outputs.requires_grad


def test_the_loss_is_that_of_plain_training_and_so_are_the_draws(passed):
    model, _, _, given = passed(dropout=0.5, fusion="cross_attention+low_rank")
    torch.manual_seed(4)
    plain = training_loss(model, given.train, given.task)
    then = torch.rand(2)
    torch.manual_seed(4)
    seen = Passage(view_of(model), given.train, given.task)
    seen.split()  # draws for itself alone
    assert seen.loss.equal(plain)
    assert torch.rand(2).equal(then)


def test_outputs_without_a_modality_draw_as_those_with_it(passed):
    model, _, seen, given = passed(dropout=0.5)
    state = torch.get_rng_state()
    first = seen.outputs_of(["text"])
    assert torch.get_rng_state().equal(state)
    masks = {**seen.encoded.masks, "audio": torch.zeros(len(given.train), dtype=torch.bool)}
    torch.set_rng_state(state)
    wanted = model.fuse(seen.encoded.streams, masks)
    assert first.equal(wanted)


@pytest.mark.parametrize("count", [2, 3])
def test_shares_of_affine_outputs_add_up(passed, count):
    model, _, seen, _ = passed(count=count)
    model.eval()
    shares = seen.split()
    total = torch.stack(list(shares.values())).sum(0)
    torch.testing.assert_close(total, seen.outputs)
    nothing = seen.outputs_of(())
    for name, share in shares.items():
        alone = seen.outputs_of([name]) - nothing
        torch.testing.assert_close(share, alone + nothing / count)


def test_losses_weigh_rows(passed, problem):
    given = problem(2, dropout=0.0)
    weight = torch.rand(len(given.train))
    rows = type(given.train)(
        inputs=given.train.inputs,
        masks=given.train.masks,
        target=given.train.target,
        extras={"weight": weight},
    )
    seen = Passage(view_of(given.build()), rows, given.task)
    assert seen.weight is weight
    assert seen.target is rows.target
    other = torch.randn(len(rows), 3)
    assert seen.loss_of(other).equal(given.task.loss(other, rows.target, weight))
    assert seen.loss.equal(outcome_loss(seen.outputs, rows, given.task, seen._trace))
    assert passed()[2].weight is None


def test_it_says_which_rows_have_what_and_when(passed):
    _, view, seen, given = passed()
    assert seen.present("audio").equal(given.train.masks["audio"])
    assert seen.present("text").all()
    assert seen.features("audio") is seen.encoded.streams["audio"]
    assert seen.moment == Moment(epoch=0, step=0, num_steps=1, phase="", scale=1.0)
    later = Passage(view, given.train, given.task, Moment(step=3, num_steps=9))
    assert later.moment.step == 3
