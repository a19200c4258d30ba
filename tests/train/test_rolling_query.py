import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from fuseloom import Batch
from fuseloom.errors import OptionError
from fuseloom.merge.attention_pool import AttentionPool
from fuseloom.metrics.attention import attention_imbalance_rate, key_cosine
from fuseloom.models import ModelConfig, build_model
from fuseloom.nn.rotation import MatrixRotation, Rotation
from fuseloom.nn.turned_query import fold_queries, turned_by
from fuseloom.tasks.classification import Classification
from fuseloom.train.class_adapters import adapt
from fuseloom.train.class_attention import ClassReading
from fuseloom.train.fit import FitConfig, fit
from fuseloom.train.rolling_query import MeanReading, Roll, RollingQuery

DIMS = {"audio": 3, "video": 5}
TASK = Classification(["no", "yes"])


class Counted(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


class Classifier(nn.Module):
    def __init__(self, dims=DIMS, *, heads=1):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.merge = AttentionPool(dims, 8, num_heads=heads, faithful=True)
        self.head = nn.Linear(8, 2)

    def forward(self, inputs, masks=None, **options):
        return self.head(self.merge({name: self.drop(value) for name, value in inputs.items()}, masks))


def batches(sizes=(6, 6, 3), dims=DIMS, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for size in sizes:
        inputs = {name: torch.randn(size, 4, width, generator=generator) + 1 for name, width in dims.items()}
        rows.append((inputs, torch.randint(2, (size,), generator=generator)))
    return rows


def made(*, dims=DIMS, heads=1, seed=0, **options):
    torch.manual_seed(seed)
    model = Classifier(dims, heads=heads)
    return model, RollingQuery(**options)


def train(model, rolling, rows, epochs=1, *, optimizer=None):
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(epochs):
        model.train()
        for step, (inputs, target) in enumerate(rows):
            with rolling.watching(model, step, len(rows)):
                loss = F.cross_entropy(model(inputs), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rolling.end_epoch(model, (model(inputs) for inputs, _ in rows))
    return model


def eval_reading(model, inputs, masks=None):
    model.eval()
    with adapt(model.merge).reading() as readings, torch.no_grad():
        model(inputs, masks)
    return readings[0]


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("heads", [1, 2])
def test_the_query_is_turned_to_the_target_of_the_paper(heads, faithful):
    model, rolling = made(heads=heads, rho=1.5, faithful=faithful)
    rolling.attach(model)
    rows = batches()
    before = copy.deepcopy(model)
    model.eval()  # no dropout, so that what is watched can be told
    with rolling.watching(model, 2, 3):
        model(rows[2][0])
    roll = rolling.end_epoch(model, (model(inputs) for inputs, _ in rows))

    seen = [eval_reading(before, inputs) for inputs, _ in rows]
    last = {name: key_cosine(seen[2].query.flatten(1), key.flatten(1)) for name, key in seen[2].keys.items()}
    air = float(attention_imbalance_rate(last))
    alpha = (1 + math.tanh(-1.5 * air)) / 2
    weights = [1, 1, 1] if faithful else [6, 6, 3]
    mean = {
        name: sum(w * one.keys[name].flatten(1).mean(0) for w, one in zip(weights, seen, strict=True))
        for name in DIMS
    }
    query = seen[0].query[0].flatten()
    target = alpha * F.normalize(mean["audio"], dim=0) + (1 - alpha) * F.normalize(mean["video"], dim=0)
    torch.testing.assert_close(model.merge.class_query().flatten(), F.normalize(target, dim=0) * query.norm())
    assert isinstance(turned_by(model.merge.query), MatrixRotation if faithful else Rotation)
    assert roll.decision == "rotated"
    assert roll.rates == pytest.approx([air], abs=1e-6)
    assert roll.shares["audio"] == pytest.approx([alpha], abs=1e-6)
    angle = math.acos(float(F.cosine_similarity(target, query, dim=0)))
    assert roll.angles == pytest.approx([angle], abs=1e-5)
    assert len(turned_by(model.merge.query)) == 1


def test_every_head_can_have_a_rate_and_a_rotation_of_its_own():
    model, _ = made(heads=2)
    rolling = RollingQuery(heads="each")
    rolling.attach(model)
    rows = batches()
    before = model.merge.class_query().detach().clone()
    seen = eval_reading(model, rows[0][0])
    with rolling.watching(model, 0, 1):
        model(rows[0][0])
    roll = rolling.end_epoch(model, (model(inputs) for inputs, _ in rows))
    for head in range(2):
        cosines = {name: key_cosine(seen.query[:, head], key[:, head]) for name, key in seen.keys.items()}
        assert roll.rates[head] == pytest.approx(float(attention_imbalance_rate(cosines)), abs=1e-6)
    after = model.merge.class_query()
    torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1))
    assert roll.rates[0] != pytest.approx(roll.rates[1], abs=1e-3)


def test_a_head_that_is_balanced_stays():
    model, _ = made(heads=2)
    rows = batches()
    probe = RollingQuery(heads="each", max_rotations=0)
    probe.attach(model)
    model.eval()
    with probe.watching(model, 0, 1):
        model(rows[0][0])
    rates = [abs(rate) for rate in probe.end_epoch(model, ()).rates]
    rolling = RollingQuery(heads="each", beta=sum(rates) / 2)  # between the two
    stays = rates.index(min(rates))
    before = model.merge.class_query().detach().clone()
    with rolling.watching(model, 0, 1):
        model(rows[0][0])
    roll = rolling.end_epoch(model, (model(inputs) for inputs, _ in rows))
    after = model.merge.class_query()
    assert after[stays].equal(before[stays])
    assert not after[1 - stays].allclose(before[1 - stays])
    assert roll.angles[stays] == pytest.approx(0, abs=1e-6)


def test_what_is_watched_is_the_training_forward_before_its_step():
    model, rolling = made(max_rotations=0)
    rolling.attach(model)
    rows = batches()
    twin = copy.deepcopy(model)
    torch.manual_seed(5)
    train(model, rolling, rows)
    torch.manual_seed(5)
    plain = RollingQuery(max_rotations=0, window=3)
    train(twin, plain, rows)  # the same steps, all of them watched: its last entry is what the first one saw
    assert len(plain.log) == len(rolling.log) == 1
    for name, value in model.state_dict().items():
        assert value.equal(twin.state_dict()[name])
    assert plain.log[0].rates != rolling.log[0].rates


def test_the_window_takes_the_rows_of_so_many_batches():
    model, rolling = made(window=2, max_rotations=0)
    rolling.attach(model)
    rows = batches()
    model.eval()
    for step in range(3):
        with rolling.watching(model, step, 3):
            model(rows[step][0])
    seen = [eval_reading(model, inputs) for inputs, _ in rows[1:]]
    cosines = {
        name: torch.cat([key_cosine(one.query.flatten(1), one.keys[name].flatten(1)) for one in seen])
        for name in DIMS
    }
    roll = rolling.end_epoch(model, ())
    assert roll.rates == pytest.approx([float(attention_imbalance_rate(cosines))], abs=1e-6)
    assert roll.decision == "enough"


def test_nothing_is_added_to_a_step_outside_the_window_until_the_query_is_turned():
    plain, rolling = made()
    turned = copy.deepcopy(plain)
    rolling.attach(turned)
    inputs, target = batches()[0]

    def names(model, step):
        model.zero_grad()
        with Counted() as counted, rolling.watching(model, step, 3):
            F.cross_entropy(model(inputs), target).backward()
        return counted.names

    vanilla = names(plain, 0)
    assert names(turned, 0) == vanilla
    assert len(names(turned, 2)) > len(vanilla)
    assert names(turned, 1) == vanilla  # and no hook is left
    rolling.end_epoch(turned, (turned(inputs) for _ in range(1)))
    after = names(turned, 0)
    assert len(after) > len(vanilla)
    assert len(names(fold_queries(turned), 0)) == len(vanilla)


def test_the_training_rows_are_passed_once_and_only_where_the_query_is_turned():
    model, rolling = made(beta=0.0, max_rotations=1)
    rolling.attach(model)
    rows, passed = batches(), []

    def passes():
        for inputs, _ in rows:
            assert not model.training
            assert not torch.is_grad_enabled()
            yield passed.append(model(inputs))

    for _ in range(2):
        model.train()
        with rolling.watching(model, 0, 1):
            model(rows[0][0])
        rolling.end_epoch(model, passes())
        assert model.training
        assert model.drop.training
    assert len(passed) == len(rows)
    assert [roll.decision for roll in rolling.log] == ["rotated", "enough"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_rotations": 2}, ["rotated", "rotated", "enough", "enough", "enough"]),
        (
            {"max_rotations": 9, "cooldown": 1},
            ["rotated", "cooling down", "rotated", "cooling down", "rotated"],
        ),
        ({"max_rotations": 9, "patience": 1}, ["waiting", "rotated", "waiting", "rotated", "waiting"]),
        (
            {"max_rotations": 9, "patience": 1, "cooldown": 1},
            ["waiting", "rotated", "cooling down", "waiting", "rotated"],
        ),
        ({"beta": 2.0}, ["balanced"] * 5),
        ({"max_rotations": 0}, ["enough"] * 5),
    ],
)
def test_when_it_is_turned(options, expected):
    model, rolling = made(**options)
    rolling.attach(model)
    train(model, rolling, batches(), epochs=5)
    assert [roll.decision for roll in rolling.log] == expected
    assert [roll.epoch for roll in rolling.log] == [0, 1, 2, 3, 4]
    assert len(turned_by(model.merge.query)) == expected.count("rotated")


