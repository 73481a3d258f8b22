"""Charts: round ticks, curves where they belong, gaps."""

from xml.etree import ElementTree

import pytest

from v2m4.line_chart import HEIGHT, WIDTH, line_chart, ticks


@pytest.mark.parametrize(("lower", "upper"), [(0, 1), (0.12, 0.19), (-3, 40), (17.3, 22.8), (0, 1e-4), (5, 5)])
def test_ticks_are_few_round_and_inside(lower, upper):
    values = ticks(lower, upper)
    assert len(values) <= 9
    assert all(lower - 1e-9 <= value <= upper + 1e-9 for value in values)
    if upper > lower:
        assert len(values) >= 2
        assert f"{values[1] - values[0]:.3e}"[:5] in ("1.000", "2.000", "5.000")


def test_curves_lie_in_the_picture_and_go_up_where_values_do():
    svg = line_chart("CD <by> frame", {"a": [0.1, 0.2, 0.4], "b": [0.4]}, {"a": "#111", "b": "#222"})
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == "CD <by> frame"
    points = [pair.split(",") for pair in root.find("polyline").get("points").split()]
    heights = [float(y) for _, y in points]
    assert heights == sorted(heights, reverse=True)
    assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in points)
    assert root.find("circle") is not None


def test_gaps_and_nothing_at_all():
    svg = line_chart("x", {"a": [1, 2, float("nan"), 3, 4]}, {"a": "#111"})
    assert len(ElementTree.fromstring(svg).findall("polyline")) == 2
    assert ElementTree.fromstring(line_chart("x", {"a": [float("nan")]}, {"a": "#111"})) is not None
    assert ElementTree.fromstring(line_chart("x", {}, {})) is not None


def test_marked_frames_have_a_band_inside_of_the_plot():
    svg = line_chart("x", {"a": [1, 2, 3]}, {"a": "#111"}, marked=[0, 2])
    bands = ElementTree.fromstring(svg).findall("rect")
    assert [band.get("class") for band in bands] == ["marked", "marked"]
    edges = [(float(band.get("x")), float(band.get("x")) + float(band.get("width"))) for band in bands]
    assert edges[0][0] >= 46
    assert edges[1][1] <= WIDTH - 10 + 0.1
    assert edges[0][1] < edges[1][0]
