"""A finished comparison as text for the terminal, as JSON and as one self-contained page."""

from fuseloom.report.as_json import from_json, to_json
from fuseloom.report.folder import write_report
from fuseloom.report.html import to_html
from fuseloom.report.text import leaderboard_text

__all__ = ["from_json", "leaderboard_text", "to_html", "to_json", "write_report"]
