"""Official checkpoints of MuSE for sentiment, converted, served and scored: a tiny BERT and a tiny ResNet."""

import csv
import io
import json
from functools import partial

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from fuseloom.cli.group import fuseloom
from fuseloom.data.muse_features import square_picture, word_pieces
from fuseloom.encoders.hf import load_tokenizer
from fuseloom.heads import LinearHead
from fuseloom.models.muse import OfficialImage, OfficialText, official_muse, official_muse_state
from fuseloom.models.muse.captioner import Captioner
from fuseloom.models.muse.pixelcnn import PixelCnn
from fuseloom.nn import PostNormBlock

transformers = pytest.importorskip("transformers")
timm = pytest.importorskip("timm")
Image = pytest.importorskip("PIL.Image")

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "sad", "happy", "ball", "day")
TEXTS = ("a happy day", "a sad red ball", "day", "unheard of")
CLASSES = ("positive", "neutral", "negative")
LENGTH, SIZE, GRID, WIDTH = 9, 40, 2, 12
TOLD = {"theta": 0.3, "mu": 0, "eta": 2, "num_heads": 3, "max_length": LENGTH, "size": SIZE, "grid": GRID}
RESNETS = {"plain": ("resnet18", [2, 1, 1, 1]), "wide": ("resnet50", [1, 1, 1, 1])}


