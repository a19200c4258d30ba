"""``fuseloom list``: everything that has a name, fusions with their claims."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

import click

__all__ = ["list"]

_KINDS = ("exchange", "merge", "encoder", "task", "data", "metric", "recipe", "converter", "remedy", "system")


@click.command(
    epilog="""\b
Examples:
  $ fuseloom list 'low_*'
  low_rank  merge  multiplicative  Rank-R factorisation of the outer product of all modalities (LMF).
  $ fuseloom list --kind metric"""
)
@click.argument("pattern", default="*")
@click.option("--kind", type=click.Choice(_KINDS), help="Only names of this kind; by default fusions.")
@click.option("--json", "as_json", is_flag=True, help="Whole cards, or what a line says, as JSON.")
def list(pattern: str, kind: str | None, as_json: bool) -> None:  # noqa: A001  the verb's name
    """List what has a name and matches PATTERN: fusion parts, or another kind of things."""
    if kind in (None, "exchange", "merge"):
        _list_fusions(pattern, kind, as_json=as_json)
        return
    if kind == "remedy" and as_json:
        click.echo(json.dumps(_remedy_cards(pattern), indent=1))
        return
    named = {name: text for name, text in _NAMED[kind or ""]().items() if fnmatchcase(name, pattern)}
    if as_json:
        click.echo(json.dumps(named, indent=1))
        return
    wide = max(map(len, named), default=0)
    for name, text in named.items():
        click.echo(f"{name:{wide}}  {text}".rstrip())


def _list_fusions(pattern: str, kind: str | None, *, as_json: bool) -> None:
    from fuseloom.registry import list_fusions, lookup

    parts = {name: lookup(name) for name in list_fusions(pattern, kind=kind)}
    if as_json:
        click.echo(json.dumps({n: {"kind": p.kind, **asdict(p.card)} for n, p in parts.items()}, indent=1))
        return
    wide = max(map(len, parts), default=0)
    for name, part in parts.items():
        click.echo(f"{name:{wide}}  {part.kind:8}  {part.card.interaction:14}  {part.card.summary}")


def _registered(kind: str) -> dict[str, str]:
    """Name -> first line of its docstring."""
    from fuseloom.registry import list_names, lookup

    return {name: _first_line(lookup(name, kind=kind)) for name in list_names(kind=kind)}


def _data() -> dict[str, str]:
    from fuseloom.data.named import EMBEDDED, list_sets

    return {name: "embedded" if name in EMBEDDED else "give its folder" for name in list_sets()}


def _metrics() -> dict[str, str]:
    from fuseloom.registry import list_names, lookup

    found: dict[str, str] = {}
    for name in list_names(kind="task"):
        for metric, one in lookup(name, kind="task").metrics.items():
            way = "higher is better" if one.higher_is_better else "lower is better"
            found[metric] = f"{found[metric]}, {name}" if metric in found else f"{way}; {name}"
    return found


def _recipes() -> dict[str, str]:
    from fuseloom.train.recipe import list_recipes, read_recipe

    return {name: read_recipe(name).summary for name in list_recipes()}


def _remedies() -> dict[str, str]:
    return {name: card["summary"] for name, card in _remedy_cards("*").items()}


def _remedy_cards(pattern: str) -> dict[str, dict[str, Any]]:
    from fuseloom.registry import list_remedies, lookup

    return {name: asdict(lookup(name, kind="remedy").card) for name in list_remedies(pattern)}


def _systems() -> dict[str, str]:
    """Those that answer once for each row, label its pixels, or make pictures of it."""
    from fuseloom.registry import list_names, lookup

    found = _registered("system")
    for kind in ("dense", "picture"):
        found |= {name: lookup(name, kind=kind).card.summary for name in list_names(kind=kind)}
    return dict(sorted(found.items()))


def _first_line(cls: Any) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]


_NAMED: Mapping[str, Callable[[], dict[str, str]]] = {
    "encoder": lambda: _registered("encoder"),
    "task": lambda: _registered("task"),
    "converter": lambda: _registered("converter"),
    "data": _data,
    "metric": _metrics,
    "recipe": _recipes,
    "remedy": _remedies,
    "system": _systems,
}
