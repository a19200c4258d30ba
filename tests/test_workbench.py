import pytest

import fuseloom
from fuseloom import CompareConfig, ReadOptions
from fuseloom.errors import OptionError
from fuseloom.report import from_json

QUICK = {"fusions": ["sum"], "seeds": 1, "max_epochs": 1, "learning_rates": (1e-3,)}


def test_the_result_is_what_the_report_says(tmp_path):
    lines = []
    result = fuseloom.compare(out=tmp_path / "run", progress=lines.append, **QUICK)
    assert from_json((tmp_path / "run" / "report.json").read_text()) == result
    assert result.recommendation.sentence in (tmp_path / "run" / "report.html").read_text()
    assert lines[-1].startswith("report: ")
    assert (
        result.command == "fuseloom.compare(fusions=('sum',), seeds=1, max_epochs=1, learning_rates=(0.001,))"
    )


def test_arrays_are_compared_and_the_call_says_what_it_can(product_rows_like):
    rows, target = product_rows_like
    read = ReadOptions(kinds={"c": "ignore"})
    result = fuseloom.compare(rows, target=target, read=read, **QUICK)
    assert {e.name for e in result.entries} == {"a", "b", "sum", "logistic regression"}
    assert result.command.startswith("fuseloom.compare(data, target=target, read=ReadOptions(")
    assert (
        result.config
        == CompareConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in QUICK.items()}).state()
    )


@pytest.fixture
def product_rows_like():
    import numpy as np

    values = np.random.default_rng(0).normal(size=(3, 60, 2))
    return dict(zip("abc", values, strict=True)), ["x", "y"] * 30


def test_an_unknown_setting_is_answered_with_the_nearest():
    with pytest.raises(OptionError, match=r"Unknown setting 'seed'\. Did you mean 'seeds'"):
        fuseloom.compare(seed=3)


@pytest.mark.slow
def test_comparing_from_a_script_without_a_main_guard_works(tmp_path):
    import subprocess
    import sys

    script = tmp_path / "script.py"
    script.write_text(
        "import fuseloom\n"
        f"result = fuseloom.compare(num_workers=2, out={str(tmp_path / 'run')!r}, "
        "fusions=['sum'], seeds=1, max_epochs=1, learning_rates=[1e-3])\n"
        "print(result.recommendation.name)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in {"sum", "top", "bottom"}
