"""Deformation gradients of surfaces, against maps whose gradient is known."""

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from v2m4.deformation import SurfaceGradients, turned_normals

BALL = trimesh.creation.icosphere(3)


def test_nothing_changes_where_nothing_moves() -> None:
    assert not SurfaceGradients(BALL.vertices, BALL.faces).changes(BALL.vertices).any()


def test_a_rigid_motion_has_its_rotation_everywhere() -> None:
    turn = Rotation.random(random_state=1).as_matrix()
    gradients = SurfaceGradients(BALL.vertices, BALL.faces).changes(BALL.vertices @ turn.T + 3) + np.eye(3)
    assert np.allclose(gradients, turn, atol=1e-10)
    normals = turned_normals(gradients - np.eye(3), BALL.vertex_normals)
    assert np.allclose(normals, BALL.vertex_normals @ turn.T)


def test_a_stretched_plane_has_its_stretch_and_keeps_its_thickness() -> None:
    sheet = trimesh.creation.box((1, 1, 0)).subdivide()
    top = sheet.faces[sheet.face_normals[:, 2] > 0.5]
    stretch = np.array([[2.0, 0.5, 0], [0, 3.0, 0], [0, 0, 1]])
    gradients = SurfaceGradients(sheet.vertices, top)
    changed = gradients.changes(sheet.vertices @ stretch.T)[np.unique(top)]
    assert np.allclose(changed + np.eye(3), stretch)


def test_normals_of_an_ellipsoid() -> None:
    """A ball scaled along its axes: the normals are those of the quadric."""
    scale = np.array([1.0, 2.0, 0.5])
    ball = trimesh.creation.icosphere(5)
    changes = SurfaceGradients(ball.vertices, ball.faces).changes(ball.vertices * scale)
    normals = turned_normals(changes, np.asarray(ball.vertices))
    expected = ball.vertices / scale
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert (normals * expected).sum(1).min() > np.cos(np.deg2rad(1))


def test_faces_without_an_area_say_nothing() -> None:
    faces = np.concatenate([BALL.faces, [[0, 0, 1], [2, 2, 2]]])
    vertices = np.concatenate([BALL.vertices, [[9.0, 9, 9]]])
    turn = Rotation.random(random_state=2).as_matrix()
    changes = SurfaceGradients(vertices, faces).changes(vertices @ turn.T)
    assert np.allclose(changes[:-1] + np.eye(3), turn, atol=1e-10)
    assert not changes[-1].any()
