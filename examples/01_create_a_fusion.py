"""Fuse text, audio and video, of which some samples lack one: exchange, merge and head, trained for seconds.

The label says whether text and audio agree, which neither says alone.
Run it: python examples/01_create_a_fusion.py
"""

import torch
from torch import Tensor, nn

import fuseloom

DIMS = {"text": 12, "audio": 6, "video": 8}


def draw(rows: int) -> tuple[fuseloom.Streams, fuseloom.Masks, Tensor]:
    """Text tokens of different lengths, an audio and a video embedding; every tenth sample has no video."""
    streams = {"text": torch.randn(rows, 5, 12), "audio": torch.randn(rows, 6), "video": torch.randn(rows, 8)}
    length = torch.randint(2, 6, (rows, 1))
    masks = {"text": torch.arange(5) < length, "video": torch.arange(rows) % 10 != 0}
    signs = torch.randint(0, 2, (2, rows)) * 2 - 1
    streams["text"][..., 0] = signs[0][:, None]
    streams["audio"][:, 0] = signs[1]
    return streams, masks, (signs[0] == signs[1]).long()


class Classifier(nn.Module):
    """Cross-attention, then a low-rank product, then two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.exchange = fuseloom.create("cross_attention", DIMS, num_heads=2)
        self.merge = fuseloom.create("low_rank", DIMS, dim=32)
        self.head = nn.Linear(32, 2)

    def forward(self, streams: fuseloom.Streams, masks: fuseloom.Masks) -> Tensor:
        """Logits ``[B, 2]``."""
        logits: Tensor = self.head(self.merge(self.exchange(streams, masks), masks))
        return logits


def main() -> None:
    """Train on fresh samples and print the share of right answers on new ones."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the tensors are small
    model = Classifier()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(100):
        streams, masks, label = draw(32)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(streams, masks), label).backward()
        optimiser.step()
    streams, masks, label = draw(2000)
    with torch.no_grad():
        right = (model(streams, masks).argmax(1) == label).float().mean().item()
    print(f"accuracy {right:.3f}, chance 0.5")


if __name__ == "__main__":
    main()
