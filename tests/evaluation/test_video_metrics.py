"""Metrics: their values where these can be worked out by hand, and against another implementation."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from evaluation.video_metrics import BEST_PSNR, flicker, mask_iou, mask_on_white, psnr, score_video, ssim


@pytest.fixture
def video():
    return np.random.default_rng(0).random((4, 48, 40, 3)).astype(np.float32)


@pytest.mark.parametrize("offset", [0.1, 0.01])
def test_psnr_of_a_constant_error(video, offset):
    np.testing.assert_allclose(psnr(video, video + np.float32(offset)), -20 * np.log10(offset), atol=1e-3)


def test_equal_videos_have_the_best_scores(video):
    mask = video[..., 0] > 0.5
    scores = score_video(video, video, mask, mask)
    assert (scores.psnr, scores.iou, scores.flicker) == (BEST_PSNR, 1.0, 0.0)
    assert scores.ssim == pytest.approx(1)


def test_ssim_agrees_with_scikit_image(video):
    noisy = np.clip(video + np.random.default_rng(1).normal(0, 0.1, video.shape), 0, 1)
    options = {"channel_axis": 2, "data_range": 1.0, "gaussian_weights": True, "use_sample_covariance": False}
    other = [structural_similarity(a, b, sigma=1.5, **options) for a, b in zip(video.astype(float), noisy, strict=True)]
    np.testing.assert_allclose(ssim(video, noisy), other, atol=1e-9)


def test_iou_counts_pixels():
    truth, result = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    truth[0, :2] = True
    result[0, 1:3] = True
    np.testing.assert_allclose(mask_iou(truth, result), [1 / 3, 1.0])


def test_flicker_is_blind_to_a_constant_error_and_sees_an_alternating_one(video):
    assert flicker(video, video + np.float32(0.2)) == pytest.approx(0, abs=1e-6)
    alternating = video + np.float32(0.1) * np.array([0, 1, 0, 1], np.float32)[:, None, None, None]
    assert flicker(video, alternating) == pytest.approx(0.1, abs=1e-6)
    assert flicker(video[:1], video[:1]) == 0


def test_flicker_of_a_still_result_is_the_true_change():
    truth = np.stack([np.full((4, 4, 3), value, np.float32) for value in (0.1, 0.3, 0.6)])
    assert flicker(truth, truth * 0) == pytest.approx(0.25)


def test_foreground_on_white():
    levels = np.array([0, 234, 235, 255], np.float32) / 255
    picture = np.ones((1, 1, 4, 3), np.float32)
    picture[0, 0, :, 1] = levels
    assert mask_on_white(picture).tolist() == [[[True, True, False, False]]]


def test_shapes_must_agree(video):
    with pytest.raises(ValueError, match=r"\(4, 48, 40, 3\), \(3, 48, 40, 3\)"):
        psnr(video, video[:3])
    with pytest.raises(ValueError, match="with a frame"):
        flicker(video[:0], video[:0])
