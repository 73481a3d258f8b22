import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.texture.conftest import render_frame
from texture import observe
from texture.observe import MOST_FRAMES, ObservedPixels, object_window, observe_asset, observe_frames
from texture.texels import lookups, sample
from v2m4.camera import DEFAULT_FOV, Camera
from v2m4.mesh import Mesh

SIZE = 128


@pytest.mark.parametrize("aspect", [0.6, 1.0, 1.8])
def test_window_is_square_in_pixels_and_contains_the_object(all_round, aspect):
    camera = Camera.identity(aspect=aspect)
    vertices = all_round.sequence.vertices[0] + torch.tensor([0.3, -0.2, 1.0])
    x0, y0, x1, y1 = object_window(vertices, camera)
    assert (x1 - x0) * aspect == pytest.approx(y1 - y0)
    pixels, _ = camera.project(vertices, (1, 1))
    assert pixels[0].min(0).values[0] > x0 and pixels[0].max(0).values[1] < y1
    assert pixels[0].max(0).values[0] < x1 and pixels[0].min(0).values[1] > y0


def test_window_of_a_mesh_behind_the_camera(all_round):
    with pytest.raises(ValueError, match="behind"):
        object_window(all_round.mesh.vertices - torch.tensor([0.0, 0.0, 5.0]), Camera.identity())


def test_views_read_the_texture_they_were_rendered_with(all_round):
    positions = all_round.positions()
    texture = np.clip(0.5 + 0.8 * positions, 0, 1)
    views = observe_frames(all_round.frames(texture), all_round.sequence.vertices, all_round.mesh, all_round.atlas, 160)
    for view in views:
        error = np.abs(sample(texture, lookups(view.uvs, SIZE)) - view.colors)
        assert len(view) > 2000 and view.weights.min() > 0 and view.weights.max() <= 1
        assert error.mean() < 2e-3 and np.quantile(error, 0.999) < 0.02  # the picture is sampled anew in the window


@pytest.mark.parametrize("fov", [0.3, 1.2])
def test_each_frame_is_rendered_with_its_own_field_of_view(all_round, fov):
    texture = np.clip(0.5 + 0.8 * all_round.positions(), 0, 1)
    middle = all_round.sequence.vertices[0].mean(0)
    nearer = middle * (math.tan(DEFAULT_FOV / 2) / math.tan(fov / 2) - 1)
    mesh = all_round.textured(texture).with_vertices(all_round.sequence.vertices[0] + nearer)
    frame = render_frame(mesh, fov=fov)
    (view,) = observe_frames([frame], mesh.vertices[None], all_round.mesh, all_round.atlas, 160)
    assert len(view) > 2000
    assert np.abs(sample(texture, lookups(view.uvs, SIZE)) - view.colors).mean() < 4e-3
    (wrong,) = observe_frames([replace(frame, fov=0.7)], mesh.vertices[None], all_round.mesh, all_round.atlas, 160)
    assert np.abs(sample(texture, lookups(wrong.uvs, SIZE)) - wrong.colors).mean() > 0.02


def test_weight_is_highest_where_the_surface_faces_the_camera(all_round):
    ones = np.ones((SIZE, SIZE, 3), np.float32)
    scene = all_round
    (view,) = observe_frames(scene.frames(ones)[:1], scene.sequence.vertices[:1], scene.mesh, scene.atlas, 160)
    normals = scene.sequence[0].normals().numpy()
    spread = np.zeros((SIZE, SIZE, 3), np.float32)
    spread[scene.texels.valid] = scene.texels.interpolate(normals, scene.faces)
    facing = -sample(spread, lookups(view.uvs, SIZE))[:, 2]
    assert np.corrcoef(facing, view.weights)[0, 1] > 0.9
    slanted = facing < 0.6
    assert facing.min() > 0 and slanted.any() and view.weights[slanted].max() < 0.6


