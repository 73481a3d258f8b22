"""Sheets are looked at from the front where the back looks the same."""

import math

import torch
import trimesh
from torch import Tensor

from camera_search.comparison import BACK_PENALTY, RenderComparison, sheet_normal
from camera_search.similarity import ImageAgreement
from tests.camera_search.conftest import photograph
from v2m4.camera import Orbit
from v2m4.mesh import Mesh


def sheet() -> Mesh:
    """A white rectangle that faces +z."""
    vertices = torch.tensor([[-0.5, -0.3, 0], [0.5, -0.3, 0], [0.5, 0.3, 0], [-0.5, 0.3, 0]])
    return Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), colors=torch.ones(4, 3))


def score(comparison: RenderComparison, orbit: Orbit) -> Tensor:
    return comparison.score(comparison.view_parameters.views(orbit), 64)


def test_a_sheet_has_a_normal_and_a_body_has_none() -> None:
    normal = sheet_normal(sheet())
    assert normal is not None
    assert torch.allclose(normal / normal.norm(), torch.tensor([0.0, 0, 1]))
    ball = trimesh.creation.icosphere(subdivisions=2)
    body = Mesh(torch.tensor(ball.vertices).float(), torch.tensor(ball.faces))
    assert sheet_normal(body) is None
    assert sheet_normal(Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]))) is None


def test_the_back_of_a_sheet_scores_less_than_its_front() -> None:
    front, back = (Orbit.of(yaw=yaw, pitch=0.0, radius=2.0) for yaw in (0.0, math.pi))
    comparison = RenderComparison(sheet(), photograph(sheet(), front), ImageAgreement())
    difference = float(score(comparison, front) - score(comparison, back))
    assert abs(difference - BACK_PENALTY) < 1e-3
