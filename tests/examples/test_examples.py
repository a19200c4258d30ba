"""Every example runs as its reader would run it, and says what it promises."""

import base64
import csv
import io
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

import fuseloom
from fuseloom.data import ReadOptions, load, read_rows
from fuseloom.heads import TaggingHead
from fuseloom.models.muse import OfficialImage, OfficialText, official_muse, official_muse_state
from fuseloom.nn import PostNormBlock

Ask = Callable[[Any], Any]

FOLDER = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(FOLDER / name), *arguments], capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout


def test_every_example_has_a_test_and_is_short() -> None:
    tested = set(re.findall(r'"(\d\d_\w+\.py)"', Path(__file__).read_text("utf-8")))
    files = sorted(FOLDER.glob("*.py"))
    assert {file.name for file in files} == tested
    assert all(len(file.read_text("utf-8").splitlines()) < 100 for file in files)


def test_the_fusion_learns_what_no_modality_says_alone() -> None:
    accuracy = float(run("01_create_a_fusion.py").split()[1].rstrip(","))
    assert accuracy > 0.9


@pytest.mark.slow
def test_the_contract_accepts_the_one_and_refuses_the_other() -> None:
    kept, broken = run("02_check_your_own_part.py").splitlines()
    assert kept == "Product keeps the contract."
    assert broken.startswith("Centred does not: centred breaks 'samples_independent'")


