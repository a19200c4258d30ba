"""A diagnosis as one HTML page that loads nothing and runs nothing."""

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.report.diagnosis_view import diagnosis_view
from fuseloom.report.page import environment, resource
from fuseloom.report.panels import diagnosis_decimals

__all__ = ["to_diagnosis_html"]


def to_diagnosis_html(diagnosis: Diagnosis) -> str:
    """What a closer look at a model says, as a page: one file, no request to anywhere, no script.

    Args:
        diagnosis: Of one model.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    decimals = diagnosis_decimals(diagnosis)
    page = (
        environment(decimals)
        .get_template("diagnosis_page.html")
        .render(view=diagnosis_view(diagnosis, decimals), style=resource("style.css"))
    )
    return f"{page}\n"
