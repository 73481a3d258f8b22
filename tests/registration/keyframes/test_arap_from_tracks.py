import numpy as np
import pytest
import torch

from registration.elasticity.arap import Arap, shape_graph
from registration.keyframes.arap_from_tracks import ArapFromTracks
from tests.registration.shapes import bent
from v2m4.camera import Camera, image_fractions
from v2m4.geometry import unique_edges, vertex_normals

CAMERA = Camera.identity()
AWAY = torch.tensor([0.0, 0.0, 3.0])


@pytest.fixture(scope="module")
def body(capsule):
    vertices, faces = capsule
    return vertices + AWAY, Arap(shape_graph(vertices, faces, 0.5))


def deformed(body, goal: torch.Tensor, index: np.ndarray, **options) -> torch.Tensor:
    targets = image_fractions(CAMERA, goal[index]).double().numpy()
    return ArapFromTracks(body[1], CAMERA)(body[0], index, targets, np.ones(len(index)), **options)


def test_few_targets_translate_the_whole_body(body) -> None:
    goal = body[0] + torch.tensor([0.3, -0.2, 0.0])
    index = np.arange(0, len(goal), 40)
    assert (deformed(body, goal, index) - goal).abs().max() < 0.01


def test_targets_on_the_visible_side_bend_the_hidden_side(body) -> None:
    vertices, arap = body
    goal = bent(vertices - AWAY, 0.8) + AWAY
    front = np.flatnonzero((vertices[:, 2] < 2.95).numpy())
    result = deformed(body, goal, front, iterations=60)
    assert (result - goal).norm(dim=1).mean() < 0.015
    assert arap.evaluate(result)[0] < 0.01


def test_targets_of_confidence_0_and_no_targets_change_nothing(body) -> None:
    vertices, arap = body
    index = np.arange(10)
    far = np.full((10, 2), 0.9)
    unchanged = ArapFromTracks(arap, CAMERA)(vertices, index, far, np.zeros(10))
    assert torch.allclose(unchanged, vertices, atol=1e-4)
    none = ArapFromTracks(arap, CAMERA)(vertices, index[:0], far[:0], np.zeros(0))
    assert torch.equal(none, vertices)


def test_depths_of_a_ball_squashed_in_the_picture_change_smoothly(sphere) -> None:
    rest, faces = sphere
    squashed = rest * torch.tensor([1.0, 0.5, 1.0])
    front = np.flatnonzero((rest[:, 2] < -0.1).numpy())
    result = deformed((rest + AWAY, Arap(shape_graph(rest, faces, 0.5))), squashed + AWAY, front)
    cosine = (vertex_normals(result, faces) * vertex_normals(squashed, faces)).sum(1)[front]
    assert cosine.min() > 0.9
    change = (result - rest)[:, 2][unique_edges(faces)]
    assert (change[:, 0] - change[:, 1]).abs().mean() < 1e-3
