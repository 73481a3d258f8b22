import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from registration.keyframes.energy import State
from registration.keyframes.energy_image import Colour, FlowTracks, Silhouette, VideoView, visible_vertices
from registration.keyframes.template import Template
from tests.registration.shapes import painted, photographed
from v2m4.camera import DEFAULT_FOV, Camera, image_fractions
from v2m4.config import FAST

WINDOW = (0.2, 0.2, 0.8, 0.8)
AWAY = torch.tensor([0.0, 0.0, 3.0])


def state(vertices: torch.Tensor) -> State:
    return State(vertices, 0, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def scene(capsule):
    vertices, faces = capsule
    mesh = painted(vertices + AWAY, faces)
    return mesh, VideoView.of(photographed(mesh, 0), WINDOW, 96, mesh)


@pytest.mark.parametrize("term", [Silhouette, Colour])
def test_the_true_pose_has_little_energy_and_a_shifted_one_a_gradient_back(scene, term) -> None:
    mesh, view = scene
    energy = float(term(1.0, view)(state(mesh.vertices)))
    shifted = (mesh.vertices + torch.tensor([0.03, 0.0, 0.0])).requires_grad_()
    value = term(1.0, view)(state(shifted))
    value.backward()
    assert energy < 0.1 * float(value.detach())
    assert shifted.grad[:, 0].sum() > 2 * shifted.grad[:, 1].sum().abs()


@pytest.mark.parametrize("fov", [0.4, 1.1])
def test_a_frame_of_another_field_of_view_has_as_little_energy(capsule, fov) -> None:
    vertices, faces = capsule
    mesh = painted(vertices + torch.tensor([0.0, 0.0, 1.2 / math.tan(fov / 2)]), faces)
    frame = photographed(mesh, 0, fov=fov)
    energy, usual = (
        float(Silhouette(1.0, VideoView.of(seen, WINDOW, 96, mesh))(state(mesh.vertices)))
        for seen in (frame, replace(frame, fov=DEFAULT_FOV))
    )
    assert energy < 0.02 * usual
    assert Template.of(mesh, 1.0, FAST.registration, fov).camera.fov == fov


def test_the_coarse_level_has_a_gradient_without_overlap(scene) -> None:
    mesh, view = scene
    shifted = (mesh.vertices + torch.tensor([0.33, 0.0, 0.0])).requires_grad_()  # 0.3 wide: no overlap
    Silhouette(1.0, view, levels=3)(state(shifted)).backward()
    assert shifted.grad[:, 0].sum() > 0


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("window", [WINDOW, (0.1, 0.25, 0.93, 0.8)])
def test_terms_on_the_cpu_agree_with_torch_operations(scene, levels, window) -> None:
    mesh, _ = scene
    view = VideoView.of(photographed(mesh, 0), window, 97, mesh)
    pose = state(mesh.vertices + torch.tensor([0.05, 0.02, 0.0]))
    rendering = view.rendering(pose)
    mask, color = (part.detach().clone().requires_grad_() for part in (rendering.mask, rendering.color))
    covered = ((mask > 0.99) & (view.mask[None] > 0.99)).float()
    pose = state(pose.vertices)
    pose.shared(("rendering", view), lambda: SimpleNamespace(mask=mask, color=color))
    silhouette, colour = Silhouette(1.0, view, levels), Colour(1.0, view, levels)
    for value, expected, picture in (
        (silhouette(pose), silhouette.reference(mask), mask),
        (colour(pose), colour.reference(color, covered), color),
    ):
        assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-4) and float(value.detach()) > 0
        (gradient,), (expected_gradient,) = (torch.autograd.grad(each, picture) for each in (value, expected))
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-9)
        assert expected_gradient.abs().max() > 0


def test_one_rendering_serves_all_terms_of_a_view(scene) -> None:
    mesh, view = scene
    pose = state(mesh.vertices)
    assert view.rendering(pose) is view.rendering(pose)


def test_tracks_have_zero_energy_at_their_positions_and_the_gradient_of_finite_differences(scene) -> None:
    mesh, _ = scene
    camera = Camera.identity()
    index = torch.arange(0, len(mesh.vertices), 3)
    projected = image_fractions(camera, mesh.vertices[index])
    confidence = torch.linspace(0, 1, len(index))
    assert float(FlowTracks(1.0, camera, index, projected, confidence, 0.5)(state(mesh.vertices))) < 1e-8
    generator = torch.Generator().manual_seed(2)
    term = FlowTracks(
        1.0, camera, index, projected + 0.02 * torch.randn(projected.shape, generator=generator), confidence, 0.5
    )
    camera64 = Camera(camera.extrinsics.double())
    term.camera = camera64
    pose = mesh.vertices.double().requires_grad_()
    (gradient,) = torch.autograd.grad(term(state(pose)), pose)
    direction = torch.randn(pose.shape, generator=generator, dtype=torch.float64)
    ahead, behind = (float(term(state((pose + s * 1e-6 * direction).detach()))) for s in (1, -1))
    assert (ahead - behind) / 2e-6 == pytest.approx(float((gradient * direction).sum()), rel=1e-3)


def test_no_tracks_have_zero_energy(scene) -> None:
    none = torch.zeros(0, dtype=torch.long)
    term = FlowTracks(1.0, Camera.identity(), none, torch.zeros(0, 2), torch.zeros(0), 0.5)
    assert float(term(state(scene[0].vertices))) == 0.0


def test_visible_vertices_are_those_on_the_near_side(sphere) -> None:
    vertices, faces = sphere
    seen = visible_vertices(vertices + AWAY, faces, Camera.identity(), 128, min_cosine=0.2)
    assert vertices[seen, 2].max() < 0
    expected = (vertices[:, 2] < -0.25).sum()
    assert expected * 0.9 < len(seen) < len(vertices) / 2


def test_occluded_vertices_are_not_visible(sphere) -> None:
    vertices, faces = sphere
    spheres = torch.cat([vertices + AWAY, 0.5 * vertices + AWAY + torch.tensor([0.0, 0.0, 2.0])])
    seen = visible_vertices(spheres, torch.cat([faces, faces + len(vertices)]), Camera.identity(), 128)
    assert seen.max() < len(vertices)
