from dataclasses import replace
from xml.etree.ElementTree import fromstring

from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.diagnose.attention import AttentionQuality
from fuseloom.metrics.interval import Interval
from fuseloom.report.quality import quality_figures, quality_saying, quality_table


def about(mean: float) -> Interval:
    return Interval(mean=mean, low=mean - 0.1, high=mean + 0.1)


def one(modality: str, *means: float) -> AttentionQuality:
    layers = {f"layer.{number}": about(mean) for number, mean in enumerate(means)}
    return AttentionQuality(
        model="m", modality=modality, corruption="gaussian_noise", rows=1234, correlations=layers
    )


def test_of_one_layer_the_correlation_is_said() -> None:
    shown = [one("image", 0.62)]
    assert quality_saying(shown) == (
        "Attention follows the quality of image (correlation +0.62): the worse it gets, the less it weighs."
    )
    assert quality_saying([*shown, one("text", 0.3), one("audio", -0.4), one("video", 0.05)]) == (
        "Attention follows the quality of image (correlation +0.62) and text (correlation +0.30): the worse "
        "one gets, the less it weighs; the weight on audio (correlation -0.40) grows the worse that gets; "
        "that it follows the quality of video is not shown."
    )


def test_what_may_be_chance_is_not_shown() -> None:
    assert quality_saying([one("image", 0.05), one("text", -0.05)]) == (
        "That attention follows the quality of image or text is not shown."
    )


def test_of_several_layers_it_is_said_how_many() -> None:
    assert quality_saying([one("image", 0.62, 0.05, 0.2)]).startswith(
        "Attention follows the quality of image (in 2 of 3 layers, correlation up to +0.62): the worse"
    )
    assert quality_saying([one("image", 0.62, -0.3)]).endswith(
        "; the weight on image (in 1 of 2 layers, correlation up to -0.30) grows the worse that gets."
    )


def test_what_has_no_number_is_not_shown() -> None:
    bare = replace(one("image", 0.5), correlations={"layer": Interval(mean=float("nan"))})
    assert quality_saying([bare]) == "That attention follows the quality of image is not shown."
    assert quality_table([bare]).rows[0][3:5] == ("n/a", "n/a")
    ((_, plot),) = quality_figures([bare])
    assert not any("mark" in part.attrib.get("class", "") for part in fromstring(plot).iter())


def test_a_row_for_each_modality_and_layer(diagnosis: Diagnosis) -> None:
    table = quality_table([one("image", 0.62, 0.1), one("text", -0.2)])
    assert table.rows == (
        ("layer.0", "image", "gaussian noise", "+0.62", "+0.52 to +0.72", "1,234"),
        ("layer.1", "image", "gaussian noise", "+0.10", "+0.00 to +0.20", "1,234"),
        ("layer.0", "text", "gaussian noise", "-0.20", "-0.30 to -0.10", "1,234"),
    )
    assert len(table.head) == 6


def test_a_figure_for_each_layer_with_the_modalities_that_it_can_turn_from() -> None:
    found = dict(quality_figures([one("image", 0.62, 0.1), one("text", -0.2)]))
    assert list(found) == ["layer.0", "layer.1"]
    label = fromstring(found["layer.0"]).attrib["aria-label"]
    assert "image 0.62 [0.52, 0.72]; text -0.20 [-0.30, -0.10]" in label
    assert "text" not in fromstring(found["layer.1"]).attrib["aria-label"]
    assert any(line.attrib.get("class") == "zero" for line in fromstring(found["layer.0"]).iter("line"))
    assert len(quality_figures([one("image", *[0.1] * 30)])) == 12
