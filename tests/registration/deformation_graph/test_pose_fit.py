import numpy as np
import pytest
import torch

from registration.deformation_graph.graph import DeformationGraph
from registration.deformation_graph.pose_fit import poses_of_vertices
from tests.v2m4.render.scenes import sphere
from v2m4.rotation import rotation_exp


@pytest.fixture
def graph() -> DeformationGraph:
    vertices, faces = sphere(3)
    return DeformationGraph.of(vertices, faces, 30)


def test_a_rigid_motion_is_given_back(graph: DeformationGraph) -> None:
    rotation = rotation_exp(np.array([[0.4, -1.1, 0.3]]))[0]
    moved = graph.rest @ rotation.T + [0.5, -0.2, 2.0]
    poses = poses_of_vertices(graph, np.stack([graph.rest, moved]))
    assert len(poses) == 2
    np.testing.assert_allclose(poses.rotations[0], np.broadcast_to(np.eye(3), (len(graph), 3, 3)), atol=1e-9)
    np.testing.assert_allclose(poses.rotations[1], np.broadcast_to(rotation, (len(graph), 3, 3)), atol=1e-9)
    np.testing.assert_allclose(graph.deform(poses), [graph.rest, moved], atol=1e-9)


def test_a_bend_is_followed_within_the_graphs_resolution(graph: DeformationGraph) -> None:
    angles = 0.8 * graph.rest[:, 0]  # about z, more on the right
    vectors = np.stack([np.zeros_like(angles), np.zeros_like(angles), angles], 1)
    bent = (rotation_exp(vectors) @ graph.rest[..., None])[..., 0]
    poses = poses_of_vertices(graph, bent[None])
    before = np.linalg.norm(graph.rest - bent, axis=1).mean()
    after = np.linalg.norm(graph.deform(poses)[0] - bent, axis=1).mean()
    assert after < 0.15 * before


def test_other_vertices_are_an_error(graph: DeformationGraph) -> None:
    with pytest.raises(ValueError, match="vertices"):
        poses_of_vertices(graph, torch.zeros(1, 5, 3).numpy())
