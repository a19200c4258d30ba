import json
import shutil
from pathlib import Path

import pytest

from fuseloom.testing.verify import verify_case

HERE = Path(__file__).parents[2] / "goldens" / "lecture"


def changed(source: Path, folder: Path, **options: object) -> Path:
    shutil.copy(source.with_suffix(".safetensors"), folder)
    case, entries = folder / source.name, json.loads(source.read_text())
    case.write_text(json.dumps(entries | {"config": entries["config"] | options}))
    return case


@pytest.mark.parametrize(
    ("stem", "option", "value", "message"),
    [
        ("mag__edge_zero_norm", "beta_shift", 0.4, "mid.alpha misses by"),
        ("mag__edge_zero_norm", "eps", 1e-5, "eps must be 1e-06, got 1e-05."),
        ("mag__edge_zero_norm", "visual_dim", 4, "visual must have width 4 as config says, got 3."),
        ("mag_bert__tiny", "heads", 4, "output.logits misses by"),
        ("mag_bert__tiny", "layers", 1, "stored but not used: weight.bert.encoder.layer.1."),
        ("mag_bert__tiny", "layer_norm_eps", 1e-2, "mid.text_embedding misses by"),
    ],
)
def test_a_configuration_that_contradicts_the_tensors_is_refused(
    tmp_path: Path, stem: str, option: str, value: float, message: str
) -> None:
    result = verify_case(changed(HERE / f"{stem}.json", tmp_path, **{option: value}))
    assert result.status == "failed"
    assert message in result.reason
