"""The truth in place of a stage's result: what is handed over, and how it is scored."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from evaluation.ablation import main, score
from evaluation.camera_space_truth import CameraSpaceTruth, moved_to_depth
from evaluation.surface_points import BarycentricPoints
from v2m4.camera import DEFAULT_FOV, framing
from v2m4.config import FAST
from v2m4.ground_truth import GroundTruth
from v2m4.mesh import MeshSequence


def write_truth(path, fov: float = DEFAULT_FOV, subdivisions: int = 3) -> None:
    ball = trimesh.creation.icosphere(subdivisions, 0.4)
    # No turn leaves it as it is, so that there is but one way to align it.
    ball.vertices = ball.vertices * (1.0, 0.6, 0.8) + np.outer(ball.vertices[:, 0] ** 2, (0.0, 0.6, 0.9))
    poses = np.stack([ball.vertices + np.array([0.05 * step, 0.0, 0.0]) for step in range(3)])
    camera = framing(torch.from_numpy(poses).float(), 30.0, 8.0, 0.8)
    GroundTruth.of(poses, ball.faces, np.clip(ball.vertices + 0.5, 0, 1), camera, fov, 24.0).save(path)


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> CameraSpaceTruth:
    path = tmp_path_factory.mktemp("truth") / "ball.npz"
    write_truth(path)
    return CameraSpaceTruth.load(path)


@pytest.mark.parametrize("max_faces", [10000, 400])
def test_decimated_mesh_is_the_true_surface_in_another_order(truth, max_faces) -> None:
    config = replace(FAST, max_faces=max_faces)
    mesh, surface_points = truth.decimated_mesh(1, config)
    other, _ = truth.decimated_mesh(2, config)
    assert len(mesh.faces) <= max_faces
    true = truth.sequence.vertices.double().numpy()
    distances = np.linalg.norm(surface_points.interpolate(true)[1] - mesh.vertices.numpy(), axis=1)
    assert distances.max() < (1e-6 if max_faces == 10000 else 0.02)  # reduced, vertices leave the surface a little
    assert not np.allclose(mesh.vertices[:50] - mesh.vertices[0], other.vertices[:50] - other.vertices[0])
    solid = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy())
    assert solid.is_watertight
    assert solid.volume > 0.9 * 0.6 * 0.8 * 4 / 3 * math.pi * 0.4**3


def test_posed_mesh_overlays_the_truth_through_its_camera(truth) -> None:
    posed = truth.posed(0, FAST)
    assert torch.allclose(posed.mesh.vertices.mean(0), truth.sequence[0].vertices.mean(0), atol=1e-5)
    assert float(posed.mesh.vertices[:, 2].min()) > 0
    assert posed.scale == 1.0


def test_another_depth_leaves_the_picture(truth) -> None:
    posed = truth.posed(0, FAST)
    farther = moved_to_depth(posed, 2 * truth.depth(0))
    before, after = (vertices[:, :2] / vertices[:, 2:] for vertices in (posed.mesh.vertices, farther.mesh.vertices))
    assert torch.allclose(before, after, atol=1e-5)
    assert farther.scale == pytest.approx(2 * posed.scale, rel=1e-3)


def points_at_vertices(sequence: MeshSequence) -> BarycentricPoints:
    every = np.arange(sequence.vertices.shape[1])[:, None]
    return BarycentricPoints(every, np.ones(every.shape))


def test_the_truth_scores_best_and_a_shift_by_its_length(truth) -> None:
    known, points = truth.sequence, 20_000
    same = score(known, known, points_at_vertices(known), points)
    assert same.trajectory == pytest.approx(0, abs=1e-6)
    assert same.cd_direct < 0.03
    assert same.f_score_direct > 0.85
    size = float((known.vertices[0].amax(0) - known.vertices[0].amin(0)).max())
    shift = torch.tensor([0.0, 0.05 * size, 0.0])
    moved = score(replace(known, vertices=known.vertices + shift), known, points_at_vertices(known), points)
    assert moved.trajectory == pytest.approx(5.0, rel=1e-3)
    assert moved.cd_direct > same.cd_direct + 0.02
    assert moved.cd == pytest.approx(same.cd, abs=0.01)  # motion80 aligns the first frame


def test_no_trajectory_where_the_topology_is_another(truth) -> None:
    assert score(truth.sequence, truth.sequence, None, 500).trajectory is None


def test_bad_usage_is_told_in_one_line(tmp_path, caplog) -> None:
    line = ["--truth", str(tmp_path / "none.npz"), "--frames", str(tmp_path), "--given", "poses", "--output", "x"]
    assert main(line) == 2
    assert main([*line, "--motion", "video"]) == 2
    assert "--given poses: --motion video goes with --given first_mesh only" in caplog.text
    with pytest.raises(SystemExit) as stop:
        main([*line, "--given", "everything"])
    assert stop.value.code == 2
