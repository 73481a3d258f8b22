"""Foregrounds: known scenes are composited on backgrounds and must come back."""

import cv2
import numpy as np
import pytest

from v2m4.io.foreground import Method, choose_method, has_alpha, remove_background
from v2m4.io.matting import matte, matte_coarse


def scene(size=160, supersample=8):
    """A disc with a bar, area-sampled: straight colours (H, W, 3) float and true alpha (H, W) in [0, 1]."""
    big = size * supersample
    y, x = (np.mgrid[:big, :big] + 0.5) / big
    shape = (np.hypot(x - 0.45, y - 0.5) < 0.25) | ((np.abs(y - 0.45) < 0.04) & (x > 0.5) & (x < 0.9))
    alpha = shape.reshape(size, supersample, size, supersample).mean((1, 3))
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    colour = np.stack([200 - 60 * x, 90 + 80 * y, 140 + 0 * x], -1)
    return colour, alpha


def composite(colour, alpha, background):
    return np.round(colour * alpha[..., None] + np.asarray(background) * (1 - alpha[..., None])).astype(np.uint8)


def jpeg(picture, quality):
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (20, 180, 40)])
def test_keying_recovers_soft_alpha_and_straight_colour(background):
    colour, alpha = scene()
    result = remove_background(composite(colour, alpha, background))
    found = result[..., 3] / 255
    assert np.abs(found - alpha).mean() < 2e-3
    assert np.abs(found - alpha).max() < 0.25
    edge = (alpha > 0.5) & (alpha < 0.95)
    assert edge.sum() > 50
    assert np.abs(result[edge][:, :3] - colour[edge]).mean() < 12  # of 255; the raw edge is off by far more
    assert np.abs(composite(colour, alpha, background)[edge] - colour[edge]).mean() > 20


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255)])
def test_keying_survives_jpeg(background):
    colour, alpha = scene()
    result = remove_background(jpeg(composite(colour, alpha, background), 75))
    assert iou(result[..., 3] > 127, alpha > 0.5) > 0.985
    assert (result[..., 3][alpha == 0] > 127).sum() < 40  # of a 480 pixel outline


def test_an_untouched_picture_may_be_nearly_white_on_white():
    _, alpha = scene()
    picture = composite(np.full((160, 160, 3), 249.0), alpha, (255, 255, 255))
    found = remove_background(picture)[..., 3]
    assert iou(found > 127, alpha > 0.5) > 0.97


@pytest.mark.parametrize(("background", "part"), [((0, 0, 0), 4), ((255, 255, 255), 251)])
def test_dark_and_white_parts_inside_are_kept(background, part):
    colour, alpha = scene()
    picture = composite(colour, alpha, background)
    picture[70:90, 60:80] = part
    assert (remove_background(picture)[70:90, 60:80, 3] == 255).all()


def test_a_hole_before_a_green_screen_is_seen_through_though_video_blurs_its_rim():
    y, x = np.mgrid[:200, :200]
    distance = np.hypot(x - 100, y - 100)
    ring = ((distance > 14) & (distance < 60)).astype(np.float32)
    for green, open_hole in (((90, 170, 80), True), ((128, 128, 128), False)):
        coverage = cv2.GaussianBlur(ring, (0, 0), 1.5)[..., None]
        noise = np.random.default_rng(0).normal(0, 1.5, (200, 200, 1))
        picture = np.clip(coverage * (240, 240, 250) + (1 - coverage) * green + noise, 0, 255).astype(np.uint8)
        alpha = remove_background(picture, "key")[..., 3]
        assert (alpha[95:105, 95:105].max() == 0) == open_hole
        assert alpha[100, 140] == 255


def test_a_gap_of_bare_background_is_seen_through_but_a_highlight_is_not():
    colour, alpha = scene()
    picture = composite(colour, alpha, (255, 255, 255))
    with_gap = picture.copy()
    with_gap[70:90, 60:80] = 255
    assert (remove_background(with_gap)[74:86, 64:76, 3] == 0).all()
    y, x = np.mgrid[:160, :160]
    glow = np.clip(2.0 - np.hypot(x - 70, y - 80)[..., None] / 12, 0, 1)  # fades from pure white within 6..24 pixels
    highlight = np.round(picture * (1 - glow) + 255 * glow).astype(np.uint8)
    assert (highlight[76:84, 66:74] == 255).all()
    assert (remove_background(highlight)[70:90, 60:80, 3] > 250).all()


def test_specks_go_and_large_separate_parts_stay():
    colour, alpha = scene()
    picture = composite(colour, alpha, (0, 0, 0))
    picture[10:13, 10:13] = 200  # 9 pixels beside ~5000
    picture[130:150, 130:150] = 200
    mask = remove_background(picture)[..., 3] > 0
    assert not mask[5:20, 5:20].any()
    assert mask[132:148, 132:148].all()


def test_an_object_cut_by_the_border_keeps_a_hard_edge_there():
    colour, alpha = scene()
    result = remove_background(composite(colour, alpha, (0, 0, 0))[:, :60])
    assert (result[70:90, -1, 3] == 255).all()


