"""A finished comparison, or a diagnosis, as text for the terminal, as JSON and as one self-contained page."""

from fuseloom.report.as_json import from_json, to_json
from fuseloom.report.diagnosis_page import to_diagnosis_html
from fuseloom.report.diagnosis_text import diagnosis_text
from fuseloom.report.folder import write_diagnosis, write_report
from fuseloom.report.html import to_html
from fuseloom.report.text import leaderboard_text

__all__ = [
    "diagnosis_text",
    "from_json",
    "leaderboard_text",
    "to_diagnosis_html",
    "to_html",
    "to_json",
    "write_diagnosis",
    "write_report",
]
