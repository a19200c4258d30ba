import re
from dataclasses import replace

from fuseloom.data.exhibit import Exhibit
from fuseloom.diagnose.attention import Attention
from fuseloom.diagnose.exchanged import ExchangedSample, SampleStream
from fuseloom.diagnose.looks import Look
from fuseloom.report.looks import look_figures

PICTURE = Exhibit(
    kind="image", state="shown", words="8 x 4", picture="data:image/png;base64,AA", width=8, height=4
)


def look(
    *, words: tuple[str, ...] = (), grid: tuple[int, int] | None = (1, 2), picture: Exhibit | None = None
) -> Attention:
    text = SampleStream(modality="text", positions=2, grid=None, layers=(), words=words)
    image = SampleStream(modality="image", positions=2, grid=grid, layers=(), picture=picture)
    one = Look(
        layer="anchor.image.attention",
        row=ExchangedSample(place=4, streams=(text, image), row="t4"),
        weights=((0.2, 0.8), (0.5, 0.5)),
    )
    return Attention(model="tagger", layers=(), looks=(one,))


def test_each_word_has_the_picture_with_its_patches_shaded_by_their_share() -> None:
    ((title, svg),) = look_figures(look(words=("red", "<Orlay>"), picture=PICTURE))
    assert title == "Where text of row t4 looks in image"
    assert svg.count('href="data:image/png;base64,AA"') == 2
    assert re.findall(r"fill-opacity: ([\d.]+)", svg) == ["0.15", "0.60", "0.38", "0.38"]
    assert "&lt;Orlay&gt;" in svg
    assert "<Orlay>" not in svg
    assert "the patch that each looks at most: red: 2, &lt;Orlay&gt;: 1." in svg
    assert "<title>0.800</title>" in svg


def test_even_attention_is_pale_and_a_peak_dark() -> None:
    one = look().looks[0]
    even, peak = (0.05,) * 20, (0.43, *(0.03,) * 19)
    image = replace(one.row.streams[1], positions=20, grid=(4, 5))
    row = replace(one.row, streams=(one.row.streams[0], image))
    wide = Attention(model="tagger", layers=(), looks=(replace(one, row=row, weights=(even, peak)),))
    ((_, svg),) = look_figures(wide)
    shades = [float(found) for found in re.findall(r"fill-opacity: ([\d.]+)", svg)]
    assert set(shades[:20]) == {0.19}
    assert (shades[20], set(shades[21:])) == (0.75, {0.05})


def test_without_words_and_pictures_places_are_numbered_on_a_bare_grid() -> None:
    ((_, svg),) = look_figures(look())
    assert "<image" not in svg
    assert svg.count('class="sheet"') == 2
    assert re.findall(r">(\d+)</text>", svg) == ["1", "2"]


def test_positions_that_are_no_rectangle_are_not_drawn() -> None:
    assert look_figures(look(grid=None)) == []
