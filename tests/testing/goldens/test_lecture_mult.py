import json
import re
import shutil
from pathlib import Path

import pytest

from fuseloom.testing.verify import verify_case

HERE = Path(__file__).parents[2] / "goldens" / "lecture"
MODEL = "mult_model__d8_skipproj_out8"


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        (MODEL, "partial_mode", "none", r"partial_mode must be one of \['all three', .*\], got 'none'"),
        (MODEL, "output_dim", 3, r"'out_layer\.weight' must have 3 rows as config says, got 8"),
        (MODEL, "attn_mask", True, r"output\.\w+ misses by"),
        (MODEL, "num_heads", 2, r"output\.\w+ misses by"),
        (MODEL, "mem_layers", 2, r"Unexpected key\(s\) in state_dict"),
        ("mult_encoder_cross__mask_q4_k7", "attn_mask", False, r"output\.y misses by"),
        ("mult_ctc__t6_o4", "out_seq_len", 3, r"size mismatch for"),
        ("mb_multmodel_laststep", "all_steps", True, r"Mismatch in shape"),
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
