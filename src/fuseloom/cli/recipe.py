"""``fuseloom recipe``: the recipes that come with the package."""

import click

__all__ = ["recipe"]


@click.command(
    epilog="""\b
Examples:
  $ fuseloom recipe
  $ fuseloom recipe digits > my.yaml"""
)
@click.argument("name", required=False)
def recipe(name: str | None) -> None:
    """Print the recipe NAME as YAML, with the source of each of its numbers; without NAME, list them all."""
    from fuseloom.train.recipe import list_recipes, read_recipe, recipe_text

    if name is not None:
        click.echo(recipe_text(name), nl=False)
        return
    known = list_recipes()
    wide = max(map(len, known))
    for one in known:
        click.echo(f"{one:{wide}}  {read_recipe(one).summary}")
