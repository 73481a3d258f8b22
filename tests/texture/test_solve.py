import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from texture.inpaint import inpaint
from texture.observe import ObservedPixels, observe_frames, render_surface
from texture.solve import adam, average, drained, gather, least_squares
from texture.texels import lookups, sample
from v2m4.camera import Camera
from v2m4.render import render_mesh

SIZE = 128


def observe(scene, texture):
    frames = scene.frames(texture)
    return observe_frames(frames, scene.sequence.vertices, scene.mesh, scene.atlas, 160)


def solve(scene, views, solver="least_squares"):
    if solver == "adam":
        return adam(views, scene.texels, scene.seams, 300, 0.01, 0)
    return least_squares(views, scene.texels, scene.seams, 0.01)


def psnr(first, second):
    return -10 * math.log10(float(((first - second) ** 2).mean()) + 1e-12)


def checks(scene):
    """A checkerboard in space, 8 texels to a square, with a soft gradient over it."""
    positions = scene.positions()
    board = (np.floor(positions / 0.1).astype(int).sum(-1) % 2)[..., None] * 0.5 + 0.2
    return np.clip(board + 0.3 * positions, 0, 1).astype(np.float32)


def test_linear_rows_give_the_rendered_picture(all_round):
    """A times the texels is the picture, at every pixel whose colour is not blended at an outline."""
    scene = all_round
    texture = np.random.default_rng(0).random((SIZE, SIZE, 3)).astype(np.float32)
    camera = Camera.identity()
    mesh = scene.textured(texture).with_vertices(scene.sequence.vertices[3])
    picture = render_mesh(mesh, camera, 96, channels=("color",), antialias=False).color[0].numpy()
    surface = render_surface(mesh.vertices, mesh.faces, mesh.normals(), scene.atlas, camera, (96, 96))
    read = sample(texture, lookups(surface.uvs[surface.covered], SIZE))
    assert surface.covered.sum() > 1000
    assert np.abs(read - picture[surface.covered]).max() < 1e-4


@pytest.mark.parametrize("solver", ["least_squares", "adam"])
def test_constant_colour_is_recovered_exactly(all_round, solver):
    color = np.array([51, 128, 204], np.float32) / 255
    views = observe(all_round, np.broadcast_to(color, (SIZE, SIZE, 3)))
    solution = solve(all_round, views, solver)
    filled = inpaint(solution.texture, solution.observed, all_round.texels, all_round.faces, all_round.seams)
    assert np.abs(filled - color).max() < (1e-3 if solver == "least_squares" else 0.02)


@pytest.mark.parametrize("solver", ["least_squares", "adam"])
def test_checkerboard_is_recovered(all_round, solver):
    truth = checks(all_round)
    solution = solve(all_round, observe(all_round, truth), solver)
    rendered, wanted = all_round.textured(solution.texture), all_round.textured(truth)
    quality = []
    for pose in all_round.sequence.vertices[::4]:
        pair = [
            render_mesh(m.with_vertices(pose), Camera.identity(), 160, channels=("color",), background=1.0).color
            for m in (rendered, wanted)
        ]
        quality.append(psnr(*pair))
    assert min(quality) > 30
    known = solution.weight > 1
    assert known.mean() > 0.3 and psnr(solution.texture[known], truth[known]) > 24


def test_least_squares_is_sharper_than_the_mean(all_round):
    truth = checks(all_round)
    views = observe(all_round, truth)
    known = average(views, SIZE).weight > 1
    solved, mean = solve(all_round, views).texture, average(views, SIZE).texture
    assert psnr(solved[known], truth[known]) > psnr(mean[known], truth[known]) + 1


def test_wrong_frames_are_outliers_to_the_huber_kernel(all_round):
    truth = checks(all_round)
    views = observe(all_round, truth)
    spoiled = [replace(v, colors=1 - v.colors) if i % 8 == 0 else v for i, v in enumerate(views)]
    known = average(views, SIZE).weight > 1
    robust, mean = solve(all_round, spoiled).texture, average(spoiled, SIZE).texture
    clean = np.abs(solve(all_round, views).texture - truth)[known].mean()
    assert np.abs(robust - truth)[known].mean() < clean + 0.02
    assert np.abs(mean - truth)[known].mean() > clean + 0.04


def test_sides_of_a_seam_agree(all_round):
    """Noise in the frames gives a noisy texture, but no difference across seams."""
    rng = np.random.default_rng(0)
    views = [
        replace(v, colors=np.clip(v.colors + rng.normal(0, 0.1, v.colors.shape), 0, 1).astype(np.float32))
        for v in observe(all_round, np.full((SIZE, SIZE, 3), 0.5, np.float32))
    ]
    texture = solve(all_round, views).texture
    across = sample(texture, all_round.seams.one) - sample(texture, all_round.seams.other)
    unrelated = sample(texture, all_round.seams.one) - np.roll(sample(texture, all_round.seams.one), 40, 0)
    assert np.abs(across).mean() < 0.35 * np.abs(unrelated).mean()


def test_same_views_give_the_same_bytes(all_round):
    views = observe(all_round, checks(all_round))
    assert np.array_equal(solve(all_round, views).texture, solve(all_round, views).texture)
    torch.manual_seed(1)
    first = adam(views, all_round.texels, all_round.seams, 20, 0.01, 0).texture
    torch.manual_seed(2)
    assert np.array_equal(first, adam(views, all_round.texels, all_round.seams, 20, 0.01, 0).texture)


def test_no_pixels_is_an_error(all_round):
    none = np.zeros((0, 3), np.float32)
    empty = ObservedPixels(none[:, :2], none, none[:, 0], none)
    with pytest.raises(ValueError, match="none of the 3 views"):
        gather([empty] * 3, SIZE)
    for solver in ("least_squares", "adam"):
        with pytest.raises(ValueError, match="no colour"):
            solve(all_round, [empty], solver)


def test_views_that_are_drained_give_the_same_texture(all_round):
    views = observe(all_round, checks(all_round))
    kept = solve(all_round, views)
    lists = [list(views[:2]), list(views[2:])]
    drained_once = least_squares(drained(*lists), all_round.texels, all_round.seams, 0.01)
    np.testing.assert_array_equal(drained_once.texture, kept.texture)
    assert lists == [[], []]
