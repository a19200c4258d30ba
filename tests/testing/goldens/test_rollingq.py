import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from fuseloom.testing.verify import verify_case

HERE = Path(__file__).parents[2] / "goldens" / "rollingq"


def test_a_mask_of_other_numbers_is_refused(tmp_path: Path) -> None:
    source = HERE / "mha_heads1_dk6_dv10_cross.json"
    tensors = load_file(source.with_suffix(".safetensors"))
    tensors["input.mask"][0, 0, 0] = 3
    save_file(tensors, tmp_path / f"{source.stem}.safetensors")
    result = verify_case(Path(shutil.copy(source, tmp_path / source.name)))
    assert result.reason == "mask must hold zeros and ones, got values from 0 to 3."
