"""``fuseloom list``: the fusion parts with their claims."""

import json
from dataclasses import asdict

import click

__all__ = ["list"]


@click.command(
    epilog="""\b
Example:
  $ fuseloom list 'low_*'
  low_rank  merge  multiplicative  Rank-R factorisation of the outer product of all modalities (LMF)."""
)
@click.argument("pattern", default="*")
@click.option("--kind", type=click.Choice(["exchange", "merge"]), help="Only parts of this kind.")
@click.option("--json", "as_json", is_flag=True, help="Whole cards as JSON.")
def list(pattern: str, kind: str | None, as_json: bool) -> None:  # noqa: A001  the verb's name
    """List fusion parts whose name matches PATTERN."""
    from fuseloom.registry import list_fusions, lookup

    parts = {name: lookup(name) for name in list_fusions(pattern, kind=kind)}
    if as_json:
        click.echo(json.dumps({n: {"kind": p.kind, **asdict(p.card)} for n, p in parts.items()}, indent=1))
        return
    wide = max(map(len, parts), default=0)
    for name, part in parts.items():
        click.echo(f"{name:{wide}}  {part.kind:8}  {part.card.interaction:14}  {part.card.summary}")