def test_a_rate_of_beta_itself_is_balanced():
    model, rolling = made(max_rotations=0)
    rolling.attach(model)
    model.eval()
    rows = batches()

    def roll(one):
        with one.watching(model, 0, 1):
            model(rows[0][0])
        return one.end_epoch(model, (model(inputs) for inputs, _ in rows))

    rate = torch.tensor(abs(roll(rolling).rates[0]))
    assert roll(RollingQuery(beta=float(rate))).decision == "balanced"
    assert roll(RollingQuery(beta=float(torch.nextafter(rate, torch.tensor(0.0))))).decision == "rotated"


def test_of_three_modalities_the_neglected_one_comes_nearest():
    dims = {"audio": 3, "video": 5, "text": 4}
    model, rolling = made(dims=dims, rho=8.0)
    rolling.attach(model)
    rows = batches(dims=dims)
    model.eval()
    with rolling.watching(model, 0, 1):
        model(rows[0][0])
    roll = rolling.end_epoch(model, (model(inputs) for inputs, _ in rows))
    means = {name: values[0] for name, values in roll.cosines.items()}
    assert roll.rates[0] == pytest.approx(max(means.values()) - min(means.values()), abs=1e-6)
    least = min(means, key=means.get)
    assert max(roll.shares, key=lambda name: roll.shares[name][0]) == least
    assert sum(values[0] for values in roll.shares.values()) == pytest.approx(1)


