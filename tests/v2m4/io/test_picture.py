"""Picture files of every kind as arrays."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from v2m4.io.picture import read_picture


def picture(size=(48, 40), shift=0):
    """A disc on black, (H, W, 3) uint8."""
    image = np.zeros((*size, 3), np.uint8)
    cv2.circle(image, (20 + shift, 24), 12, (200, 120, 60), -1)
    return image


def encoded(image, **options):
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


def test_every_kind_of_picture_reads_the_same(tmp_path):
    true = picture()
    grey = true[..., 0]
    mask = (grey > 0).astype(np.uint8) * 255
    file = tmp_path / "x"
    image = Image.fromarray(true)
    np.testing.assert_array_equal(read_picture(file, encoded(image, format="PNG")), true)
    np.testing.assert_array_equal(read_picture(file, encoded(image.quantize(16), format="PNG")), true)
    rgba = np.dstack([true, mask])
    np.testing.assert_array_equal(read_picture(file, encoded(Image.fromarray(rgba), format="PNG")), rgba)
    np.testing.assert_array_equal(
        read_picture(file, encoded(Image.fromarray(grey), format="PNG")), np.repeat(grey[..., None], 3, 2)
    )
    grey_alpha = np.dstack([grey, grey, grey, mask])
    np.testing.assert_array_equal(
        read_picture(file, encoded(Image.fromarray(np.dstack([grey, mask]), "LA"), format="PNG")), grey_alpha
    )
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_picture(file, encoded(wide, format="PNG")), np.repeat(grey[..., None], 3, 2))
    for name, array in {"rgb": true[..., ::-1], "rgba": rgba[..., [2, 1, 0, 3]]}.items():
        ok, data = cv2.imencode(".png", array.astype(np.uint16) * 257)
        assert ok
        expected = true if name == "rgb" else rgba
        np.testing.assert_array_equal(read_picture(file, data.tobytes()), expected)
    cmyk = read_picture(file, encoded(image.convert("CMYK"), format="JPEG", quality=100))
    assert np.abs(cmyk.astype(int) - true).mean() < 3


def test_palette_transparency_is_alpha(tmp_path):
    palette = Image.fromarray(picture()).quantize(8)
    index = palette.getpixel((0, 0))
    result = read_picture(tmp_path / "x", encoded(palette, format="PNG", transparency=index))
    assert result.shape[2] == 4
    assert result[0, 0, 3] == 0
    assert result[24, 20, 3] == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_turned(tmp_path, orientation):
    true = Image.fromarray(picture())
    inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # Image.Transpose that stores it turned
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = true if inverse is None else true.transpose(inverse)
    np.testing.assert_array_equal(read_picture(tmp_path / "x", encoded(stored, format="PNG", exif=exif)), picture())
