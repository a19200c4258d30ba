import json
import re
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from fuseloom.testing.verify import verify_case

HERE = Path(__file__).parents[2] / "goldens" / "rollingq"


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        ("mbt_depth3_multi2", "num_bottle_token", 2, r"size mismatch for bottleneck"),
        ("mbt_depth3_multi2", "bottleneck_block_heads", 2, r"output\.\w+ misses by"),
        ("mbt_depth3_multi2", "depth_total", 2, r"stored but not used|misses by"),
        ("mbt_depth3_multi2", "mlp_ratio", 2.0, r"size mismatch for"),
        ("vit_unimodal_audio", "num_heads", 2, r"output\.a misses by"),
    ],
)
def test_a_configuration_that_contradicts_the_tensors_is_refused(
    tmp_path: Path, name: str, option: str, value: object, message: str
) -> None:
    source = HERE / f"{name}.json"
    shutil.copy(source.with_suffix(".safetensors"), tmp_path)
    entries = json.loads(source.read_text())
    entries["config"][option] = value
    case = tmp_path / source.name
    case.write_text(json.dumps(entries))
    result = verify_case(case)
    assert result.status == "failed"
    assert re.search(message, result.reason), result.reason


def test_a_mask_of_other_numbers_is_refused(tmp_path: Path) -> None:
    source = HERE / "mha_heads1_dk6_dv10_cross.json"
    tensors = load_file(source.with_suffix(".safetensors"))
    tensors["input.mask"][0, 0, 0] = 3
    save_file(tensors, tmp_path / f"{source.stem}.safetensors")
    result = verify_case(Path(shutil.copy(source, tmp_path / source.name)))
    assert result.reason == "mask must hold zeros and ones, got values from 0 to 3."
