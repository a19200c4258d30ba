"""Scenes as people have them: other sizes, holes, wrong labels, missing and damaged files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from fuseloom.cli.group import fuseloom

Image = pytest.importorskip("PIL.Image")

HEIGHT, WIDTH = 33, 47
SIZE = '{"dims":[8,16],"depths":[1,1],"num_heads":[1,2],"reductions":[2,1]}'
SMALL = ["--set", f"model.options.tokenfusion.size={SIZE}", "--set", "model.options.tokenfusion.head_dim=8"]
SOURCE = [
    "--target",
    "mask",
    "--labels",
    "labels.csv",
    "--image",
    "rgb",
    "--map",
    "depth",
    "--split",
    "split",
]
Change = Callable[[Path], None]


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as file:
        return np.asarray(file)


def picture(values: NDArray[np.generic], path: Path) -> None:
    Image.fromarray(values).save(path)


def colours(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def another_label(folder: Path) -> None:
    labels = pixels(folder / "mask_2.png").copy()
    labels[0, 0] = 7
    picture(labels, folder / "mask_2.png")


def with_a_palette(folder: Path) -> None:
    mask = Image.fromarray(pixels(folder / "mask_2.png")).convert("P")
    mask.putpalette([value for label in range(256) for value in (label, 0, 255 - label)])
    mask.save(folder / "mask_2.png")


def of_16_bits(folder: Path) -> None:
    picture(pixels(folder / "mask_2.png").astype(np.uint16), folder / "mask_2.png")


def one_pixel(folder: Path) -> None:
    picture(colours(1, 1), folder / "rgb_2.png")
    picture(np.ones((1, 1), dtype=np.uint8), folder / "mask_2.png")
    np.save(folder / "depth_2.npy", np.ones((1, 1), dtype=np.float32))


FAULTS: dict[str, tuple[Change, str, str]] = {
    "a label out of range": (another_label, "unreadable", "got 7 in 1 of 1551 pixels"),
    "a missing photograph": (lambda folder: (folder / "rgb_2.png").unlink(), "unreadable", "no such file"),
    "a missing map": (lambda folder: (folder / "depth_2.npy").unlink(), "unreadable", "no such file"),
    "a damaged mask": (
        lambda folder: (folder / "mask_2.png").write_bytes(b"nothing") and None,
        "unreadable",
        "not a picture in a known format",
    ),
    "another shape": (lambda folder: picture(colours(20, 60), folder / "rgb_2.png"), "unregistered", ""),
    "another size": (
        lambda folder: picture(colours(2 * HEIGHT, 2 * WIDTH), folder / "rgb_2.png"),
        "other-sizes",
        "",
    ),
    "no distance at all": (
        lambda folder: np.save(folder / "depth_2.npy", np.full((HEIGHT, WIDTH), np.nan, dtype=np.float32)),
        "flat-maps",
        "",
    ),
    "one pixel": (one_pixel, "flat-maps", ""),
    "a palette": (with_a_palette, "", ""),
    "labels of 16 bits": (of_16_bits, "", ""),
}
"""Name -> what is done to the third row, what the check calls it, and why the row is set aside, if it is."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sides that nothing divides, and distances with holes of both kinds."""
    generator = np.random.default_rng(0)
    lines = ["id,split,rgb,depth,mask"]
    for row in range(12):
        picture(colours(), tmp_path / f"rgb_{row}.png")
        depth = generator.uniform(1, 5, (HEIGHT, WIDTH)).astype(np.float32)
        depth[0, :3], depth[1, :3] = np.nan, 0
        np.save(tmp_path / f"depth_{row}.npy", depth)
        picture(generator.integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint8), tmp_path / f"mask_{row}.png")
        split = "train" if row < 6 else "valid" if row < 9 else "test"
        lines.append(f"r{row},{split},rgb_{row}.png,depth_{row}.npy,mask_{row}.png")
    (tmp_path / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "labels.csv").write_text("label,name\n0,a\n1,b\n2,c\n", encoding="utf-8")
    return tmp_path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(fuseloom, [str(one) for one in arguments])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_and_the_rest_is_learnt_from_and_labelled(
    folder: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    change, called, reason = FAULTS[fault]
    change(folder)
    checked = run("data", "check", "rows.csv", *SOURCE)
    assert (called in checked.output) if called else (checked.exit_code == 0), checked.output
    if called:
        assert "r2" in checked.output or "rows.csv:4" in checked.output
    options = ["--set", "fit.max_epochs=1", "--set", "fit.batch_size=3", "--id", "id", "--out", "run"]
    trained = run("train", "tokenfusion-small", "--data", "rows.csv", *SOURCE, *SMALL, *options)
    assert trained.exit_code == 0, trained.output
    rows = 5 if reason else 6
    assert f"rows: {rows} train, 3 valid, 3 test" in trained.output
    if reason:
        assert reason in next(line for line in trained.output.splitlines() if "set aside rows.csv:4" in line)
    predicted = run("predict", "run", "rows.csv", "--masks", "masks", "--out", "shares.csv")
    assert predicted.exit_code == 0, predicted.output
    for row in (1, 2):
        if (folder / f"masks/r{row}.png").exists():
            own = pixels(folder / f"rgb_{row}.png").shape[:2]
            assert pixels(folder / f"masks/r{row}.png").shape == own
    without = {"a missing photograph", "a missing map"}
    assert (folder / "masks" / "r2.png").exists() is (fault not in without)
