"""Laws of the geometry metrics: zero where sides are equal, blind to what is aligned away and to nothing else."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from evaluation import geometry_metrics
from evaluation.geometry_metrics import motion80_code
from evaluation.surface_points import Distances, bounding_box, sample_positions, sample_surface
from tests.evaluation.shapes import box, figure, moved
from v2m4.mesh import Mesh

SAMPLES = 3000
motion80 = partial(geometry_metrics.motion80, icp_points=1000)


def plane(height: float = 0.0) -> np.ndarray:
    """A grid of points in the plane y = height."""
    x, z = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41))
    return np.stack([x.ravel(), np.full(x.size, height), z.ravel()], 1)


FRAMES = [figure(turn) for turn in (0.0, 20.0, 40.0)]


def test_samples_lie_on_the_surface_evenly() -> None:
    mesh = box((1.0, 2.0, 4.0))
    points = sample_positions(mesh, 28_000, np.random.default_rng(0))
    on_side = np.isclose(np.abs(points), np.array([0.5, 1.0, 2.0]))
    assert on_side.any(1).all()
    shares = on_side.mean(0)
    assert np.allclose(shares, np.array([8, 4, 2]) / 14, atol=0.01)


def test_drawn_points_follow_the_mesh() -> None:
    mesh = figure()
    places = sample_surface(mesh, 100, np.random.default_rng(0))
    linear = np.array([[1.0, 0.3, 0.0], [0.0, 2.0, 0.1], [0.2, 0.0, 0.5]])
    vertices = mesh.vertices.double().numpy()
    assert np.allclose(places.interpolate(vertices @ linear.T), places.interpolate(vertices) @ linear.T)
    both = places.interpolate(np.stack([vertices, 2 * vertices]))
    assert np.allclose(both[1], 2 * both[0])


def test_a_cloud_of_points_gives_its_points() -> None:
    cloud = Mesh(torch.rand(50, 3), torch.zeros(0, 3, dtype=torch.int64))
    points = sample_positions(cloud, 20, np.random.default_rng(0))
    assert len(np.unique(points, axis=0)) == 20
    everything = sample_positions(cloud, 80, np.random.default_rng(0))
    assert np.array_equal(np.sort(everything, 0), np.sort(cloud.vertices.double().numpy(), 0))


def test_equal_points_are_at_no_distance() -> None:
    points = np.random.default_rng(0).normal(size=(500, 3))
    distances = Distances.between(points, points)
    assert distances.chamfer() == 0
    assert distances.f_score(1e-12) == 1


@pytest.mark.parametrize("shift", [0.0, 0.013, 0.3])
def test_chamfer_of_a_shifted_plane_is_twice_the_shift(shift: float) -> None:
    assert Distances.between(plane(), plane(shift)).chamfer() == pytest.approx(2 * shift, abs=1e-12)


def test_chamfer_of_concentric_spheres_is_twice_the_gap() -> None:
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(20_000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert Distances.between(directions, 1.5 * directions).chamfer() == pytest.approx(1.0, rel=1e-3)


def test_f_score_of_a_shifted_plane_falls_from_1_to_0_at_the_threshold() -> None:
    assert Distances.between(plane(), plane(0.0199)).f_score(0.02) == 1
    assert Distances.between(plane(), plane(0.0201)).f_score(0.02) == 0


def test_f_score_is_the_harmonic_mean_of_precision_and_recall() -> None:
    half = plane()[plane()[:, 0] < -1e-9]  # all of it is right, and 20 of the truth's 41 columns are there
    recall = 20 / 41
    assert Distances.between(plane(), half).f_score(0.02) == pytest.approx(2 * recall / (1 + recall))


@pytest.mark.parametrize("protocol", [motion80, motion80_code])
def test_motion80_of_identical_sequences_is_the_sampling_floor(protocol) -> None:
    same = protocol(FRAMES, FRAMES, SAMPLES)
    # Mean distance to the nearest of n random points per unit of area is 1 / (2 sqrt(n)); area in the cube of side 2.
    area = 0.5 * np.linalg.norm(
        np.cross(*(np.diff(FRAMES[0].vertices.double().numpy()[FRAMES[0].faces], axis=1).transpose(1, 0, 2))), axis=1
    )
    side = bounding_box(FRAMES[0].vertices.double().numpy())[1]
    floor = 2 * 0.5 * np.sqrt(area.sum() * (2 / side) ** 2 / SAMPLES)
    assert same.cd == pytest.approx(floor, rel=0.1)
    assert same.per_frame_cd.shape == same.per_frame_f.shape == (3,)
    assert protocol(FRAMES, FRAMES, 4 * SAMPLES).cd == pytest.approx(same.cd / 2, rel=0.1)


def test_motion80_does_not_see_a_similarity_of_the_prediction() -> None:
    turned = moved(FRAMES, 3.0 * Rotation.from_euler("yx", [100, 15], degrees=True).as_matrix(), (5.0, -1.0, 2.0))
    plain, aligned = motion80(FRAMES, FRAMES, SAMPLES), motion80(FRAMES, turned, SAMPLES)
    assert aligned.cd == pytest.approx(plain.cd, rel=0.03)
    assert aligned.f_score == pytest.approx(plain.f_score, abs=0.02)


def test_motion80_is_in_units_of_the_truth_whatever_its_size() -> None:
    stretched = moved(FRAMES, np.diag([1.0, 1.3, 1.0]))
    plain = motion80(FRAMES, stretched, SAMPLES)
    large = motion80(moved(FRAMES, 10 * np.eye(3), (7.0, 0.0, 0.0)), stretched, SAMPLES)
    assert large.cd == pytest.approx(plain.cd, rel=0.02)


def test_motion80_sees_stretching_and_motion() -> None:
    floor = motion80(FRAMES, FRAMES, SAMPLES).cd
    assert motion80(FRAMES, moved(FRAMES, np.diag([1.0, 1.5, 1.0])), SAMPLES).cd > 2 * floor
    still = motion80(FRAMES, [FRAMES[0]] * 3, SAMPLES)
    assert still.per_frame_cd[0] == pytest.approx(floor, rel=0.1)
    assert still.per_frame_cd[2] > still.per_frame_cd[1] > 1.3 * floor
    drifting = [moved([frame], np.eye(3), (0.3 * index, 0.0, 0.0))[0] for index, frame in enumerate(FRAMES)]
    assert motion80(FRAMES, drifting, SAMPLES).per_frame_cd[2] > 5 * floor  # the alignment is of the first frame alone


def test_motion80_transforms_bring_both_sides_together() -> None:
    turned = moved(FRAMES, 0.4 * Rotation.from_euler("y", 60, degrees=True).as_matrix(), (1.0, 0.0, 0.0))
    scores = motion80(FRAMES, turned, SAMPLES)

    def mapped(matrix: np.ndarray, mesh: Mesh) -> np.ndarray:
        return mesh.vertices.double().numpy() @ matrix[:3, :3].T + matrix[:3, 3]

    truth = mapped(scores.truth_transform, FRAMES[2])
    assert np.abs(truth - mapped(scores.prediction_transform, turned[2])).max() < 0.02
    assert np.abs(mapped(scores.truth_transform, FRAMES[0])).max() == pytest.approx(1.0)


@pytest.mark.parametrize("protocol", [motion80, motion80_code])
def test_motion80_follows_from_the_seed(protocol) -> None:
    first, again, other = (protocol(FRAMES, moved(FRAMES, 2 * np.eye(3)), 500, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.per_frame_cd, again.per_frame_cd)
    assert not np.array_equal(first.per_frame_cd, other.per_frame_cd)


@pytest.mark.parametrize("protocol", [motion80, motion80_code])
def test_sides_must_have_as_many_frames(protocol) -> None:
    with pytest.raises(ValueError, match="3 true and 2 predicted frames"):
        protocol(FRAMES, FRAMES[:2])


def test_a_mesh_without_area_is_refused() -> None:
    flat = box((1.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="no area"):
        motion80([flat], [flat], 10)
