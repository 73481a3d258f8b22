import pytest
import torch

from registration.keyframes.energy import Chamfer, NormalMaps
from registration.keyframes.rigid_fit import fit_rigid, half_turn, principal_axes
from tests.registration.shapes import bent
from v2m4.mesh import Mesh


@pytest.fixture(scope="module")
def hook(capsule):
    """A body without symmetry: bent, and thicker at one end."""
    vertices, faces = capsule
    thick = vertices * (1 + 0.8 * vertices[:, 1:2]) * torch.tensor([1.0, 1.0, 0.6])
    return bent(thick, 1.2), faces


def terms(faces, target) -> list:
    return [
        Chamfer(10.0, faces, target, 1.0, torch.Generator().manual_seed(0), count=800),
        NormalMaps(0.1, faces, target, views=2, size=48),
    ]


def turned(vertices: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    centre = (vertices.amin(0) + vertices.amax(0)) / 2
    return (vertices - centre) @ rotation.T + centre


def test_half_turn_is_a_rotation_by_180_degrees_about_its_axis() -> None:
    axis = torch.nn.functional.normalize(torch.tensor([1.0, 2.0, -0.5]), dim=0)
    rotation = half_turn(axis)
    assert torch.linalg.det(rotation) == pytest.approx(1.0, abs=1e-5)
    assert torch.allclose(rotation @ axis, axis, atol=1e-6)
    assert torch.allclose(rotation @ rotation, torch.eye(3), atol=1e-6)


def test_principal_axes_are_orthonormal_longest_first(capsule) -> None:
    axes = principal_axes(capsule[0])
    assert torch.allclose(axes @ axes.T, torch.eye(3), atol=1e-5)
    assert axes[0, 1].abs() > 0.99


@pytest.mark.parametrize("axis", range(3))
def test_half_turns_about_every_principal_axis_are_recovered(hook, axis) -> None:
    vertices, faces = hook
    goal = turned(vertices, half_turn(principal_axes(vertices)[axis]))
    found = fit_rigid(vertices, terms(faces, Mesh(goal, faces)), 60, torch.Generator().manual_seed(0))
    assert found.half_turn == axis
    assert (found(vertices) - goal).norm(dim=1).mean() < 0.02


def test_without_half_turns_none_is_taken(hook) -> None:
    vertices, faces = hook
    goal = turned(vertices, half_turn(principal_axes(vertices)[1]))
    found = fit_rigid(vertices, terms(faces, Mesh(goal, faces)), 60, torch.Generator().manual_seed(0), half_turns=False)
    assert found.half_turn == -1
    assert (found(vertices) - goal).norm(dim=1).mean() > 0.05


def test_small_motion_and_anisotropic_scale_are_recovered_from_the_plain_start(hook) -> None:
    vertices, faces = hook
    angle = torch.tensor(0.25)
    rotation = torch.eye(3)
    rotation[:2, :2] = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    goal = turned(vertices * torch.tensor([1.1, 0.95, 1.05]), rotation) + torch.tensor([0.1, -0.05, 0.08])
    generator = torch.Generator().manual_seed(0)
    found = fit_rigid(vertices, terms(faces, Mesh(goal, faces)), 150, generator, scale_prior=0.0)
    assert found.half_turn == -1
    assert torch.linalg.det(found.rotation) == pytest.approx(1.0, abs=1e-4)
    assert (found(vertices) - goal).norm(dim=1).mean() < 0.015