def run(*arguments):
    return CliRunner().invoke(fuseloom, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """A folder with configuration and tokenizer, and no weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("bert")
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    bert_config().save_pretrained(folder)
    return folder


def bert_config():
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    return transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=LENGTH + 3, **sizes)


def official(resnet="plain"):
    """The authors' model with its decoders, of weights drawn at random."""
    torch.manual_seed(0)
    architecture, layers = RESNETS[resnet]
    net = timm.create_model(architecture, pretrained=False, layers=layers, channels=[4, 6, 8, 10])
    stages = (net.layer1, net.layer2, net.layer3, net.layer4)
    model = official_muse(
        OfficialText(transformers.BertModel(bert_config(), add_pooling_layer=False)),
        OfficialImage(
            nn.Sequential(net.conv1, net.bn1, net.act1, net.maxpool, *stages),
            net.num_features,
            dim=WIDTH,
            grid=GRID,
        ),
        LinearHead(WIDTH, len(CLASSES)),
        captioner=Captioner(WIDTH, 9, attention_dim=4, embedding_dim=4, hidden_dim=4),
        painter=PixelCnn(WIDTH, num_resnet=1, num_filters=3, num_mixtures=1),
        num_layers=3,
        layers=range(TOLD["mu"], TOLD["eta"]),
        theta=TOLD["theta"],
        block=partial(PostNormBlock, num_heads=TOLD["num_heads"], hidden=20),
    )
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            fresh = 0.5 * torch.rand_like(value) + 0.5 if "running_var" in name else torch.randn_like(value)
            value.copy_(fresh if "running_var" in name else 0.3 * fresh + value)
    # Tokens of usual size: attention that is all on one token ties the scores that choose what is exchanged.
    end = model.encoders["image"].stages[1].fc
    with torch.no_grad():
        tokens, _ = model.eval().encoders["image"](torch.randn(8, 3, SIZE, SIZE))
        end.weight /= tokens.std()
        end.bias /= tokens.std()
    return model


class Case:
    """A checkpoint, rows as files, and what the authors' model says of them."""

    def __init__(self, place, language, resnet):
        self.place, self.language, self.model = place, language, official(resnet)
        self.out, self.checkpoint, self.rows = place / "model", place / "model_best.bin", place / "rows.csv"
        old = {"text_encoder.bert.embeddings.position_ids": torch.arange(LENGTH + 3)[None]}
        torch.save({**official_muse_state(self.model.state_dict()), **old}, self.checkpoint)
        generator = np.random.default_rng(0)
        pictures = [
            generator.integers(0, 256, (30 + 7 * n, 50, 3), dtype=np.uint8) for n in range(len(TEXTS))
        ]
        names = [f"{n}.png" for n in range(len(TEXTS))]
        for name, picture in zip(names, pictures, strict=True):
            Image.fromarray(picture).save(place / name)
        lines = [
            f"{text},{name},{CLASSES[n % 3]}" for n, (text, name) in enumerate(zip(TEXTS, names, strict=True))
        ]
        self.rows.write_text("\n".join(["text,image,sentiment", *lines]), encoding="utf-8")
        self.pixels = torch.stack([torch.from_numpy(square_picture(one, SIZE)) for one in pictures])

    def expected(self):
        read = word_pieces(TEXTS, load_tokenizer(str(self.language)), length=LENGTH, faithful=True)
        inputs = {"text": torch.from_numpy(read.ids), "image": self.pixels}
        with torch.no_grad():
            return self.model(inputs, {"text": torch.from_numpy(read.mask)}).softmax(-1).numpy()

    def convert(self, *more, modalities=("image", "text"), classes=CLASSES, **told):
        asked = {"language": self.language, **TOLD, **told}
        return run(
            *("convert", self.checkpoint, self.out, "--system", "muse", "--target", "sentiment"),
            *(part for name in modalities for part in ("--modality", name)),
            *(part for name in classes for part in ("--class", name)),
            *(part for name, value in asked.items() for part in ("--option", f"{name}={value}")),
            *more,
        )


@pytest.fixture
def case(tmp_path, language):
    return Case(tmp_path, language, "plain")


@pytest.mark.parametrize("resnet", RESNETS)
def test_a_converted_model_predicts_what_the_official_one_does(tmp_path, language, resnet):
    one = Case(tmp_path, language, resnet)
    done = one.convert()
    assert done.exit_code == 0, done.output
    served = list(csv.DictReader(io.StringIO(run("predict", one.out, one.rows).stdout)))
    found = np.array([[float(row[f"p_{name}"]) for name in CLASSES] for row in served])
    np.testing.assert_allclose(found, one.expected(), atol=2e-5)
    assert np.ptp(one.expected(), axis=0).min() > 1e-2


def test_it_is_scored_like_any_saved_model(case):
    assert case.convert().exit_code == 0
    scored = json.loads(run("evaluate", case.out, case.rows, "--json").stdout)["all"]
    right = case.expected().argmax(1) == np.arange(len(TEXTS)) % 3
    assert scored["accuracy"] == pytest.approx(right.mean())


def test_what_it_exchanges_is_shown(case):
    assert case.convert().exit_code == 0
    done = run("diagnose", case.out, case.rows, "--only", "exchanged", "--out", case.place / "seen")
    assert done.exit_code == 0, done.output
    assert "In 2 layers the model exchanges 33 % of text and 25 % of image" in " ".join(done.stdout.split())


def test_a_row_may_lack_its_text_or_its_picture(case):
    assert case.convert().exit_code == 0
    rows = case.place / "odd.csv"
    rows.write_text("text,image\n,0.png\na happy day,\n", encoding="utf-8")
    served = list(csv.DictReader(io.StringIO(run("predict", case.out, rows).stdout)))
    assert [sum(float(row[f"p_{name}"]) for name in CLASSES) for row in served] == pytest.approx([1, 1])


def test_every_weight_is_accounted_for_and_the_decoders_are_left_behind(case):
    done = case.convert("--dry-run")
    assert done.exit_code == 0, done.output
    lines = [line.split("->") for line in done.stdout.splitlines()]
    unused = {source.strip() for source, ours in lines if "(not used)" in ours}
    parts = {name.partition(".")[0] for name in unused}
    assert parts == {"image_decoder", "linear", "text_decoder", "text_encoder"}
    assert {n for n in unused if n.startswith("text_encoder")} == {
        "text_encoder.bert.embeddings.position_ids",
        *(f"text_encoder.bert.pooler.dense.{kind}" for kind in ("weight", "bias")),
    }
    assert any(ours.split()[:1] == ["merge.weight.image"] for source, ours in lines if "linear2" in source)


def test_options_that_no_weight_tells_change_what_is_predicted(case):
    assert case.convert(theta=0.0).exit_code == 0
    served = list(csv.DictReader(io.StringIO(run("predict", case.out, case.rows).stdout)))
    found = np.array([float(row["p_neutral"]) for row in served])
    assert np.abs(found - case.expected()[:, 1]).max() > 1e-4


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"thetas": 0.1}, "'muse' has no option 'thetas', only ['language', 'theta', "),
        ({"modalities": ("words", "image")}, "modalities must be ['image', 'text'], got ['image', 'words']"),
        ({"classes": CLASSES[:2]}, "classes must name the 3 outputs of the checkpoint"),
        ({"language": "no/such/model"}, "language must be a folder with config.json and a tokenizer"),
    ],
)
def test_wrong_turns_are_answered(case, told, message):
    done = case.convert(**told)
    assert done.exit_code == 1
    assert message in done.stderr
    assert not case.out.exists()


def test_a_checkpoint_of_named_entities_is_refused_with_a_way_out(case):
    state = torch.load(case.checkpoint, weights_only=True)
    torch.save({**state, "crf.transitions": torch.zeros(3, 3)}, case.checkpoint)
    done = case.convert()
    assert done.exit_code == 1
    assert "got one of named entities ('crf.transitions')" in done.stderr
    assert "official_muse with convert_muse reads it" in done.stderr


@pytest.mark.parametrize("entry", ["theta", "theta=0.1"])
def test_options_are_a_name_and_a_value_once_each(case, entry):
    done = case.convert("--option", entry)
    assert done.exit_code == 2
    assert f"must be NAME=VALUE, each name once, got '{entry}'" in done.stderr
