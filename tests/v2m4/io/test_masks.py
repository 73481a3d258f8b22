"""Masks of every kind become the same alpha."""

import numpy as np
import pytest
from PIL import Image

from tests.v2m4.io.video_documents import disc, save
from v2m4.io.masks import may_be_mask, read_masks, show_the_same

SIZE = (96, 128)
TRUE = [np.where(disc(3 * index).max(2) > 0, 255, 0).astype(np.uint8) for index in range(3)]


def palette(mask):
    """Object number 1 in DAVIS's colours: index 0 is black, 1 dark red."""
    image = Image.fromarray((mask > 0).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    return image


def two_objects(mask):
    numbers = (mask > 0).astype(np.uint8)
    numbers[:, :40][numbers[:, :40] > 0] = 2
    image = Image.fromarray(numbers, "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    return image


def colored(mask, inside, outside):
    return Image.fromarray(np.where(mask[..., None] > 0, inside, outside).astype(np.uint8))


KINDS = {
    "binary": Image.fromarray,
    "0_and_1": lambda mask: Image.fromarray((mask > 0).astype(np.uint8)),
    "bits": lambda mask: Image.fromarray(mask).convert("1"),
    "palette": palette,
    "two_objects": two_objects,
    "grey_palette": lambda mask: Image.fromarray(mask).convert("P"),
    "grey_numbers": lambda mask: Image.fromarray(
        np.where(mask > 0, np.where(np.arange(128) < 40, 38, 75), 0).astype("u1")
    ),
    "rgb": lambda mask: Image.fromarray(mask).convert("RGB"),
    "red": lambda mask: colored(mask, (128, 0, 0), (0, 0, 0)),
    "on_purple": lambda mask: colored(mask, (253, 231, 36), (68, 1, 84)),
    "alpha_of_rgba": lambda mask: Image.fromarray(np.dstack([disc(), mask])),
    "alpha_of_la": lambda mask: Image.fromarray(np.dstack([mask * 0, mask]), "LA"),
    "16_bits": lambda mask: Image.fromarray(mask.astype(np.uint16) * 257),
    "inverted": lambda mask: Image.fromarray(255 - mask),
    "large": lambda mask: Image.fromarray(mask).resize((256, 192), Image.Resampling.NEAREST),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_gives_the_same_alpha(tmp_path, name):
    files = [tmp_path / f"{index}.png" for index in range(3)]
    for file, mask in zip(files, TRUE, strict=True):
        KINDS[name](mask).save(file)
    assert all(may_be_mask(file) for file in files)
    for alpha, true in zip(read_masks(files, SIZE, "here"), TRUE, strict=True):
        assert alpha.dtype == np.uint8
        np.testing.assert_array_equal(alpha, true)


def test_jpegs_of_masks_are_cleaned(tmp_path):
    save(tmp_path / "0.jpg", TRUE[0], quality=90)
    (alpha,) = read_masks([tmp_path / "0.jpg"], SIZE, "here")
    assert (np.abs(alpha.astype(int) - TRUE[0]) > 40).mean() < 0.01
    assert (alpha == 0).mean() > 0.7


def test_soft_edges_stay(tmp_path):
    soft = np.asarray(Image.fromarray(TRUE[0]).resize((64, 48), Image.Resampling.BOX).resize((128, 96)))
    save(tmp_path / "0.png", soft)
    (alpha,) = read_masks([tmp_path / "0.png"], SIZE, "here")
    assert ((alpha > 0) & (alpha < 255)).sum() > 50
    assert np.abs(alpha.astype(int) - soft).max() < 16


def test_an_empty_mask_among_others_stays_empty(tmp_path):
    noise = np.random.default_rng(0).integers(0, 4, SIZE).astype(np.uint8)
    save(tmp_path / "0.png", noise)
    save(tmp_path / "1.png", TRUE[1])
    first, second, third = read_masks([tmp_path / "0.png", tmp_path / "1.png", None], SIZE, "here")
    assert first.max() == 0
    np.testing.assert_array_equal(second, TRUE[1])
    assert third is None


def test_several_objects_are_told(tmp_path, caplog):
    caplog.set_level("INFO")
    two_objects(TRUE[0]).save(tmp_path / "0.png")
    read_masks([tmp_path / "0.png"], SIZE, "here")
    assert any("2 objects in them, taken as one" in line for line in caplog.messages)


def test_another_shape_is_an_error(tmp_path):
    save(tmp_path / "0.png", TRUE[0][:60])
    with pytest.raises(ValueError, match="must have the frames' shape"):
        read_masks([tmp_path / "0.png"], SIZE, "here")


def test_pictures_are_no_masks(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    grey = np.where(TRUE[0] > 0, noise[..., 0] // 2 + 30, 0).astype(np.uint8)
    for name, image in {"noise": noise, "grey_noise": noise[..., 0], "grey_object_on_black": grey}.items():
        save(tmp_path / f"{name}.png", image)
        assert not may_be_mask(tmp_path / f"{name}.png"), name
    with pytest.raises(ValueError, match="is no mask"):
        read_masks([tmp_path / "noise.png"], SIZE, "here")
    (tmp_path / "broken.png").write_bytes(b"x")
    assert not may_be_mask(tmp_path / "broken.png")


def test_the_same_picture_twice_is_recognised(tmp_path):
    save(tmp_path / "0.jpg", disc())
    save(tmp_path / "0.png", disc())
    save(tmp_path / "1.png", TRUE[0])
    assert show_the_same(tmp_path / "0.jpg", tmp_path / "0.png")
    assert not show_the_same(tmp_path / "0.jpg", tmp_path / "1.png")