def test_rows_without_a_modality_do_not_count_for_it():
    model, rolling = made()
    rolling.attach(model)
    (inputs, _), *_ = batches()
    masks = {"video": torch.zeros(6, 4).bool()}
    masks["video"][:2, :3] = True
    masked = {name: value.clone() for name, value in inputs.items()}
    masked["video"][~masks["video"]] = torch.nan
    twin = copy.deepcopy(model)
    seen = eval_reading(twin, masked, masks)
    assert seen.keys["video"][2:].isnan().all()
    model.eval()
    with rolling.watching(model, 0, 1):
        model(masked, masks)
    roll = rolling.end_epoch(model, (model(masked, masks) for _ in range(1)))
    both = {name: key_cosine(seen.query[:2, 0], key[:2, 0]) for name, key in seen.keys.items()}
    assert roll.rates == pytest.approx([float((both["audio"] - both["video"]).mean())], abs=1e-6)
    assert roll.cosines["audio"] == pytest.approx([float(key_cosine(seen.query, seen.keys["audio"]).mean())])
    assert roll.cosines["video"] == pytest.approx([float(both["video"].mean())])
    assert model.merge.class_query().isfinite().all()


def test_where_all_rows_lack_a_modality_nothing_is_turned():
    model, rolling = made()
    rolling.attach(model)
    (inputs, _), *_ = batches()
    masks = {"video": torch.zeros(6, 4).bool()}
    with rolling.watching(model, 0, 1):
        model(inputs, masks)
    roll = rolling.end_epoch(model, ())
    assert roll.decision == "unknown"
    assert math.isnan(roll.rates[0])


