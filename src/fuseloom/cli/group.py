"""The group of all verbs; a verb's file is imported when it is needed."""

import importlib
from typing import Any

import click

import fuseloom as package
from fuseloom.errors import FuseloomError

__all__ = ["VERBS", "fuseloom"]

VERBS = (
    "compare",
    "convert",
    "data",
    "diagnose",
    "doctor",
    "evaluate",
    "export",
    "list",
    "predict",
    "recipe",
    "sweep",
    "train",
    "verify",
)


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(importlib.import_module(f"fuseloom.cli.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FuseloomError as error:
            if ctx.params["debug"]:
                raise
            click.echo(f"Error: {error}", err=True)
            ctx.exit(1)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package.__version__, package_name="fuseloom")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def fuseloom(debug: bool) -> None:
    """Multimodal fusion: which fusion suits your data, does fusing pay, is every modality used?

    Start with `fuseloom compare`, which needs no data of yours.
    """
