"""Normal constraints from shading: a known rotation is recovered, and the solver's gradient is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from registration.correspondences.appearance_model import AppearanceModel
from registration.correspondences.constraints import Constraints, NormalConstraints
from registration.correspondences.photometric_flow import AppearanceFlow
from registration.correspondences.shading import _log_brightness_gradient, shading_constraints
from registration.correspondences.tuning import TUNING
from registration.deformation_graph.articulation import Articulation
from registration.deformation_graph.gauss_newton import Intrinsics, Problem, SolverWeights
from registration.deformation_graph.graph import DeformationGraph
from registration.deformation_graph.kernels import apply_increment
from tests.registration.moving_shapes import AWAY
from tests.registration.shapes import photographed
from v2m4.camera import Camera
from v2m4.geometry import vertex_normals
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh
from v2m4.spherical_harmonics import spherical_harmonics
from v2m4.surface_points import SurfacePoints

CAMERA = Camera.identity()


def lit(vertices: Tensor, faces: Tensor) -> Mesh:
    """Grey, lit from the left and from above."""
    normals = vertex_normals(vertices, faces)
    shade = 0.5 - 0.3 * normals[:, :1] - 0.15 * normals[:, 1:2]
    return Mesh(vertices, faces, colors=shade.expand(-1, 3).contiguous())


def rotated(vertices: Tensor, angle: float) -> Tensor:
    """Vertices rotated about the viewing ray through the middle: as many normals brighten as darken."""
    sin, cos = np.sin(angle), np.cos(angle)
    matrix = torch.tensor([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=vertices.dtype)
    return (vertices - AWAY) @ matrix.T + AWAY


def test_log_brightness_gradient_matches_finite_differences() -> None:
    generator = torch.manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(6, 3, generator=generator, dtype=torch.float64), dim=1)
    lighting, color = (
        torch.randn(9, 3, generator=generator).double() * 0.1,
        torch.rand(6, 3, generator=generator).double(),
    )
    lighting[0] = 1.0
    shares = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)

    def brightness(at: Tensor) -> Tensor:
        return torch.log((color * (spherical_harmonics(at) @ lighting) * shares).sum(1) + TUNING.brightness_offset)

    steps = 1e-4 * torch.eye(3, dtype=torch.float64)
    numeric = torch.stack([(brightness(normals + s) - brightness(normals - s)) / 2e-4 for s in steps], 1)
    gradient = _log_brightness_gradient(
        normals.float(), lighting.float(), color * (spherical_harmonics(normals) @ lighting)
    )
    assert torch.allclose(gradient.double(), numeric, atol=1e-4)


def test_constraints_recover_the_rotation_of_normals(capsule: tuple[Tensor, Tensor]) -> None:
    """A body rotated by 0.2 radians: the asked change of the normals correlates with the true one."""
    vertices, faces = capsule
    vertices = vertices * torch.tensor([2.0, 0.8, 1.0]) + AWAY
    first, truth = lit(vertices, faces), lit(rotated(vertices, 0.2), faces)
    plain = Mesh(vertices, faces, colors=torch.full_like(vertices, 0.6))
    appearance = AppearanceModel.of(
        plain, vertices, ImageWindow.of(photographed(first, 0, 192), CAMERA, 192, [vertices])
    )
    rendered = appearance.render(vertices, ImageWindow.of(photographed(truth, 1, 192), CAMERA, 192, [vertices]))
    # Without texture, flow would follow the shading itself, so the true flow is used.
    rows, columns = np.nonzero(rendered.rast[..., 3] > 0)
    target, _ = rendered.view.camera.project(
        rendered.surface_points(rows, columns).on(truth.vertices, faces), rendered.view.shape
    )
    flow = np.zeros((*rendered.view.shape, 2), np.float32)
    flow[rows, columns] = target[0].numpy() - np.stack([columns, rows], 1) - 0.5
    constraints = shading_constraints(vertices, appearance, replace(AppearanceFlow.of(rendered), flow=flow), 400)
    assert constraints is not None

    def cosines(pose: Tensor) -> np.ndarray:
        corners = faces.index_select(0, constraints.points.faces)
        normals = (vertex_normals(pose, faces)[corners] * constraints.points.weights[..., None]).sum(1)
        return (torch.nn.functional.normalize(normals, dim=1).double().numpy() * constraints.axes).sum(1)

    wanted, asked = cosines(truth.vertices) - cosines(vertices), constraints.cosines - cosines(vertices)
    weight = constraints.confidence
    agreement = (weight * wanted * asked).sum() / np.sqrt((weight * wanted**2).sum() * (weight * asked**2).sum())
    assert agreement > 0.7


def test_solver_gradient_matches_finite_differences(capsule: tuple[Tensor, Tensor]) -> None:
    vertices, faces = capsule[0] + AWAY, capsule[1]
    graph = DeformationGraph.of(vertices, faces, 8)
    draw = np.random.default_rng(0)
    chosen = torch.from_numpy(draw.integers(0, len(faces), 20))
    points = SurfacePoints(chosen, torch.full((20, 3), 1 / 3))
    axes = draw.normal(size=(20, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    normals = NormalConstraints(points, axes, draw.uniform(-0.5, 0.5, 20), draw.uniform(0.2, 1, 20))
    nothing = Constraints(points, np.full((20, 2), 0.5), np.zeros((20, 2, 2)), normals)
    weights = SolverWeights(rigidity=0.0, shading=1.0)
    problem = Problem([graph], Intrinsics.of(CAMERA), [nothing], weights, Articulation.none(graph))
    poses = graph.rest_poses()
    apply_increment(poses.rotations[0], poses.positions[0], draw.normal(0, 0.2, 6 * len(graph)), graph.pattern.order)
    gradient = problem.equations(poses).gradient[0]
    assert np.abs(gradient).max() > 1e-4
    step = draw.normal(size=gradient.size)
    ends = []
    for sign in (1e-5, -1e-5):
        moved = type(poses)(poses.rotations.copy(), poses.positions.copy())
        apply_increment(moved.rotations[0], moved.positions[0], sign * step, graph.pattern.order)
        ends.append(problem.equations(moved).energy)
    assert np.isclose((ends[0] - ends[1]) / 2e-5, gradient @ step, rtol=1e-4)
