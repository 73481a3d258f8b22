"""The arithmetic of learned metrics: closed forms, and laws that hold for any network (here small random ones)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from evaluation.learned_metrics import (
    Backbones,
    LearnedScores,
    clip_windows,
    frame_scores,
    frechet_distance,
    mean_over_clips,
    score_clips,
    video_distance,
    window_note,
)

CPU = torch.device("cpu")


def samples(mean, covariance, count=64, seed=0):
    """Rows whose mean and covariance (N - 1) are exactly these."""
    rows = np.random.default_rng(seed).normal(size=(count, len(mean)))
    rows -= rows.mean(0)
    whitened = rows @ np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(rows, rowvar=False))).T)
    return whitened @ np.linalg.cholesky(covariance).T + mean


def covariance(size, seed):
    root = np.random.default_rng(seed).normal(size=(size, size))
    return root @ root.T + 0.1 * np.eye(size)


class RandomNetwork:
    """A small random convolution over pictures or clips, with the distances that the real metrics make of one."""

    def __init__(self, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.randn(16, 3, 5, 5, generator=generator)
        self.clip_weight = torch.randn(12, 3, 3, 5, 5, generator=generator)
        self.batches = []

    def maps(self, pictures):
        self.batches.append(len(pictures))
        return torch.relu(torch.nn.functional.conv2d(pictures * 2 - 1, self.weight, stride=2))

    def lpips(self, truth, result):
        units = [torch.nn.functional.normalize(self.maps(side), dim=1) for side in (truth, result)]
        return ((units[0] - units[1]) ** 2).sum(1).mean((1, 2))

    def clip(self, truth, result):
        return torch.cosine_similarity(self.maps(truth).flatten(1), self.maps(result).flatten(1))

    def videos(self, clips):
        return torch.relu(torch.nn.functional.conv3d(clips * 2 - 1, self.clip_weight, stride=2)).mean((2, 3, 4))

    def backbones(self, **missing):
        frames = {"lpips": self.lpips, "dreamsim": lambda a, b: 1 - self.clip(a, b), "clip": self.clip}
        return Backbones(CPU, frames, self.videos, missing)


@pytest.fixture
def video():
    """A bright disc that moves over 40 frames of 24 x 24."""
    y, x = np.mgrid[:24, :24]
    discs = [np.hypot(x - 6 - 0.3 * t, y - 12) < 5 for t in range(40)]
    return np.stack([np.where(disc[..., None], (0.2, 0.7, 0.4), 1.0) for disc in discs]).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6))
def test_distance_of_gaussians_with_commuting_covariances(seed, size):
    """Equal axes, standard deviations s and t: |m1 - m2|^2 + sum (s - t)^2."""
    generator = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(generator.normal(size=(size, size)))
    deviations = generator.uniform(0.1, 3, (2, size))
    means = generator.normal(size=(2, size))
    sides = [samples(means[i], axes * deviations[i] ** 2 @ axes.T, 20, seed + i) for i in range(2)]
    distance = frechet_distance(*sides)
    assert distance.means == pytest.approx(((means[0] - means[1]) ** 2).sum(), rel=1e-9)
    assert distance.covariances == pytest.approx(((deviations[0] - deviations[1]) ** 2).sum(), rel=1e-6, abs=1e-9)
    assert distance.value == distance.means + distance.covariances


def test_distance_agrees_with_the_matrix_root_where_that_is_exact():
    """Covariances of full rank that do not commute, other numbers of samples on the two sides."""
    first, second = covariance(7, 1), covariance(7, 2)
    expected = np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    distance = frechet_distance(samples(np.zeros(7), first, 30, 3), samples(np.zeros(7), second, 50, 4))
    assert distance.covariances == pytest.approx(expected, rel=1e-9)
    assert distance.samples == 30


def test_distance_laws():
    a, b = np.random.default_rng(0).normal(size=(2, 9, 40))  # fewer samples than features: singular covariances
    assert 0 <= frechet_distance(a, a).value < 1e-9
    assert frechet_distance(a, a[::-1]).value == pytest.approx(0, abs=1e-9)  # the order of clips is no matter
    assert frechet_distance(a, b).value == pytest.approx(frechet_distance(b, a).value, rel=1e-12)
    assert frechet_distance(a, b).covariances > 0
    shifted = frechet_distance(a, a + 3)
    assert (shifted.means, shifted.covariances) == pytest.approx((360, 0), abs=1e-8)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(40, 40)))
    assert frechet_distance(a @ rotation, b @ rotation).value == pytest.approx(frechet_distance(a, b).value)


def test_distance_of_two_samples_by_hand():
    """Covariances of rank one: Tr C = |difference|^2 / 2, Tr root = |d1 . d2| / 2."""
    a, b = np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([[1.0, -1.0], [1.0, 1.0]])
    distance = frechet_distance(a, b)
    assert (distance.means, distance.covariances) == pytest.approx((0, 2 + 2 - 2 * 0), abs=1e-12)
    assert frechet_distance(a, 2 * a - 1).covariances == pytest.approx(2 + 8 - 2 * 4)


def test_a_single_sample_has_no_covariance():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 8))
    distance = frechet_distance(a[:1], b)
    assert distance.covariances == 0
    assert distance.samples == 1
    assert distance.value == pytest.approx(((a[0] - b.mean(0)) ** 2).sum())


@pytest.mark.parametrize("shapes", [((0, 4), (2, 4)), ((2, 4), (2, 3)), ((4,), (4,))])
def test_features_must_fit(shapes):
    with pytest.raises(ValueError, match=r"expected features \(N, D\)"):
        frechet_distance(*(np.zeros(shape) for shape in shapes))


def test_padding_by_reversal():
    assert clip_windows(3, 8).tolist() == [[0, 1, 2, 1, 0, 1, 2, 1]]
    assert clip_windows(2, 5).tolist() == [[0, 1, 0, 1, 0]]
    assert clip_windows(1, 4).tolist() == [[0, 0, 0, 0]]
    assert clip_windows(20)[0, 19:].tolist() == [19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7]
    with pytest.raises(ValueError, match="without frames"):
        clip_windows(0)


@given(st.integers(1, 200), st.integers(1, 40))
def test_window_laws(frames, length):
    """Whole clips only, from the start, no frame in two; a padded clip never jumps and shows every frame."""
    windows = clip_windows(frames, length)
    assert windows.shape == (max(frames // length, 1), length)
    if frames >= length:
        assert windows.ravel().tolist() == list(range(frames // length * length))
        assert ("leave out" in window_note(frames, length)) == (frames % length > 0)
    else:
        assert set(windows[0]) == set(range(frames))
        assert (np.abs(np.diff(windows[0])) == (frames > 1)).all()
        assert "padded by reversal" in window_note(frames, length)


def test_equal_videos_have_the_best_scores(video):
    scores = score_clips(video, video, RandomNetwork().backbones())
    assert scores.clips == 1
    assert scores.lpips == 0
    assert scores.dreamsim == pytest.approx(0, abs=1e-6)
    assert scores.clip == pytest.approx(1, abs=1e-6)
    assert video_distance([scores]).value == 0
    assert video_distance([scores, scores]).value == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_metrics_get_better_as_noise_falls(video, seed):
    noise = np.random.default_rng(seed).normal(size=video.shape).astype(np.float32)
    videos = [np.concatenate([video[:32], video[8:]]), np.concatenate([video[:32], video[8:]]) ** 1.5]
    network = RandomNetwork(seed)
    found = []
    for level in (0.4, 0.2, 0.1, 0.05, 0.0):
        added = level * np.concatenate([noise[:32], noise[8:]])
        scores = [score_clips(truth, truth + added, network.backbones()) for truth in videos]
        means = [mean_over_clips(scores, metric) for metric in ("lpips", "dreamsim", "clip")]
        found.append([*means[:2], -means[2], video_distance(scores).value])
    assert (np.diff(found, axis=0) < 0).all(), found


def test_fvd_sees_time_and_frame_metrics_do_not():
    """The same frames in another order on both sides: equal per frame, but not to a network that sees motion."""
    still, network = np.random.default_rng(0).random((32, 16, 16, 3)).astype(np.float32), RandomNetwork()
    order = np.random.default_rng(1).permutation(32)
    forward, shuffled = (score_clips(still[o], still[o] ** 2, network.backbones()) for o in (np.arange(32), order))
    assert forward.lpips == pytest.approx(shuffled.lpips, abs=1e-6)
    assert np.abs(forward.truth_features - shuffled.truth_features).max() > 1e-3


def test_means_run_over_the_frames_of_all_clips(video):
    """A padded clip counts its inner frames twice or more; a frame after the last whole clip does not count."""
    network = RandomNetwork()
    result = np.clip(video + np.linspace(0, 0.5, 40, dtype=np.float32)[:, None, None, None], 0, 1)
    each = frame_scores(video, result, network.lpips, CPU)
    short = score_clips(video[:5], result[:5], network.backbones())
    assert short.lpips == pytest.approx(each[clip_windows(5)[0]].mean())
    assert short.lpips != pytest.approx(each[:5].mean())
    long = score_clips(video, result, network.backbones())
    assert long.lpips == pytest.approx(each[:32].mean())
    assert long.truth_features.shape == (1, 12)


def test_frames_are_scored_in_batches_of_any_size(video):
    network = RandomNetwork()
    scores = [frame_scores(video[:7], video[1:8], network.lpips, CPU, batch) for batch in (1, 3, 7)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)
    np.testing.assert_allclose(scores[0], scores[2], rtol=1e-5)
    assert network.batches[-2:] == [7, 7]


def test_networks_see_channels_first_and_time_second(video):
    seen = {}

    def features(clips):
        seen["clips"] = clips
        return torch.zeros(len(clips), 2)

    def metric(truth, result):
        seen["truth"], seen["result"] = truth, result
        return torch.zeros(len(truth))

    result = video[:32] / 2
    score_clips(video[:32], result, Backbones(CPU, {"lpips": metric}, features, {}))
    assert seen["clips"].shape == (1, 3, 32, 24, 24)
    assert seen["clips"][0, 1, 31, 5, 7] == result[31, 5, 7, 1]
    assert seen["truth"][2, 1, 5, 7] == video[30, 5, 7, 1]  # the last batch of four begins at frame 28
    assert seen["result"][2, 1, 5, 7] == result[30, 5, 7, 1]


def test_every_clip_weighs_the_same():
    scores = [LearnedScores(clips=3, lpips=0.2), LearnedScores(clips=1, lpips=0.6), LearnedScores(clips=9)]
    assert mean_over_clips(scores, "lpips") == pytest.approx(0.3)
    assert mean_over_clips(scores, "clip") is None
    assert video_distance(scores) is None


def test_shapes_must_agree(video):
    with pytest.raises(ValueError, match="one shape"):
        score_clips(video, video[:3], RandomNetwork().backbones())