def test_of_several_passes_in_a_step_the_one_with_all_modalities_counts():
    """As those of a remedy that hides modalities one by one."""
    model, rolling = made(window=1)
    rolling.attach(model)
    (inputs, _), *_ = batches()
    hidden = {"video": torch.zeros(6, 4).bool()}
    model.eval()
    with rolling.watching(model, 0, 1):
        model(inputs, hidden)
        model(inputs)
        model(inputs, {"audio": torch.zeros(inputs["audio"].shape[:-1]).bool()})
    assert math.isfinite(rolling.end_epoch(model, (model(inputs) for _ in range(1))).rates[0])


def test_keys_that_cancel_out_give_no_direction():
    model, rolling = made(dims={"audio": 3, "video": 3}, rho=0.0)
    rolling.attach(model)
    with torch.no_grad():
        model.merge.key.bias.zero_()
        for name, sign in (("audio", 1.0), ("video", -1.0)):
            model.merge.embed[name].weight.copy_(sign * model.merge.embed["audio"].weight)
            model.merge.embed[name].bias.zero_()
    value = batches(dims={"audio": 3})[0][0]["audio"]
    model.eval()
    with rolling.watching(model, 0, 1):
        model({"audio": value, "video": value})
    roll = rolling.end_epoch(model, (model({"audio": value, "video": value}) for _ in range(1)))
    assert roll.decision == "no direction"
    assert len(turned_by(model.merge.query)) == 0


def test_a_run_that_goes_on_ends_as_one_that_never_stopped():
    rows = batches()

    def fresh():
        model, rolling = made(max_rotations=2, cooldown=1, window=2)
        rolling.attach(model)
        model.drop.p = 0.0
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return model, rolling, optimizer

    model, rolling, optimizer = fresh()
    train(model, rolling, rows, epochs=4, optimizer=optimizer)

    first, early, own = fresh()
    train(first, early, rows, epochs=1, optimizer=own)
    for step in range(2):  # stopped inside the window of the second epoch
        first.train()
        with early.watching(first, step, 3):
            loss = F.cross_entropy(first(rows[step][0]), rows[step][1])
        own.zero_grad()
        loss.backward()
        own.step()
    second, late, other = fresh()
    second.load_state_dict(first.state_dict())
    other.load_state_dict(own.state_dict())
    late.load_state_dict(early.state_dict())
    with late.watching(second, 2, 3):
        loss = F.cross_entropy(second(rows[2][0]), rows[2][1])
    other.zero_grad()
    loss.backward()
    other.step()
    late.end_epoch(second, (second(inputs) for inputs, _ in rows))
    train(second, late, rows, epochs=2, optimizer=other)

    assert late.log == rolling.log
    assert [roll.decision for roll in rolling.log] == ["rotated", "cooling down", "rotated", "enough"]
    for name, value in model.state_dict().items():
        assert value.equal(second.state_dict()[name]), name


def test_a_reloaded_model_predicts_the_same():
    model, rolling = made()
    rolling.attach(model)
    rows = batches()
    train(model, rolling, rows)
    fresh, again = made(seed=1)
    again.attach(fresh)
    fresh.load_state_dict(model.state_dict())
    inputs = rows[0][0]
    assert fresh.eval()(inputs).equal(model.eval()(inputs))
    plain = Classifier()
    plain.load_state_dict(fold_queries(copy.deepcopy(model)).state_dict())
    torch.testing.assert_close(plain.eval()(inputs), model(inputs))


