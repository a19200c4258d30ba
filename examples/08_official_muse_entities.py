"""Entities in tweets by a checkpoint of MuSE's authors, as their code finds them: word piece by word piece.

Checkpoints for sentiment are for `fuseloom convert`; one for entities tags word pieces, so that the words
have to be found again. Run it, with a folder that holds config.json and vocab.txt of the BERT:
python examples/08_official_muse_entities.py model_best.bin BERT_FOLDER SENTENCES.txt FOLDER_OF_PICTURES
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet
from transformers import BertConfig, BertModel, BertTokenizerFast

from fuseloom.data.muse_features import square_picture, word_pieces
from fuseloom.data.tagged_lines import Sentence, read_sentences
from fuseloom.heads import TaggingHead
from fuseloom.metrics.spans import entity_spans, span_scores
from fuseloom.models import FusionModel
from fuseloom.models.checkpoint import read_checkpoint
from fuseloom.models.muse import OfficialImage, OfficialText, convert_muse, official_muse
from fuseloom.nn import PostNormBlock
from fuseloom.nn.crf_packing import unpack_chain
from fuseloom.nn.crf_paths import best_path

KINDS = ("MISC", "PER", "ORG", "LOC")
LABELS = ("O", *(f"{mark}-{kind}" for kind in KINDS for mark in "BI"), "X", "[START]", "[END]")
"""In the order of the official code: of twitter2015, where OTHER is MISC, and of twitter2017."""
LENGTH, SIDE = 64, 224
"""Word pieces of a sentence, as many as patches, and pixels of a side."""
ROWS = 32


def read_model(checkpoint: Path, language: Path) -> FusionModel:
    """The published model, without the decoders that only training needs, with those weights."""
    official = read_checkpoint(checkpoint)
    bert = BertConfig.from_pretrained(language)
    blocks = {tuple(name.split(".")[2:4]) for name in official if name.startswith("image_encoder.resnet.")}
    counts = [len({block for stage, block in blocks if stage == str(number)}) for number in range(4, 8)]
    resnet = ResNet(Bottleneck, counts)  # 3, 8, 36, 3 in the published runs: ResNet-152
    model = official_muse(
        OfficialText(BertModel(bert, add_pooling_layer=False)),
        OfficialImage(nn.Sequential(*list(resnet.children())[:-2]), 2048, dim=bert.hidden_size),
        TaggingHead(bert.hidden_size, len(LABELS)),
        block=partial(PostNormBlock, num_heads=bert.num_attention_heads),
        layers=range(1, 4),
    )
    model.load_state_dict(convert_muse(official, decoders=False))
    return model.eval()


def tagged(
    model: FusionModel, sentences: list[Sentence], tokenizer: BertTokenizerFast, pictures: Path
) -> list[list[str]]:
    """A tag for each word. What is no tag of a word, such as X, is O; so is a word without pieces."""
    texts = [" ".join(sentence.words) for sentence in sentences]
    pieces = word_pieces(texts, tokenizer, length=LENGTH, faithful=True)
    print(f"{len(texts)} sentences, {pieces.cut} of them cut after {LENGTH} word pieces")
    paths = []
    for start in range(0, len(texts), ROWS):
        rows = slice(start, start + ROWS)
        # Where a picture is missing the official code takes one certain tweet's; here that is an error.
        seen = [square_picture(pictures / f"{one.image}.jpg", SIDE) for one in sentences[rows]]
        mask = torch.from_numpy(pieces.mask[rows])
        inputs = {"text": torch.from_numpy(pieces.ids[rows]), "image": torch.from_numpy(np.stack(seen))}
        with torch.inference_mode():
            outputs = model(inputs, {"text": mask}, positions=mask)
        paths.append(best_path(*unpack_chain(outputs), padding=0))
    found = pieces.tags_of_words(torch.cat(paths).numpy(), LABELS)
    return [[tag if tag[:2] in ("B-", "I-") else "O" for tag in tags] for tags in found]


def main() -> None:
    """Read the checkpoint, tag the sentences, and print what was found and how right it is."""
    checkpoint, language, file, pictures = map(Path, sys.argv[1:])
    model = read_model(checkpoint, language)
    tokenizer = BertTokenizerFast.from_pretrained(language)
    sentences, _ = read_sentences(file, {kind: kind for kind in KINDS} | {"OTHER": "MISC"})
    found = tagged(model, sentences, tokenizer, pictures)
    for sentence, tags in zip(sentences[:5], found[:5], strict=True):
        spans = [(span.type, " ".join(sentence.words[span.start : span.end])) for span in entity_spans(tags)]
        print(" ".join(sentence.words), spans)
    true = [list(sentence.tags or ()) for sentence in sentences]
    if all(true):
        print(f"span F1 {span_scores(found, true).overall.f1:.3f}")


if __name__ == "__main__":
    main()
