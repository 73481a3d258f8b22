"""Fields of view from EXIF data: known lenses, turned pictures, nonsense."""

import math

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from v2m4.io.exif import vertical_fov

FOCAL, FILM, WIDTH, HEIGHT = 0x920A, 0xA405, 0xA002, 0xA003
ACROSS, DOWN, UNIT = 0xA20E, 0xA20F, 0xA210


def saved(path, size, tags, orientation=None):
    exif = Image.Exif()
    exif[0x010F] = "maker"  # Pillow takes EXIF data without a tag outside of the EXIF IFD for none
    exif.get_ifd(0x8769).update(tags)
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(path, exif=exif)
    return path


def degrees(side, focal):
    return math.degrees(2 * math.atan(side / 2 / focal))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_35_mm_equivalent_of_a_3_by_2_picture_is_that_of_film(tmp_path, name):
    assert vertical_fov(saved(tmp_path / name, (60, 40), {FILM: 28})) == pytest.approx(degrees(24, 28))


def test_pictures_of_other_shape_have_the_same_diagonal(tmp_path):
    square = vertical_fov(saved(tmp_path / "a.jpg", (50, 50), {FILM: 50}))
    assert square == pytest.approx(degrees(math.hypot(36, 24) / math.sqrt(2), 50))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_held_upright_has_its_long_side_upright(tmp_path, orientation):
    found = vertical_fov(saved(tmp_path / "a.jpg", (60, 40), {FILM: 50}, orientation))
    assert found == pytest.approx(degrees(36 if orientation >= 5 else 24, 50))


@pytest.mark.parametrize(("unit", "length"), [(None, 25.4), (2, 25.4), (3, 10.0), (4, 1.0)])
def test_focal_length_and_pixels_on_the_sensor(tmp_path, unit, length):
    """An APS-C sensor of 22.2 x 14.8 mm, 50 mm lens; the picture has a tenth of the sensor's pixels a side."""
    tags = {FOCAL: IFDRational(50), WIDTH: 600, HEIGHT: 400}
    tags |= {ACROSS: IFDRational(600 * length / 22.2), DOWN: IFDRational(400 * length / 14.8)}
    tags |= {} if unit is None else {UNIT: unit}
    assert vertical_fov(saved(tmp_path / "a.jpg", (60, 40), tags)) == pytest.approx(degrees(14.8, 50), rel=1e-4)
    assert vertical_fov(saved(tmp_path / "b.jpg", (60, 40), tags, 6)) == pytest.approx(degrees(22.2, 50), rel=1e-4)
    del tags[WIDTH], tags[HEIGHT]
    assert vertical_fov(saved(tmp_path / "c.jpg", (600, 400), tags)) == pytest.approx(degrees(14.8, 50), rel=1e-4)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {FILM: 0},
        {FOCAL: IFDRational(50)},
        {FOCAL: IFDRational(0, 0), DOWN: IFDRational(100)},
        {DOWN: IFDRational(9)},
    ],
)
def test_nothing_where_the_numbers_are_not_there(tmp_path, tags):
    assert vertical_fov(saved(tmp_path / "a.jpg", (60, 40), tags)) is None


def test_a_broken_picture_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.jpg: cannot be read as a picture"):
        vertical_fov(tmp_path / "a.jpg")