@pytest.mark.compile
@pytest.mark.slow
def test_a_model_that_is_compiled_already_is_watched_and_turned():
    model, rolling = made()
    rolling.attach(model.eval())
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    rows = batches()
    before = compiled(rows[0][0]).detach()
    torch.testing.assert_close(before, model(rows[0][0]))
    with rolling.watching(compiled, 0, 1):
        compiled(rows[0][0])
    roll = rolling.end_epoch(compiled, (compiled(inputs) for inputs, _ in rows))
    assert roll.decision == "rotated"
    after = compiled(rows[0][0])
    torch.testing.assert_close(after, model(rows[0][0]))
    assert not after.allclose(before)


def test_attaching_twice_is_attaching_once():
    model, rolling = made()
    rolling.attach(model)
    keys = sorted(model.state_dict())
    assert rolling.attach(model) is model
    assert sorted(model.state_dict()) == keys


def test_the_last_layer_of_a_transformer_of_torch_is_turned():
    torch.manual_seed(0)
    layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True) for _ in range(2))
    tokens = {"audio": slice(1, 4), "video": slice(4, None)}
    rolling = RollingQuery(find=lambda model: adapt(model[-1].self_attn, tokens), rho=2.0)

    model = rolling.attach(nn.Sequential(*layers))
    x = torch.randn(6, 9, 8)
    before = model(x).detach()
    with rolling.watching(model, 0, 1):
        model(x)
    roll = rolling.end_epoch(model, (model(x) for _ in range(1)))
    assert roll.decision == "rotated"
    with adapt(model[-1].self_attn, tokens).reading() as readings, torch.no_grad():
        model(x)
    query = readings[0].query.flatten(1).mean(0)
    keys = {name: F.normalize(key.flatten(1).mean(0), dim=0) for name, key in readings[0].keys.items()}
    target = sum(roll.shares[name][0] * key for name, key in keys.items())
    assert float(F.cosine_similarity(query, target, dim=0)) == pytest.approx(1, abs=1e-5)
    assert not model(x).allclose(before)


