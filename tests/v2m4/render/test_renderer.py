"""Pictures of meshes: each channel means what it says, and what was lost in a picture is found again from it."""

import pytest
import torch

from tests.v2m4.render.scenes import bumpy, clip_of, sphere, torus, turned
from v2m4.camera import Orbit
from v2m4.geometry import vertex_normals
from v2m4.mesh import Mesh
from v2m4.render import render, render_attributes, render_mesh

EYES = Orbit(torch.tensor([0.2, 1.9]), torch.tensor([0.3, -0.4]), torch.tensor([2.0, 1.6]), torch.zeros(2, 3)).camera()


def test_a_sphere_looks_like_a_sphere() -> None:
    vertices, faces = sphere(5, 0.4)
    seen = render(vertices, faces.long(), EYES, (80, 80))
    inside = seen.triangle[..., None] >= 0
    assert seen.position.norm(dim=-1, keepdim=True)[inside].sub(0.4).abs().max() < 2e-3
    world = seen.normal @ EYES.extrinsics[:, None, :3, :3]
    sure = (seen.mask == 1) & inside
    assert ((world * seen.position).sum(-1, keepdim=True) / 0.4)[sure].min() > 0.98
    for view in range(2):
        depth = seen.depth[view][inside[view]]
        expected = EYES[view].to_camera_space(seen.position[view][inside[view][..., 0]])[0, :, 2]
        assert torch.allclose(depth, expected, atol=1e-4)
    for channel in (seen.depth, seen.position):
        assert not channel[(~inside).expand_as(channel)].any()
    assert torch.allclose(seen.color, seen.mask.expand_as(seen.color), atol=1e-6)  # white where no colour is given


def test_normals_point_to_the_camera_and_up_is_up() -> None:
    vertices, faces = sphere(4, 0.4)
    seen = render(vertices, faces, Orbit.of(radius=2.0).camera(), 65, channels=("normal",))
    assert torch.allclose(seen.normal[0, 32, 32], torch.tensor([0.0, 0.0, -1.0]), atol=0.02)
    top = int((seen.mask[0, :, 32, 0] == 1).nonzero()[0])
    assert seen.normal[0, top + 1, 32, 1] < -0.6  # camera y points down


def test_only_what_is_asked_for_is_there() -> None:
    vertices, faces = sphere(1)
    seen = render(vertices, faces, EYES, 16, channels=("depth",))
    for name in ("color", "normal", "position"):
        with pytest.raises(ValueError, match=f"Rendering.{name}"):
            getattr(seen, name)
    assert seen.depth.shape == (2, 16, 16, 1)
    assert render(vertices, faces, EYES, 16, channels=("mask",)).mask.shape == (2, 16, 16, 1)
    with pytest.raises(ValueError, match="colour unknown"):
        render(vertices, faces, EYES, 16, channels=("colour",))
    with pytest.raises(ValueError, match="texture needs uvs"):
        render(vertices, faces, EYES, 16, texture=torch.zeros(2, 2, 3))


def test_background_shows_through_where_the_mask_says() -> None:
    vertices, faces = torus()
    colors = torch.rand(vertices.shape, generator=torch.Generator().manual_seed(0))
    bare = render(vertices, faces, EYES, 32, colors=colors)
    for background in (1.0, (0.2, 0.4, 0.6), torch.rand(32, 32, 3)):
        over = render(vertices, faces, EYES, 32, colors=colors, background=background)
        expected = bare.color + (1 - bare.mask) * torch.as_tensor(background)
        assert torch.allclose(over.color, expected, atol=1e-6)


def test_a_texture_of_vertex_colours_looks_like_vertex_colours() -> None:
    vertices, faces = torus()
    ramp = torch.stack([vertices[:, 0] + 0.5, vertices[:, 1] + 0.5], 1)
    size = 64
    v, u = torch.meshgrid((torch.arange(size) + 0.5) / size, (torch.arange(size) + 0.5) / size, indexing="ij")
    texture = torch.stack([u, v, torch.full_like(u, 0.3)], -1)
    colors = torch.cat([ramp, torch.full((len(ramp), 1), 0.3)], 1)
    order = torch.randperm(len(ramp), generator=torch.Generator().manual_seed(0))
    uv_faces = torch.argsort(order)[faces.long()]
    textured = Mesh(vertices, faces.long(), ramp[order], uv_faces, texture, None)
    colored = Mesh(vertices, faces.long(), colors=colors)
    pictures = [render_mesh(mesh, EYES, 48, background=0.5) for mesh in (textured, colored)]
    assert torch.allclose(pictures[0].color, pictures[1].color, atol=0.01)
    assert torch.allclose(pictures[0].normal, pictures[1].normal, atol=1e-6)
    assert torch.equal(pictures[0].depth, pictures[1].depth)


def test_one_mesh_per_camera() -> None:
    vertices, faces = torus()
    pair = torch.stack([vertices, 0.7 * vertices])
    colors = torch.rand(vertices.shape, generator=torch.Generator().manual_seed(0))
    together = render(pair, faces, EYES, (24, 30), colors=colors)
    for view in range(2):
        alone = render(pair[view], faces, EYES[view], (24, 30), colors=colors)
        for channel in ("color", "mask", "normal", "depth", "position"):
            assert torch.allclose(getattr(together, channel)[view], getattr(alone, channel)[0], atol=1e-5), channel


