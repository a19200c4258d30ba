"""``python -m fuseloom``: the command line."""

from fuseloom.cli import main

main(prog_name="fuseloom")