def test_pixels_beside_an_occlusion_have_no_confidence(all_round):
    """A small plate before a large one: pixels of the large one next to the small one's outline have confidence 0."""
    square = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    faces = torch.tensor([[0, 2, 1], [0, 3, 2]])
    vertices = torch.cat([square * 0.6 + torch.tensor([0, 0, 2.0]), square * 0.2 + torch.tensor([0, 0, 1.8])])
    mesh = Mesh(vertices, torch.cat([faces, faces + 4]))
    uvs = vertices[:, :2].numpy() * 0.5 + 0.5
    atlas = observe.Atlas(uvs.astype(np.float32), mesh.faces.numpy())
    surface = observe.render_surface(vertices, mesh.faces, mesh.normals(), atlas, Camera.identity(), (200, 200))
    front = surface.depth < 1.9
    front &= surface.covered
    back = surface.covered & ~front
    assert surface.confidence[front].max() > 0.9 and surface.confidence[back].max() > 0.9
    beside = np.zeros_like(front)
    beside[:, 1:] |= front[:, :-1] != front[:, 1:]
    beside[:, :-1] |= front[:, :-1] != front[:, 1:]
    assert beside.any() and surface.confidence[beside].max() == 0
    slanted = vertices @ torch.tensor([[0.5, 0, 0.8], [0, 1, 0], [-0.8, 0, 0.5]]).T  # a slant alone is no occlusion
    mesh = Mesh(slanted[:4] - slanted[:4].mean(0) + torch.tensor([0, 0, 2.0]), faces)
    surface = observe.render_surface(mesh.vertices, faces, mesh.normals(), atlas, Camera.identity(), (200, 200))
    assert (surface.confidence[surface.covered] == 0).mean() < 0.1


def test_asset_views_show_the_side_that_no_frame_shows(front_only):
    scene = front_only
    texture = np.clip(0.5 + 0.8 * scene.positions(), 0, 1)
    asset = scene.textured(texture).with_vertices(scene.sequence.vertices[0])
    views = observe_asset(asset, scene.sequence[0], scene.atlas, 12, 128, 0.25)
    uvs, colors = np.concatenate([v.uvs for v in views]), np.concatenate([v.colors for v in views])
    assert max(v.weights.max() for v in views) <= 0.25
    assert np.abs(sample(texture, lookups(uvs, SIZE)) - colors).mean() < 2e-3
    weight = np.zeros(SIZE * SIZE)
    weight[lookups(uvs, SIZE).base] = 1
    assert weight.reshape(SIZE, SIZE)[scene.texels.valid].mean() > 0.8


def test_colours_of_low_confidence_are_left_out(front_only):
    scene = front_only
    asset = scene.textured(np.ones((SIZE, SIZE, 3))).with_vertices(scene.sequence.vertices[0])
    upper = scene.mesh.vertices[:, 1]
    asset = replace(asset, color_confidence=torch.where(upper > 0, 1.0, 0.3))
    views = observe_asset(asset, scene.sequence[0], scene.atlas, 12, 128, 0.25)
    weight = np.zeros(SIZE * SIZE)
    weight[lookups(np.concatenate([view.uvs for view in views]), SIZE).base] = 1
    height = scene.positions()[..., 1]
    seen = weight.reshape(SIZE, SIZE)[scene.texels.valid]
    assert seen[height[scene.texels.valid] < -0.05].max() == 0
    assert seen[height[scene.texels.valid] > 0.05].mean() > 0.8


def test_no_visible_pixel_is_an_error(all_round):
    frames = all_round.frames(np.ones((SIZE, SIZE, 3)))
    with pytest.raises(ValueError, match="16 frames, but 3 poses"):
        observe_frames(frames, all_round.sequence.vertices[:3], all_round.mesh, all_round.atlas, 64)
    empty = [type(frame)(frame.name, frame.index, frame.rgba * 0) for frame in frames]
    with pytest.raises(ValueError, match="no frame shows"):
        observe_frames(empty, all_round.sequence.vertices, all_round.mesh, all_round.atlas, 64)


def test_long_videos_keep_a_share_of_each_frames_pixels() -> None:
    count, pixels = 3 * MOST_FRAMES, 3000
    ramp = np.arange(pixels, dtype=np.float32)
    view = ObservedPixels(np.stack([ramp, ramp], 1), np.stack([ramp] * 3, 1), ramp, np.stack([ramp] * 3, 1))
    assert view.thinned(5, MOST_FRAMES) is view
    kept = [view.thinned(number, count) for number in range(count)]
    assert all(abs(len(part) - pixels / 3) <= 1 for part in kept)
    assert all((np.diff(part.weights) == 3).all() for part in kept)
    times = np.bincount(np.concatenate([part.weights for part in kept]).astype(int), minlength=pixels)
    assert times.min() == times.max() == MOST_FRAMES  # every pixel in as many frames
    np.testing.assert_array_equal(kept[4].uvs[:, 0], kept[4].weights)
