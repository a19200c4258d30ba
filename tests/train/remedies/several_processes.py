"""What one of several processes computes; a program, so that each begins with nothing of the others."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from fuseloom import Batch, create_remedy, list_remedies
from fuseloom.models import ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.train.remedies import Course, Remedied
from fuseloom.train.remedies._processes import average_gradients, drawing_alike, rows_of_all, share_state
from fuseloom.train.rolling_query import RollingQuery

TASK = Classification(["a", "b"])
WIDTHS = {"text": 6, "audio": 4}


def some_rows():
    generator = torch.Generator().manual_seed(5)
    inputs = {name: torch.randn(48, width, generator=generator) for name, width in WIDTHS.items()}
    target = (inputs["text"][:, 0] + 0.2 * inputs["audio"][:, 0] > 0).long()
    return Batch(inputs=inputs, masks={"audio": torch.rand(48, generator=generator) > 0.3}, target=target)


def some_model(fusion, *, seed=0):
    torch.manual_seed(seed)
    encoders = {name: {"kind": "embedding", "in_dim": width} for name, width in WIDTHS.items()}
    return build_model(ModelConfig(encoders=encoders, fusion=fusion, dim=8, dropout=0.0), TASK)


def batches(rank, world, size=12):
    rows = some_rows()
    whole = [rows.take(slice(start, start + size)) for start in range(0, len(rows), size)]
    return [one.take(slice(rank, None, world)) for one in whole]


def remedied(name, fusion, group, rank, world):
    """Weights after some steps; the second process would begin with others, if they were not shared."""
    learner = Remedied(some_model(fusion, seed=rank), create_remedy(name), TASK, group=group)
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.05)
    torch.manual_seed(rank)
    parts = batches(rank, world)
    for epoch in range(2):
        learner.start_epoch(
            Course(epoch=epoch, num_steps=len(parts), train=lambda: parts, valid=lambda: parts)
        )
        for part in parts:
            for phase in learner.phases:
                learner.loss(part, phase).backward()
                learner.before_step()
                optimizer.step()
                optimizer.zero_grad()
        learner.end_epoch()
    return {path: value.clone() for path, value in learner.model.state_dict().items()}


def rolled(heads, group, rank, world):
    """Log and rotation where processes have unequal shares of the rows."""
    model = some_model("attention_pool").eval()
    rolling = RollingQuery(group=group, window=2, heads=heads)
    rolling.attach(model)
    cut = [slice(0, 7), slice(7, None)][rank] if world > 1 else slice(None)
    parts = [part.take(cut) for part in batches(0, 1)]
    for step, part in enumerate(parts):
        with rolling.watching(model, step, len(parts)):
            model(part.inputs, part.masks)
    rolling.end_epoch(model, (model(part.inputs, part.masks) for part in parts))
    (log,) = rolling.state_dict()["log"]
    return {"log": log, "query": model.merge.class_query().detach()}


def helpers(group, rank):
    layer = nn.Linear(2, 1, bias=False)
    unused, late = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1))
    layer.weight.grad = torch.tensor([[1.0, 2.0]]) * (rank + 1)
    late.grad = torch.ones(1) if rank else None
    average_gradients([layer.weight, unused, late], group)
    torch.manual_seed(rank)
    drawn_by_one = nn.BatchNorm1d(2)
    nn.init.normal_(drawn_by_one.weight)
    drawn_by_one.running_mean.fill_(rank + 1)
    share_state(drawn_by_one, group)
    with drawing_alike(group, torch.device("cpu")):
        alike = torch.rand(3)
    return {
        "rows": rows_of_all(torch.full((2 + rank, 2), float(rank)), group),
        "averaged": layer.weight.grad,
        "unused": unused.grad,
        "late": late.grad,
        "shared": [drawn_by_one.weight.detach(), drawn_by_one.running_mean],
        "alike": alike,
        "own": torch.rand(3),
    }


def results(group=None, rank=0, world=1):
    """All of it; without a group, that of one process on all rows."""
    names = [name for name in ("ogm", "ogm_ge", "mmpareto", "uniform_loss") if name in list_remedies()]
    found = {name: remedied(name, "concat", group, rank, world) for name in names}
    found["rolling_query"] = remedied("rolling_query", "attention_pool", group, rank, world)
    found |= {f"rolled.{heads}": rolled(heads, group, rank, world) for heads in ("shared", "each")}
    return found | ({} if group is None else {"helpers": helpers(group, rank)})


def main():
    """Meet the others, compute, and leave what was found."""
    torch.set_num_threads(1)
    folder, rank, world = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    store = dist.FileStore(str(folder / "store"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    torch.save(results(dist.group.WORLD, rank, world), folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
