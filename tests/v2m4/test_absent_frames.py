"""Poses of frames that do not show the object, and times of variable rates, up to the exported files."""

import numpy as np
import pytest
import torch

from v2m4.absent_frames import Timeline, poses_for_export
from v2m4.frame import AbsentFrame, Clip, Frame
from v2m4.mesh import Mesh, MeshSequence

FACES = torch.tensor([[0, 1, 2]])


def clip_of(times, absent=()):
    frames = [Frame(f"{index}", index, np.zeros((4, 4, 4), np.uint8)) for index in range(len(times))]
    return Clip("c", frames, 10.0, "x", "alpha", tuple(times), tuple(AbsentFrame(f"a{time}", time) for time in absent))


def sequence_of(values, times):
    """A triangle whose first corner's x is given at each time."""
    vertices = torch.zeros(len(values), 3, 3)
    vertices[:, 1, 0] = vertices[:, 2, 1] = 1
    vertices[:, 0, 0] = torch.tensor(values, dtype=torch.float32)
    return MeshSequence(vertices, Mesh(vertices[0], FACES), np.asarray(times, np.float64))


def x_of(sequence):
    return sequence.vertices[:, 0, 0].numpy()


def test_uniform_clips_are_exported_as_they_are():
    clip, sequence = clip_of(np.arange(5) / 10), sequence_of([0, 2, 4], [0, 2, 4])
    assert poses_for_export(sequence, clip) is sequence
    timeline = Timeline.of(clip)
    np.testing.assert_array_equal(timeline.times, np.arange(5) / 10)
    np.testing.assert_array_equal(timeline.positions, np.arange(5))


def test_a_constant_motion_goes_on_through_a_gap():
    clip = clip_of([0.2, 0.3, 0.7, 0.8], absent=[0.4, 0.5, 0.6])
    sequence = sequence_of([2, 3, 7, 8], range(4))
    timeline = Timeline.of(clip)
    assert timeline.names == ["0", "1", "a0.4", "a0.5", "a0.6", "2", "3"]
    np.testing.assert_allclose(timeline.times, np.arange(2, 9) / 10)
    result = poses_for_export(sequence, clip)
    np.testing.assert_allclose(result.times, timeline.positions)
    np.testing.assert_allclose(x_of(result), np.arange(2, 9), atol=1e-5)


def test_the_motion_in_a_gap_is_smooth_and_does_not_overshoot():
    clip = clip_of([0, 0.1, 0.5, 0.6], absent=[0.2, 0.3, 0.4])
    x = x_of(poses_for_export(sequence_of([0, 2, 3, 3], range(4)), clip))
    assert (np.diff(x) >= -1e-6).all()
    assert x.max() <= 3 + 1e-6
    assert x[2] - x[1] > 0.3  # faster at first, as before the gap; linear motion would give 0.25


def test_key_frames_of_a_sparse_sequence_stay():
    clip = clip_of([0, 0.1, 0.2, 0.4, 0.5], absent=[0.3])
    result = poses_for_export(sequence_of([0, 4], [0, 4]), clip)
    assert len(result) == 6
    np.testing.assert_allclose(result.times, [0, 1, 2, 2.5, 3, 4])
    np.testing.assert_allclose(x_of(result), [0, 1, 2, 2.5, 3, 4], atol=1e-5)


def test_variable_rates_have_a_pose_for_every_frame():
    clip = clip_of([0, 0.1, 0.5, 0.6])
    assert not clip.is_uniform
    result = poses_for_export(sequence_of([0, 3], [0, 3]), clip)
    np.testing.assert_allclose(result.times, np.arange(4))
    np.testing.assert_allclose(x_of(result), np.arange(4), atol=1e-5)


def test_one_frame_is_uniform():
    assert clip_of([0.4]).is_uniform
    assert Timeline.of(clip_of([0.4])).times.tolist() == [0.4]


def test_times_must_be_those_of_the_frames():
    with pytest.raises(ValueError, match="2 for 1 frames"):
        Clip("c", [Frame("0", 0, np.zeros((4, 4, 4), np.uint8))], 10.0, "x", "alpha", (0.0, 1.0))
