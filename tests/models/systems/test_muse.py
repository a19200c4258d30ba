"""MuSE by name is what `muse` builds, and what is served lacks the decoders and predicts the same."""

import numpy as np
import pytest
import torch

from fuseloom.errors import ModalityError, OptionError
from fuseloom.models import ModelConfig, build_model
from fuseloom.models.muse import GenerativeLosses
from fuseloom.models.systems import named_system
from fuseloom.models.systems.muse import MuseSystem
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.tagging import Tagging
from fuseloom.train.step import training_loss
from fuseloom.types import Batch, Trace

SMALL = {"num_layers": 2, "mu": 0, "eta": 2, "num_heads": 2, "hidden": 8, "caption_width": 8}
PAINTER = {"picture_size": 8, "painter_blocks": 1, "painter_filters": 4, "painter_mixtures": 1}
LEARNT = {"captions": {"of": "text", "num_words": 9}, "pictures": {"of": "photo", "channels": 3}}


def config(*, extras=LEARNT, anchor="text", kind="words", **options):
    given = {"kind": kind, "num_words": 5} if kind == "words" else {"kind": kind}
    return ModelConfig(
        encoders={"photo": {"kind": "image", "channels": 3}, "text": given},
        fusion="muse",
        dim=8,
        dropout=0.0,
        options={"muse": {**SMALL, **PAINTER, "dropout": 0.0, **options}},
        anchor=anchor,
        extras=extras,
    )


def rows(num=3):
    words = torch.randint(4, 90, (num, 6, 23))
    words[..., 0] = torch.randint(5, (num, 6))
    return Batch(
        inputs={"photo": torch.randint(256, (num, 3, 16, 16), dtype=torch.uint8), "text": words},
        masks={"text": torch.arange(6) < torch.arange(6, 6 - num, -1)[:, None]},
        extras={
            "captions": torch.tensor([[1, 5, 6, 2]] * num),
            "pictures": torch.randint(256, (num, 3, 8, 8), dtype=torch.uint8),
        },
    )


def tagging():
    target = np.empty(2, dtype=object)
    target[:] = [("B-PER", "O"), ("O", "B-LOC")]
    return Tagging.learn(target)


def test_a_model_of_words_learns_from_captions_and_pictures_and_serves_without() -> None:
    task, given = tagging(), config()
    model = build_model(given, task)
    assert set(model.reads) >= {"captions", "pictures", "positions"}
    batch, trace = rows(), Trace(keep_records=False)
    model(batch.inputs, batch.masks, trace=trace, **batch.reads(model.reads))
    assert {name.rpartition(".")[2] for name in trace.losses} == {"captioning", "painting"}
    served, small = named_system(given).served(model, given)
    assert not small.extras
    assert not any(isinstance(part, GenerativeLosses) for part in served.modules())
    model.eval()
    served.eval()
    again = build_model(small, task).eval()
    again.load_state_dict(served.state_dict())
    outputs = model(batch.inputs, batch.masks)
    assert served(batch.inputs, batch.masks).equal(outputs)
    assert again(batch.inputs, batch.masks).equal(outputs)


def test_which_modality_is_the_text_follows_from_what_is_made_of_it() -> None:
    for extras in (LEARNT, {"captions": LEARNT["captions"]}, {"pictures": LEARNT["pictures"]}):
        losses = next(iter(build_model(config(extras=extras), tagging()).exchanges.values()))
        assert (losses.text, losses.image) == ("text", "photo")


def test_rows_are_classified_by_the_class_tokens() -> None:
    task = Classification(classes=("no", "yes", "maybe"))
    given = config(anchor="", kind="text")
    batch = Batch(
        inputs={"photo": rows().inputs["photo"], "text": torch.randint(1, 90, (3, 7), dtype=torch.uint8)},
        target=torch.tensor([0, 1, 2]),
        extras=rows().extras,
    )
    model = build_model(given, task)
    assert model(batch.inputs).shape == (3, 3)
    both = training_loss(model, batch, task)
    alone = training_loss(build_model(config(anchor="", kind="text", extras={}), task), batch, task)
    assert both.isfinite()
    assert alone.isfinite()


def test_an_exchange_that_no_class_token_reads_is_refused() -> None:
    task = Classification.learn(np.array(["a", "b"]))
    only = config(anchor="", kind="text", extras={}, num_layers=1, mu=0, eta=1)
    with pytest.raises(OptionError, match=r"got mu=0 of 1 layers\. Give it num_layers=2 or more, or theta=0"):
        build_model(only, task)
    for options in ({"num_layers": 1, "eta": 1, "theta": 0.0}, {"num_layers": 2, "eta": 1}):
        build_model(config(anchor="", kind="text", extras={}, **options), task)
    build_model(config(num_layers=1, eta=1), tagging())  # words read what is exchanged


def test_layers_from_mu_to_before_eta_exchange_unless_theta_is_zero() -> None:
    def layers(**options):
        model = build_model(config(extras={}, num_layers=4, **options), tagging())
        return sorted(next(iter(model.exchanges.values())).exchanges)

    assert layers(mu=1, eta=3) == ["1_after_norm", "2_after_norm"]
    assert layers(mu=1, eta=3, theta=0.0) == []


def test_what_it_learns_from_is_what_has_a_weight() -> None:
    assert set(MuseSystem().extras()) == {"captions", "pictures"}
    assert set(MuseSystem(painting=0).extras()) == {"captions"}
    assert not MuseSystem(painting=0, captioning=0).extras()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mu": 3, "eta": 2}, "mu and eta must be 0 <= mu <= eta <= num_layers = 2, got mu=3 and eta=2"),
        ({"painting": -1.0}, "must not be negative, got 0.0001 and -1.0"),
        ({"picture_size": 10}, "multiple of 4, got 10"),
        ({"thetta": 0.2}, "no option 'thetta'. Did you mean 'theta'"),
    ],
)
def test_options_out_of_range_are_refused(options, said) -> None:
    with pytest.raises(OptionError, match=said):
        build_model(config(**options), tagging())


def test_one_modality_is_told_what_to_do() -> None:
    given = config(extras={})
    alone = ModelConfig(
        encoders={"text": given.encoders["text"]}, fusion="muse", dim=8, options=given.options, anchor="text"
    )
    with pytest.raises(ModalityError, match=r"text and image, got \['text'\]. Train on one alone"):
        build_model(alone, tagging())