def some_batch(count, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = {name: torch.randn(count, width, generator=generator) for name, width in DIMS.items()}
    return Batch(inputs=inputs, target=(inputs["audio"][:, 0] > 0).long())


def test_our_fit_turns_the_query_between_epochs():
    encoders = {name: {"kind": "embedding", "in_dim": width} for name, width in DIMS.items()}
    config = ModelConfig(encoders=encoders, fusion="attention_pool", dim=8, dropout=0.1)
    train_rows, valid = some_batch(80, 0), some_batch(40, 1)
    rolling = RollingQuery(rho=1.0, max_rotations=2)
    settings = FitConfig(max_epochs=4, patience=4, lr=0.01)
    model, result = fit(
        lambda: rolling.attach(build_model(config, TASK)),
        train_rows,
        valid,
        TASK,
        settings,
        after_epoch=rolling.over(train_rows, batch_size=32),
    )
    assert [roll.decision for roll in rolling.log] == ["rotated", "rotated", "enough", "enough"]
    plain = build_model(config, TASK).eval()
    with torch.no_grad():
        outputs = model(valid.inputs)
    assert float(TASK.loss(outputs, valid.target)) == pytest.approx(result.valid_loss, rel=1e-5)
    plain.load_state_dict(fold_queries(model).state_dict())
    torch.testing.assert_close(plain(valid.inputs), outputs)
    alone, _ = fit(lambda: build_model(config, TASK), train_rows, valid, TASK, settings)
    assert not alone(valid.inputs).allclose(outputs)


def test_our_fit_goes_on_from_a_state_to_the_same_end(tmp_path):
    encoders = {name: {"kind": "embedding", "in_dim": width} for name, width in DIMS.items()}
    config = ModelConfig(encoders=encoders, fusion="attention_pool", dim=8, dropout=0.1)
    train_rows, valid = some_batch(80, 0), some_batch(40, 1)

    def run(rolling, epochs, state=None):
        settings = FitConfig(max_epochs=epochs, planned_epochs=4, patience=4, lr=0.01)
        model, _ = fit(
            lambda: rolling.attach(build_model(config, TASK)),
            train_rows,
            valid,
            TASK,
            settings,
            state=state,
            after_epoch=rolling.over(train_rows),
        )
        return model(valid.inputs)

    whole, first, second = (RollingQuery(max_rotations=2, cooldown=1) for _ in range(3))
    expected = run(whole, 4)
    run(first, 1, tmp_path / "state.safetensors")
    second.load_state_dict(first.state_dict())
    assert run(second, 4, tmp_path / "state.safetensors").equal(expected)
    assert second.log == whole.log
    assert [roll.decision for roll in whole.log] == ["rotated", "cooling down", "rotated", "enough"]


@pytest.mark.parametrize("by_batch", [False, True])
def test_means_are_over_rows_or_over_batches(by_batch):
    mean = MeanReading(by_batch=by_batch)
    first, second = torch.zeros(3, 1, 2), torch.ones(1, 1, 2)
    lacks = torch.full((1, 1, 2), torch.nan)
    mean.add(ClassReading(query=first, keys={"text": first, "audio": first}))
    mean.add(ClassReading(query=second, keys={"text": second, "audio": lacks}))
    expected = 0.5 if by_batch else 0.25
    assert mean.keys["text"].tolist() == [[expected, expected]]
    assert mean.keys["audio"].tolist() == [[0.0, 0.0]]


def test_a_mean_of_nothing_is_refused():
    model, rolling = made()
    rolling.attach(model)
    with rolling.watching(model, 0, 1):
        model(batches()[0][0])
    ran_before = [model(inputs) for inputs, _ in batches()]
    with pytest.raises(OptionError, match=r"passes must run the model on a batch .*Give a generator"):
        rolling.end_epoch(model, ran_before)


def test_an_epoch_without_a_watched_batch_is_refused():
    model, rolling = made()
    with pytest.raises(OptionError, match="model must be attached before it is trained"):
        rolling.end_epoch(model, ())
    rolling.attach(model)
    with pytest.raises(OptionError, match="A batch of the epoch must have been watched, got none"):
        rolling.end_epoch(model, ())


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("rho", -1.0, "rho must be at least 0, got -1.0"),
        ("beta", math.nan, "beta must be at least 0, got nan"),
        ("window", 0, "window must be at least 1, got 0"),
        ("max_rotations", -1, "max_rotations must be at least 0"),
        ("patience", -1, "patience must be at least 0"),
        ("cooldown", -1, "cooldown must be at least 0"),
        ("heads", "some", "heads must be 'shared' or 'each', got 'some'"),
    ],
)
def test_options_out_of_range_are_refused(option, value, message):
    with pytest.raises(OptionError, match=message):
        RollingQuery(**{option: value})


def test_an_entry_of_the_log_is_plain_data():
    model, rolling = made()
    rolling.attach(model)
    train(model, rolling, batches())
    state = rolling.state_dict()
    again = RollingQuery()
    again.load_state_dict(state)
    assert again.log == rolling.log
    assert isinstance(again.log[0], Roll)


class Doubled:
    """As if another process had added the same sums, and as many rows, half of which have NaN."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr("fuseloom.train.rolling_query.sum_over", self.sum_over)
        monkeypatch.setattr("fuseloom.train.rolling_query.rows_of_all", self.rows_of_all)

    def sum_over(self, values, group):
        return values if group is None else 2 * values

    def rows_of_all(self, values, group):
        others = values.flip(0), torch.full_like(values, torch.nan)
        return values if group is None else torch.cat([values, *others])


def test_what_all_processes_see_is_what_counts(monkeypatch):
    Doubled(monkeypatch)
    (first, ours), (second, theirs) = (made(group=one) for one in (None, object()))
    for model, rolling in ((first, ours), (second, theirs)):
        rolling.attach(model)
        torch.manual_seed(1)
        train(model, rolling, batches())
    assert theirs.log[0].rates == pytest.approx(ours.log[0].rates, abs=1e-6)
    torch.testing.assert_close(second.merge.class_query(), first.merge.class_query())
