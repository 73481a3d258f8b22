import numpy as np
import pytest
import torch

from motion324.clips import generated_clip
from motion324.samples import Sample, SampleConfig, random_sample, surface_points
from motion324.view_frame import CUBE

CONFIG = SampleConfig(size=48, points=300)


def sample_of(seed: int, config: SampleConfig = CONFIG) -> Sample:
    rng = np.random.default_rng(seed)
    sample = None
    while sample is None:
        sample = random_sample(generated_clip(4, rng), config, rng)
    return sample


@pytest.mark.parametrize("seed", range(4))
def test_points_project_onto_the_object_in_every_frame(seed: int) -> None:
    sample = sample_of(seed)
    assert sample.frames.shape == (4, 48, 48, 4)
    assert sample.points.shape == (4, 300, 3)
    for frame, points in zip(sample.frames, sample.points.astype(np.float32), strict=True):
        places = np.floor((points[:, :2] * [CUBE, -CUBE] + 0.5) * 48).astype(int)
        inside = (places >= 1).all(1) & (places < 47).all(1)
        column, row = places[inside].T
        near = np.stack([frame[row + y, column + x, 3] for x in (-1, 0, 1) for y in (-1, 0, 1)])
        assert (near.max(0) > 0).mean() > 0.8  # but for perspective and the camera's error


def test_the_reference_fills_the_unit_cube_and_normals_have_length_one() -> None:
    sample = sample_of(5)
    assert 0.4 < np.abs(sample.points[0]).max() <= 0.51
    np.testing.assert_allclose(np.linalg.norm(sample.normals.astype(np.float32), axis=1), 1, atol=5e-3)


def test_in_the_objects_axes_the_points_do_not_depend_on_the_camera() -> None:
    clip = generated_clip(3, np.random.default_rng(3))
    spans = []
    for seed in range(3):
        sample = random_sample(clip, SampleConfig(32, 4000, camera_axes=False), np.random.default_rng(seed))
        assert sample is not None
        spans.append(np.ptp(sample.points[0].astype(np.float32), axis=0))
    spans = np.array(spans)
    assert np.abs(np.log(spans / spans[0])).max() < 0.7  # but for the random stretches
    assert (spans.max(1) > 0.95).all()


def test_surface_points_are_spread_by_area() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [3, 0, 0], [0, 3, 0]])
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]])
    chosen, weights = surface_points(vertices, faces, 20000, np.random.default_rng(0))
    assert float((chosen == 1).float().mean()) == pytest.approx(0.9, abs=0.01)
    torch.testing.assert_close(weights.sum(1), torch.ones(20000))
    torch.testing.assert_close(weights.mean(0), torch.full((3,), 1 / 3), atol=0.01, rtol=0)