def test_the_rows_are_those_of_the_embedded_set(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    run("03_rows_to_predict.py", str(table))
    digits = load("digits")
    rows = read_rows(str(table), digits.schema)
    with table.open(encoding="utf-8", newline="") as file:
        drawn = [row["digit"] for row in csv.DictReader(file)]
    assert digits.target is not None
    assert len(set(drawn)) > 3
    picked = np.arange(0, len(digits), 225)
    assert drawn == digits.target[picked].tolist()
    for name, modality in rows.modalities.items():
        np.testing.assert_array_equal(modality.values, digits.modalities[name].values[picked])


def test_the_tables_of_the_reviews_are_the_printed_ones() -> None:
    pytest.importorskip("statsmodels.api", exc_type=ImportError)
    said = run("04_reviews_regression.py")
    weights = [
        tuple(map(float, re.findall(r" (-?\d\.\d\d)  \(", part))) for part in said.split("score ~")[1:]
    ]
    assert weights == [(4.63, 1.20), (5.29, 1.19, -1.69), (5.79, 0.68, -2.94, 1.29)]
    assert "from a critic 1.97" in said


@pytest.mark.slow
def test_fusing_three_kinds_of_data_beats_each_of_them() -> None:
    said = run("05_pictures_sound_and_series.py")
    scores = {name: float(score) for name, score in re.findall(r"^(\S+) +(\d\.\d\d)$", said, re.MULTILINE)}
    fused = scores.pop("concat"), scores.pop("cross_attention+concat")
    assert scores.keys() >= {"camera", "microphone", "sensor"}
    assert max(fused) > max(scores[name] for name in ("camera", "microphone", "sensor")) + 0.05
    assert "Use " in said.splitlines()[-1]


@pytest.mark.slow
def test_models_that_talk_between_their_stages_know_what_no_modality_knows_alone() -> None:
    pytest.importorskip("timm")
    said = run("07_exchange_between_stages.py")
    scores = {
        name.strip(): float(score) for name, score in re.findall(r"^(.+) (\d\.\d\d)$", said, re.MULTILINE)
    }
    assert scores.keys() == {"no exchange", "exchanges behind stages 1 and 2", "merge behind stage 2"}
    assert min(scores.values()) > 0.6  # the picture alone tells five pairs of classes apart: half


@pytest.mark.slow
def test_models_that_talk_between_their_stages_learn_digits(data_dir: Path) -> None:
    pytest.importorskip("timm")
    said = run("07_exchange_between_stages.py", str(data_dir / "av-digits"))
    scores = [float(line.split()[-1]) for line in said.splitlines()]
    assert len(scores) == 3
    assert max(scores) > 0.3


@pytest.fixture
def tweets(tmp_path: Path) -> Path:
    """A folder with a checkpoint of random weights under the official names, and two tweets."""
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ann", "##a", "met", "bob", "in", "rome"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    lines = ("IMGID:1", "Anna\tB-PER", "met\tO", "Bob\tB-PER", "", "IMGID:2", "in\tO", "Rome\tB-OTHER", "")
    (tmp_path / "tweets.txt").write_text("\n".join(lines), encoding="utf-8")
    for name in "12":
        (tmp_path / f"{name}.jpg").write_bytes(picture(100 * int(name)))
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    bert = transformers.BertConfig(vocab_size=len(words), **sizes)
    bert.save_pretrained(tmp_path)
    torch.manual_seed(3)
    body = nn.Sequential(*list(ResNet(Bottleneck, [1, 1, 1, 1]).children())[:-2])
    model = official_muse(
        OfficialText(transformers.BertModel(bert, add_pooling_layer=False)),
        OfficialImage(body, 2048, dim=24),
        TaggingHead(24, 12),
        block=partial(PostNormBlock, num_heads=2),
    )
    torch.save(official_muse_state(model.state_dict()), tmp_path / "model_best.bin")
    return tmp_path


def test_a_checkpoint_of_entities_tags_words(tweets: Path) -> None:
    files = ("model_best.bin", "", "tweets.txt", "")
    said = run("08_official_muse_entities.py", *(str(tweets / name) for name in files))
    counted, first, second, score = said.splitlines()
    assert counted == "2 sentences, 0 of them cut after 64 word pieces"
    found = {line.partition(" [")[0]: re.findall(r"\('(\w+)', '([^']+)'\)", line) for line in (first, second)}
    assert found.keys() == {"Anna met Bob", "in Rome"}
    assert any(found.values())
    assert all(kind in {"MISC", "PER", "ORG", "LOC"} for spans in found.values() for kind, _ in spans)
    assert all(words in sentence for sentence, spans in found.items() for _, words in spans)
    assert 0 <= float(score.removeprefix("span F1 ")) <= 1


def picture(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((10, 12, 3), value, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


BROKEN = base64.b64encode(picture(200)[:45]).decode()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with ``rows.csv`` and a run of it, and the address of a server around the saved model."""
    folder = tmp_path_factory.mktemp("served")
    rows = []
    for row in range(40):
        (folder / f"{row}.png").write_bytes(picture(40 + 160 * (row % 2)))
        rows.append([f"{row}.png", 10 * (row % 2) + row % 3, "dark" if row % 2 == 0 else "light"])
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["photo", "size", "shade"], *rows])
    read = ReadOptions(target="shade", image=("photo",), tabular=("size",))
    settings = {"fusions": ["sum"], "seeds": 1, "folds": 1, "max_epochs": 5, "learning_rates": [1e-2]}
    encoder = ["photo=image,body=patch"]
    fuseloom.compare(folder / "rows.csv", read=read, out=folder / "run", encoder=encoder, **settings)
    command = [sys.executable, str(FOLDER / "06_serve.py"), str(folder / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield folder, server.stdout.readline().split()[-1]
        server.terminate()


@pytest.fixture
def ask(served: tuple[Path, str]) -> Ask:
    """Post JSON, or bytes as they are, and give back what is answered."""

    def asked(body: Any) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(served[1], data=data), timeout=30) as answer:
            return json.load(answer)

    return asked


def test_the_server_says_what_predict_says(served: tuple[Path, str], ask: Ask) -> None:
    folder, _ = served
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:6]
    rows[1]["photo"] = ""
    with (folder / "new.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["photo", "size", "shade"])
        writer.writeheader()
        writer.writerows(rows)
    command = [str(Path(sys.executable).parent / "fuseloom"), "predict", folder / "run", folder / "new.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    printed = [row["p_light"] for row in csv.DictReader(io.StringIO(done.stdout))]
    sent = [{"size": float(row["size"]), "photo": sendable(folder, row["photo"])} for row in rows]
    assert [f"{one['p_light']:.6g}" for one in ask(sent)] == printed


def sendable(folder: Path, name: str) -> str | None:
    return base64.b64encode((folder / name).read_bytes()).decode() if name else None


def test_a_row_may_lack_a_modality_or_all_rows_one(ask: Ask) -> None:
    shown = base64.b64encode(picture(200)).decode()
    whole, seen, weighed = ask([{"photo": shown, "size": 11}, {"photo": shown}, {"size": 11}])
    assert ask([{"size": 11}])[0]["p_light"] == pytest.approx(weighed["p_light"])
    assert ask([{"photo": shown}])[0]["p_light"] == pytest.approx(seen["p_light"])
    assert seen["p_light"] != weighed["p_light"]
    assert whole["p_light"] > 0.5


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([{"photo": "/etc/hostname"}], "photo must be the bytes of a file in base64"),
        ([{"sizes": 3}], r"must have columns of ['photo', 'size'], got 'sizes'"),
        ({"size": 3}, "must be a JSON list of rows"),
        ([{"photo": BROKEN}], "not a whole picture"),
        ([{"size": 3}, {"size": "large"}], "row 1: column 'size' must be a finite number, got 'large'"),
        ([{"size": None}], "must hold a value in one of its rows at least"),
        (b"{", "Expecting property name"),
        (b"\xff", "decode byte 0xff"),
    ],
)
def test_what_the_server_cannot_read_is_an_answer_too(ask: Ask, body: Any, message: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(body)
    assert caught.value.code == 400
    assert message in json.load(caught.value)["error"]


def test_a_body_too_large_is_refused_unread(served: tuple[Path, str]) -> None:
    request = urllib.request.Request(served[1], data=b"[]", headers={"Content-Length": "17000000"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == 413
    assert "at most 16,000,000 bytes, got 17,000,000" in json.load(caught.value)["error"]
