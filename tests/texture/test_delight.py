"""Delighting: the light of synthetic frames is found, and the texture comes closer to the known albedo."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import texture
from tests.texture.conftest import SIZE, make_scene, render_frame
from texture.delight import Lighting, draw_lighting, fit_lighting, without_shading
from texture.observe import ObservedPixels, observe_frames
from texture.texels import lookups, sample
from v2m4.config import FAST
from v2m4.geometry import vertex_normals
from v2m4.io.srgb import linear_to_srgb, srgb_to_linear
from v2m4.workspace import Workspace

CONFIG = replace(FAST, device="cpu", texture=replace(FAST.texture, size=SIZE, views=6, view_size=SIZE))
TO_LIGHT = np.array([-0.5, -0.6, -0.62])  # from the upper left, behind the camera


def shade(normals: np.ndarray) -> np.ndarray:
    """Shading (..., 3) by a warm, wrapped directional light and a bluish ambient one, in camera axes."""
    facing = np.maximum((normals @ TO_LIGHT + 0.3) / 1.3, 0)[..., None]
    return np.float64([0.30, 0.33, 0.38]) + facing * np.float64([0.75, 0.70, 0.62])


def painted(scene) -> np.ndarray:
    """Albedo (H, W, 3) sRGB: four paints in bands and a spot."""
    positions = scene.positions()
    paints = np.array([[0.85, 0.80, 0.70], [0.30, 0.55, 0.75], [0.80, 0.35, 0.30], [0.35, 0.40, 0.30]])
    band = np.clip(((positions[..., 1] + 0.5) * 4).astype(int), 0, 3)
    albedo = paints[band]
    albedo[np.linalg.norm(positions - [0.0, 0.1, 0.3], axis=-1) < 0.12] = 0.15
    return albedo


def uniform_paint(scene) -> np.ndarray:
    """Texels (H, W) bool away from the borders of the paints, where a texture is blurred."""
    positions = scene.positions()
    bands = (positions[..., 1] + 0.5) * 4
    spot = np.linalg.norm(positions - [0.0, 0.1, 0.3], axis=-1)
    return scene.texels.valid & (np.abs(bands - bands.round()) > 0.12) & (np.abs(spot - 0.12) > 0.03)


def lit_frames(scene, albedo):
    """Frames of every pose under ``shade``, which does not turn with the object."""
    frames = []
    for index, pose in enumerate(scene.sequence.vertices):
        normals = vertex_normals(pose, scene.mesh.faces).numpy()
        shading = np.ones_like(albedo)
        shading[scene.texels.valid] = shade(scene.texels.interpolate(normals, scene.faces))
        lit = linear_to_srgb(srgb_to_linear(albedo) * shading)
        frames.append(render_frame(scene.textured(lit).with_vertices(pose), index))
    return frames


def error(colors: np.ndarray, albedo: np.ndarray) -> float:
    """RMS difference (sRGB) of colours (N, 3) from albedos, up to the best gain of each channel."""
    linear, gains = srgb_to_linear(colors), np.exp(np.linspace(-1.2, 1.2, 121))
    squares = [
        min(np.square(linear_to_srgb(linear[:, c] * gain) - albedo[:, c]).mean() for gain in gains) for c in range(3)
    ]
    return float(np.sqrt(np.mean(squares)))


@pytest.fixture(scope="module", params=["rotating", "still"])
def lit(request):
    scene = make_scene(np.linspace(-0.8, 0.8, 7) if request.param == "rotating" else np.zeros(1))
    albedo = painted(scene)
    return scene, albedo, lit_frames(scene, albedo)


def test_the_error_of_the_texture_to_the_albedo_falls_by_half(lit, tmp_path):
    scene, albedo, frames = lit
    first = scene.textured(np.full((SIZE, SIZE, 3), 0.5)).with_vertices(scene.sequence.vertices[0])
    first = replace(first, color_confidence=torch.zeros(len(first.vertices)))
    workspace = Workspace(tmp_path)
    plain = texture.run(frames, scene.sequence, first, workspace, CONFIG).texture.numpy()
    assert not (tmp_path / "4_texture/lighting.png").exists()
    # The same folder: an earlier texture with the shading is stale.
    delit = texture.run(frames, scene.sequence, first, workspace, replace(CONFIG, delight=True)).texture.numpy()
    assert (tmp_path / "4_texture/lighting.png").exists()
    with np.load(tmp_path / "4_texture/texture.npz") as stored:
        seen = (stored["weight"] > 0.3) & uniform_paint(scene)
    assert seen.sum() > 800
    assert error(delit[seen], albedo[seen]) < 0.5 * error(plain[seen], albedo[seen])
    again = texture.run(frames, scene.sequence, first, workspace, CONFIG).texture.numpy()
    assert np.array_equal(again, plain) and not (tmp_path / "4_texture/lighting.png").exists()


def test_the_shading_is_found_up_to_a_gain(lit):
    scene, _, frames = lit
    views = observe_frames(frames, scene.sequence.vertices, scene.mesh, scene.atlas, SIZE)
    normals = np.concatenate([view.normals for view in views])
    assert np.abs(np.linalg.norm(normals, axis=1) - 1).max() < 1e-3
    ratio = np.log(fit_lighting(views, 0).shading(normals) / shade(normals))
    assert (ratio - ratio.mean(0)).std(0).max() < 0.5 * np.log(shade(normals)).std(0).min()


def test_uniform_light_changes_colours_by_a_gain_only(front_only):
    scene = front_only
    albedo = painted(scene)
    frames = [render_frame(scene.textured(albedo).with_vertices(pose)) for pose in scene.sequence.vertices]
    views = observe_frames(frames, scene.sequence.vertices, scene.mesh, scene.atlas, SIZE)
    for view in without_shading(views, fit_lighting(views, 0)):
        assert error(view.colors, sample(albedo, lookups(view.uvs, SIZE))) < 0.03


def test_the_same_seed_gives_the_same_lighting(lit):
    scene, _, frames = lit
    views = observe_frames(frames, scene.sequence.vertices, scene.mesh, scene.atlas, SIZE)
    assert np.array_equal(fit_lighting(views, 3).coefficients, fit_lighting(views, 3).coefficients)


def test_surfaces_that_face_away_get_the_shading_of_their_mirror_image():
    lighting = Lighting(np.random.default_rng(0).normal(0, 0.2, (9, 3)))
    normals = np.array([[0.0, 0.0, -1.0], [0.6, 0.0, -0.8], [0.0, -0.6, -0.8]])
    assert np.allclose(lighting.shading(normals), lighting.shading(normals * [1, 1, -1]))
    assert draw_lighting(lighting, 32).shape == (32, 32, 3)


def test_views_without_pixels_give_uniform_light():
    none = np.zeros((0, 3), np.float32)
    lighting = fit_lighting([ObservedPixels(none[:, :2], none, none[:, 0], none)], 0)
    assert np.allclose(lighting.shading(np.array([[0.0, 0.6, -0.8]])), 1)
