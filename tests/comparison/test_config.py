from dataclasses import replace

import pytest

from fuseloom.comparison.config import CompareConfig, candidates
from fuseloom.errors import OptionError
from fuseloom.registry import list_fusions

ENCODERS = {"a": {"kind": "embedding", "in_dim": 3}, "b": {"kind": "embedding", "in_dim": 4}}


def test_candidates_are_each_modality_alone_and_each_fusion_of_all_under_the_same_encoders():
    found = candidates(ENCODERS, CompareConfig(fusions=("low_rank", "cross_attention + sum")))
    assert [(c.name, c.role, c.modalities, c.interaction) for c in found] == [
        ("a", "unimodal", ("a",), "none"),
        ("b", "unimodal", ("b",), "none"),
        ("low_rank", "fusion", ("a", "b"), "multiplicative"),
        ("cross_attention+sum", "fusion", ("a", "b"), "nonlinear"),
    ]
    assert all(c.model.encoders[m] == ENCODERS[m] for c in found for m in c.modalities)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusions": ("summ",)}, r"Did you mean 'sum'"),
        ({"fusions": ()}, r"must not be empty"),
        ({"embedding_encoder": "mlp"}, r"must be 'embedding' or 'identity', got 'mlp'"),
        ({"seeds": 0}, r"must not be empty"),
        ({"encoders": "frozen"}, r"must be 'joint', 'pretrained' or 'pretrained-frozen', got 'frozen'"),
        ({"class_weight": "equal"}, r"class_weight must be 'none' or 'balanced', got 'equal'"),
        ({"modality_dropout": 1.0}, r"modality_dropout must be in \[0, 1\), got 1\.0"),
        ({"schedule": "step"}, r"schedule must be 'constant', 'cosine', 'linear' or 'poly', got 'step'"),
        ({"warmup": -0.1}, r"warmup must be in \[0, 1\], got -0\.1"),
        ({"clip_norm": -1.0}, r"clip_norm must not be negative, got -1\.0"),
        ({"margin": 1.5}, r"margin must be in \[0, 1\), got 1\.5"),
        ({"dropout": -0.1}, r"dropout must be in \[0, 1\), got -0\.1"),
        ({"learning_rates": (0.0,)}, r"lr must be positive, got 0\.0"),
        ({"max_epochs": 0}, r"max_epochs must be positive, got 0"),
        ({"depths": ("earl",)}, r"depths must be early, middle or late, got 'earl'\. Did you mean 'early'"),
        ({"depths": ("late",)}, r"exchanges must be named for depths \['late'\], got none"),
        ({"exchanges": ("crossattention",)}, r"got exchange 'crossattention' .* mean 'cross_attention'"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        CompareConfig(**options)


def test_a_search_is_the_beginning_of_the_run_of_its_learning_rate():
    config = CompareConfig(schedule="cosine", warmup=0.1, clip_norm=0.0, search_epochs=5, max_epochs=50)
    search, final = config.search(1e-3), config.fit(1e-3, 0)
    assert (final.schedule, final.warmup, final.clip_norm, final.max_epochs) == ("cosine", 0.1, 0.0, 50)
    assert search == replace(final, max_epochs=5, planned_epochs=50)


def test_a_modality_named_like_a_fusion_is_another_model_than_the_fusion():
    encoders = {"sum": ENCODERS["a"], "b": ENCODERS["b"]}
    with pytest.raises(OptionError, match=r"'sum' is the name of a modality and of a fusion"):
        candidates(encoders, CompareConfig(fusions=("sum",)))


@pytest.mark.parametrize(
    ("options", "notes"),
    [
        ({}, []),
        ({"schedule": "linear"}, ["learning rate: linear after a warm-up over 0% of the steps"]),
        ({"warmup": 0.05}, ["learning rate: constant after a warm-up over 5% of the steps"]),
        ({"clip_norm": 0.5}, ["gradients: clipped to a norm of 0.5"]),
        ({"clip_norm": 0.0}, ["gradients: not clipped"]),
    ],
)
def test_how_steps_were_taken_is_noted_where_it_is_not_the_default(options, notes):
    assert CompareConfig(**options).notes() == notes


def test_exchanges_are_added_at_every_depth_with_the_merge_alone_to_hold_them_against():
    config = CompareConfig(fusions=("sum",), exchanges=("cross_attention",))
    placed = [f"cross_attention@{depth}+concat" for depth in ("late", "middle", "early")]
    assert config.named_fusions == ["sum", "concat", "concat@late", *placed]
    early = replace(config, exchanges=("all",), depths=("early",)).named_fusions
    assert early[:2] == ["sum", "concat"]
    assert early[2:] == [f"{name}@early+concat" for name in list_fusions(kind="exchange")]