def test_given_alpha_is_kept_exactly_and_colours_bleed():
    colour, alpha = scene()
    given = np.dstack([np.where(alpha[..., None] > 0, colour, 0), 255 * alpha]).round().astype(np.uint8)
    assert choose_method([given]).kind == "alpha"
    result = remove_background(given)
    visible = given[..., 3] > 12
    np.testing.assert_array_equal(result[visible], given[visible])
    ring = (cv2.dilate(visible.astype(np.uint8), np.ones((3, 3))) > 0) & (alpha == 0)
    assert (result[ring][:, :3].min(1) > 60).all()


def test_an_opaque_alpha_says_nothing():
    colour, alpha = scene()
    opaque = np.dstack([composite(colour, alpha, (0, 0, 0)), np.full((160, 160), 255, np.uint8)])
    assert not has_alpha(opaque)
    assert choose_method([opaque]).kind == "key"
    with pytest.raises(ValueError, match="no transparent background"):
        choose_method([opaque], "alpha")


def test_the_method_is_one_for_the_clip():
    colour, alpha = scene()
    plain, busy = (
        composite(colour, alpha, (0, 0, 0)),
        np.random.default_rng(0).integers(0, 255, (160, 160, 3), np.uint8),
    )
    assert choose_method([plain]) == Method("key", (0, 0, 0), threshold=2, ringing=0.0)
    assert choose_method([jpeg(plain, 95)]) == Method("key", (0, 0, 0), threshold=6)
    assert choose_method([plain, busy]).kind == "grabcut"
    assert str(choose_method([plain])) == "key #000000, threshold 2"
    with pytest.raises(ValueError, match="no plain colour"):
        choose_method([busy], "key")
    with pytest.raises(ValueError, match="no pictures"):
        choose_method([])


def busy_background(size=160):
    noise = np.random.default_rng(1).random((12, 12, 3)).astype(np.float32)
    smooth = cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(60 * smooth + [20, 90, 60], 0, 255)


def test_grabcut_finds_the_object_and_is_deterministic():
    colour, alpha = scene()
    picture = composite(colour, alpha, busy_background())
    first = remove_background(picture, "grabcut")
    assert iou(first[..., 3] > 127, alpha > 0.5) > 0.9
    np.testing.assert_array_equal(first, remove_background(picture, "grabcut"))
    again = remove_background(picture, Method("grabcut"), previous=first)
    assert iou(again[..., 3] > 127, alpha > 0.5) > 0.9


def test_a_picture_of_background_alone_is_all_transparent():
    assert remove_background(np.zeros((40, 50, 3), np.uint8))[..., 3].max() == 0


def test_matte_is_exact_where_colours_are_flat():
    alpha = np.repeat((0.4 * (np.arange(64) - 20.0)).clip(0, 1)[None], 40, 0)  # 0.4, 0.8, 1
    colour = np.broadcast_to([200.0, 60.0, 90.0], (40, 64, 3))
    picture = composite(colour, alpha, (0, 0, 0))
    found, straight = matte(picture, picture.max(2) > 6, np.zeros(3, np.float32), 6)
    assert np.abs(found / 255 - alpha).max() < 0.01
    assert np.abs(straight[alpha > 0.4] - colour[alpha > 0.4]).max() <= 3


def coarse(alpha, cells=40):
    """A network's mask: coverage of cells, stretched to the picture again."""
    small = cv2.resize(alpha.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA)
    return np.clip(cv2.resize(small, alpha.shape[::-1], interpolation=cv2.INTER_LINEAR), 0, 1)


def test_colours_decide_where_the_edge_of_a_coarse_mask_is_in_doubt():
    colour, alpha = scene()
    y, x = np.mgrid[:160, :160] / 160
    behind = np.stack([20 + 60 * x, 30 + 20 * y, 20 + 90 * y], -1)
    picture = np.round(colour * alpha[..., None] + behind * (1 - alpha[..., None])).astype(np.uint8)
    mask = coarse(alpha)
    found = matte_coarse(picture, mask, 6.0) / 255
    edge = (alpha > 0.05) & (alpha < 0.95)
    assert np.abs(found - alpha)[edge].mean() < 0.4 * np.abs(mask - alpha)[edge].mean()
    assert np.abs(found - alpha).mean() < 0.5 * np.abs(mask - alpha).mean()
    assert iou(found > 0.5, alpha > 0.5) > 0.98


def test_a_coarse_mask_stands_where_colours_do_not_tell():
    _, alpha = scene()
    mask = coarse(alpha)
    flat = np.full((160, 160, 3), 90, np.uint8)
    found = matte_coarse(flat, mask, 6.0) / 255
    assert iou(found > 0.5, mask > 0.5) > 0.99
    for nothing in (np.zeros_like(mask), np.ones_like(mask)):
        np.testing.assert_array_equal(matte_coarse(flat, nothing, 6.0), 255 * nothing)
