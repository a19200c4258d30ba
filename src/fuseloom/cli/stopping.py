"""Ctrl-C and a polite kill, for commands whose work can go on later."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

__all__ = ["STOPPED", "stopping"]

STOPPED = 130
"""Exit status of a command that was stopped, as shells have it."""


@contextmanager
def stopping() -> Iterator[None]:
    """Take SIGTERM as Ctrl-C, and end the program with one line and status 130 on either."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt as stop:
        click.echo(str(stop) or "Stopped; run the same command to go on.", err=True)
        sys.exit(STOPPED)
    finally:
        signal.signal(signal.SIGTERM, before)
