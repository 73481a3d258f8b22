import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import ellipe

from registration.elasticity import arap as module
from registration.elasticity.arap import Arap, shape_graph
from registration.elasticity.connectivity import thickness_connections
from tests.registration.shapes import random_rotation


@pytest.fixture(params=[0.0, 0.5], ids=["surface", "with links"])
def arap(request, capsule) -> Arap:
    return Arap(shape_graph(*capsule, thickness=request.param))


def test_rigid_motion_has_zero_energy_and_gradient(arap, capsule) -> None:
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        moved = (capsule[0].double() @ random_rotation(generator).T + torch.randn(3, generator=generator)).float()
        energy, gradient = arap.evaluate(moved)
        assert energy < 1e-11
        assert gradient.abs().max() < 1e-6


def test_uniform_scale_costs_its_squared_strain(arap, capsule) -> None:
    assert float(arap.evaluate(1.3 * capsule[0])[0]) == pytest.approx(0.09, rel=1e-4)


def test_a_mirror_image_is_no_rigid_motion(arap, capsule) -> None:
    assert arap.evaluate(capsule[0] * torch.tensor([-1.0, 1.0, 1.0]))[0] > 1e-3


def test_gradient_is_that_of_finite_differences(arap, capsule) -> None:
    generator = torch.Generator().manual_seed(3)
    pose = capsule[0].double() + 0.03 * torch.randn(capsule[0].shape, generator=generator)
    _, gradient = arap.evaluate(pose)
    for _ in range(3):
        direction = torch.randn(pose.shape, generator=generator)
        step = 1e-6
        ahead, behind = (float(arap.evaluate(pose + sign * step * direction)[0]) for sign in (1, -1))
        assert (ahead - behind) / (2 * step) == pytest.approx(float((gradient * direction).sum()), rel=1e-4)


def test_kernel_agrees_with_torch(arap, capsule) -> None:
    pose = capsule[0] + 0.05 * torch.randn(capsule[0].shape, generator=torch.Generator().manual_seed(4))
    energy, gradient = arap.evaluate(pose)
    other_energy, other_gradient = arap.reference(pose)
    assert torch.allclose(energy, other_energy, rtol=1e-5)
    assert torch.allclose(gradient, other_gradient, atol=1e-5 * float(gradient.abs().max()))


def test_several_poses_have_each_its_own_energy_and_gradient(arap, capsule, monkeypatch) -> None:
    monkeypatch.setattr(module, "POSES_AT_ONCE", 2)
    generator = torch.Generator().manual_seed(6)
    poses = (capsule[0] + 0.05 * torch.randn(3, *capsule[0].shape, generator=generator)).requires_grad_()
    energies, gradients = arap.evaluate(poses)
    for pose, energy, gradient in zip(poses, energies, gradients, strict=True):
        expected_energy, expected_gradient = arap.evaluate(pose)
        assert float(energy) == float(expected_energy) and torch.equal(gradient, expected_gradient)
    factors = torch.tensor([1.0, -2.0, 0.5])
    (arap(poses) * factors).sum().backward()
    torch.testing.assert_close(poses.grad, factors[:, None, None] * gradients)


def test_the_graph_is_brought_to_a_device_once(arap, capsule, monkeypatch) -> None:
    fresh, brought = Arap(arap.graph), []
    bring = torch.from_numpy
    monkeypatch.setattr(torch, "from_numpy", lambda array: (brought.append(1), bring(array))[1])
    first = fresh.reference(capsule[0])
    once = len(brought)
    assert once > 0 and torch.equal(fresh.reference(capsule[0])[1], first[1]) and len(brought) == once
    assert fresh.reference(capsule[0].double())[1].dtype == torch.float64 and len(brought) > once


def test_right_side_is_stationary_at_a_rotated_rest_shape(arap, capsule) -> None:
    pose = capsule[0].double().numpy() @ random_rotation(torch.Generator().manual_seed(5)).numpy().T
    rotations, _ = arap.fit(pose)
    assert np.allclose(arap.graph.laplacian() @ pose, arap.right_side(rotations), atol=1e-5)


def test_thickness_connections_join_opposite_sides(sphere) -> None:
    vertices, faces = sphere
    pairs = thickness_connections(vertices, faces)
    assert len(pairs) > 0.9 * len(vertices)
    lengths = (vertices[pairs[:, 0]] - vertices[pairs[:, 1]]).norm(dim=1)
    assert lengths.min() > 0.8  # the diameter is 1
    first, second = (torch.nn.functional.normalize(vertices[pairs[:, side]], dim=1) for side in (0, 1))
    assert (first * second).sum(1).max() < -0.3


def test_thickness_connections_resist_flattening_that_a_surface_alone_does_not(capsule) -> None:
    flat = capsule[0] * torch.tensor([1.0, 1.0, 0.3])
    without, with_links = (Arap(shape_graph(*capsule, thickness=value)).evaluate(flat)[0] for value in (0.0, 1.0))
    assert with_links > 2.5 * without  # squeezed so, the capsule's surface is strained as well


def test_thickness_connections_resist_an_isometric_collapse_twenty_times_as_much_as_the_surface() -> None:
    """A tube whose section goes from a circle to an ellipse of the same circumference: its surface only bends."""

    def tube(thin: float) -> torch.Tensor:
        angle = np.linspace(0, 2 * np.pi, 20001)
        wide = brentq(lambda a: 4 * a * ellipe(1 - (thin / a) ** 2) - 0.4 * np.pi, 0.2, 0.4) if thin < 0.2 else 0.2
        dense = np.stack([wide * np.cos(angle), thin * np.sin(angle)], 1)
        length = np.concatenate([[0], np.linalg.norm(np.diff(dense, axis=0), axis=1).cumsum()])
        even = np.interp(np.linspace(0, length[-1], 48, endpoint=False), length, angle)
        height = np.repeat(np.linspace(-0.5, 0.5, 20), 48)
        section = np.tile(np.stack([wide * np.cos(even), thin * np.sin(even)], 1), (20, 1))
        return torch.tensor(np.stack([section[:, 0], height, section[:, 1]], 1), dtype=torch.float32)

    here = np.arange(960).reshape(20, 48)
    beside = np.roll(here, -1, 1)
    quads = [[here[:-1], here[1:], beside[:-1]], [beside[:-1], here[1:], beside[1:]]]
    faces = torch.from_numpy(np.concatenate([np.stack(corners, -1).reshape(-1, 3) for corners in quads]))
    rest = tube(0.2)
    surface, half, full = (Arap(shape_graph(rest, faces, thickness=value)) for value in (0.0, 0.5, 1.0))
    for thin in (0.15, 0.1, 0.05):
        bending = float(surface.evaluate(tube(thin))[0])
        assert bending < 0.015
        assert 15 * bending < float(half.evaluate(tube(thin))[0]) < float(full.evaluate(tube(thin))[0])
        assert float(full.evaluate(tube(thin))[0]) > 20 * bending