def test_a_crop_is_a_window_of_the_whole_picture() -> None:
    vertices, faces = sphere(4)
    whole = render(vertices, faces, EYES, 64)
    part = render(vertices, faces, EYES.cropped((0.25, 0.5, 0.75, 1.0)), 32)
    assert torch.allclose(whole.depth[:, 32:, 16:48], part.depth, atol=1e-4)


def test_an_empty_mesh_gives_the_background() -> None:
    seen = render(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64), EYES, 8, background=0.25)
    assert bool((seen.color == 0.25).all())
    assert bool((seen.triangle == -1).all())


def descend(parameters: list[torch.Tensor], loss, steps: int, rate: float) -> float:
    optimiser = torch.optim.Adam(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, rate * 0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss()
        value.backward()
        optimiser.step()
        schedule.step()
    return float(value.detach())


def test_translation_and_scale_are_recovered_from_silhouettes() -> None:
    vertices, faces = bumpy()
    cameras = Orbit(torch.tensor([0.0, 1.4]), torch.zeros(2), torch.full((2,), 2.0), torch.zeros(2, 3)).camera()
    truth = torch.tensor([0.08, -0.06, 0.05, 1.1])
    guess = torch.tensor([0.0, 0.0, 0.0, 1.0], requires_grad=True)

    def masks(parameters):
        return render(vertices * parameters[3] + parameters[:3], faces, cameras, 64, channels=("mask",)).mask

    target = masks(truth)
    descend([guess], lambda: (masks(guess) - target).square().mean(), 90, 0.02)
    assert torch.allclose(guess.detach(), truth, atol=6e-3)


def test_rotation_is_recovered_from_normals() -> None:
    vertices, faces = bumpy()
    vertices = vertices * torch.tensor([1.0, 0.7, 0.5])
    truth, guess = torch.tensor([0.15, -0.2, 0.25]), torch.zeros(3, requires_grad=True)
    camera = Orbit.of(radius=2.0).camera()

    def look(angles):
        return render(turned(vertices, angles), faces, camera, 64, channels=("mask", "normal"))

    target = look(truth)

    def loss():
        seen = look(guess)
        return (seen.normal - target.normal).square().mean() + (seen.mask - target.mask).square().mean()

    descend([guess], loss, 90, 0.02)
    assert torch.allclose(guess.detach(), truth, atol=6e-3)


def test_vertex_colours_are_recovered_from_pictures() -> None:
    vertices, faces = sphere(2)
    truth = torch.rand(vertices.shape, generator=torch.Generator().manual_seed(4))
    guess = torch.full_like(truth, 0.5).requires_grad_()
    angles = torch.arange(6) * 1.05
    cameras = Orbit(angles, 0.7 * torch.sin(2 * angles), torch.full((6,), 2.0), torch.zeros(6, 3)).camera()

    def look(colors):
        return render(vertices, faces, cameras, 64, colors=colors, channels=("color",)).color

    target = look(truth)
    descend([guess], lambda: (look(guess) - target).square().sum() / 100, 120, 0.05)
    error = (guess.detach() - truth).abs().amax(1)
    assert error.quantile(0.9) < 0.01


def test_a_texture_is_recovered_from_pictures() -> None:
    vertices, faces = sphere(3)
    uvs = torch.stack([vertices[:, 0] / 0.9 + 0.5, vertices[:, 1] / 0.9 + 0.5], 1)
    truth = torch.rand((12, 12, 3), generator=torch.Generator().manual_seed(5))
    guess = torch.full_like(truth, 0.5).requires_grad_()

    def look(texture):
        camera = Orbit.of(radius=1.6).camera()
        return render(vertices, faces, camera, 96, uvs=uvs, texture=texture, channels=("color",)).color

    target = look(truth)
    descend([guess], lambda: (look(guess) - target).square().sum() / 100, 150, 0.05)
    assert (guess.detach() - truth)[3:-3, 3:-3].abs().max() < 0.02


def test_camera_gradients_pass_through_normals_and_positions() -> None:
    vertices, faces = torus()
    orbit = torch.tensor([[0.3, 0.4, 2.0, 0.0, 0.0, 0.0]], requires_grad=True)
    seen = render(vertices, faces, Orbit.from_parameters(orbit).camera(), 32)
    (seen.normal.sum() + seen.depth.sum() + seen.mask.sum()).backward()
    assert bool(torch.isfinite(orbit.grad).all())
    assert bool((orbit.grad != 0).any())


def test_unit_normals_are_unit_inside() -> None:
    vertices, faces = torus()
    normals = vertex_normals(vertices, faces)[None]
    picture, rast = render_attributes(clip_of(vertices), faces, normals, (32, 32), antialias=False, unit=0)
    assert torch.allclose(picture[..., 1:].norm(dim=-1), (rast[..., 3] > 0).float(), atol=1e-5)
