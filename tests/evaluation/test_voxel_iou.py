"""Voxel IoU against closed forms."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from evaluation.geometry_metrics import Alignment
from evaluation.voxel_iou import open_edges, solid_voxels, voxel_iou
from tests.evaluation.shapes import box, figure, joined, moved, sphere
from v2m4.mesh import Mesh

UNMOVED = Alignment(np.eye(4), np.eye(4))


def volume(mesh: Mesh, count: int = 64) -> float:
    pitch = 4 / count
    shape = (count, count, count)
    full = solid_voxels(mesh.vertices.double().numpy(), mesh.faces.numpy(), np.full(3, -2.0), pitch, shape)
    return float(full.sum() * pitch**3)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (31, 17, 8)])
def test_volumes_of_boxes(degrees) -> None:
    turned = moved([box((1.0, 2.0, 0.7))], Rotation.from_euler("xyz", degrees, degrees=True).as_matrix())[0]
    assert volume(turned) == pytest.approx(1.4, rel=0.08)


def test_volume_of_a_ball() -> None:
    assert volume(sphere(1.3)) == pytest.approx(4 / 3 * np.pi * 1.3**3, rel=0.01)


def test_overlapping_parts_count_as_their_union() -> None:
    cross = joined(box((2.0, 0.5, 0.5)), box((0.5, 2.0, 0.5)))
    assert volume(cross) == pytest.approx(0.875, rel=0.05)


def test_a_cavity_stays_empty() -> None:
    hole = box((1.0, 1.0, 1.0))
    shell = joined(box((2.0, 2.0, 2.0)), Mesh(hole.vertices, hole.faces.flip(1)))
    assert volume(shell) == pytest.approx(7.0, rel=0.03)


def test_a_missing_face_hardly_matters_and_is_told() -> None:
    whole = box((1.0, 2.0, 0.7))
    lidless = Mesh(whole.vertices, whole.faces[2:])
    assert (open_edges(whole), open_edges(lidless)) == (0, 4)
    assert volume(lidless) == pytest.approx(1.4, rel=0.08)
    scores = voxel_iou([whole], [lidless], alignment=UNMOVED)
    assert (scores.truth_closed, scores.prediction_closed) == (True, False)


def test_seams_of_split_vertices_are_closed() -> None:
    whole = box()
    split = Mesh(whole.vertices[whole.faces].reshape(-1, 3), torch.arange(36).reshape(12, 3))
    assert open_edges(split) == 0


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.8, 1.5])
def test_iou_of_shifted_boxes(shift: float) -> None:
    overlap = max(1 - shift, 0)
    scores = voxel_iou([box()], [box(centre=(0.0, shift, 0.0))], 128, alignment=Alignment(np.eye(4) * 2, np.eye(4) * 2))
    assert scores.iou == pytest.approx(overlap / (2 - overlap), abs=0.02)


def test_iou_of_balls_one_in_the_other() -> None:
    assert voxel_iou([sphere(1.0)], [sphere(0.8)], alignment=UNMOVED).iou == pytest.approx(0.8**3, abs=0.01)


def test_aligned_sequences_overlap_and_moving_ones_less() -> None:
    frames = [figure(turn) for turn in (0.0, 40.0)]
    turned = moved(frames, 3 * Rotation.from_euler("y", 100, degrees=True).as_matrix(), (1.0, 0.0, 0.0))
    assert voxel_iou(frames, turned, 48).iou > 0.9
    still = voxel_iou(frames, [frames[0]] * 2, 48).per_frame_iou
    assert still[0] > 0.9 > still[1]


def test_clouds_of_points_are_refused() -> None:
    cloud = Mesh(torch.rand(50, 3), torch.zeros(0, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="needs faces"):
        voxel_iou([box()], [cloud], alignment=UNMOVED)
