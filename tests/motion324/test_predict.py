"""Prediction: windows, precision, space of the mesh, crops, smoothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from motion324.pictures import video_pictures, video_window
from motion324.predict import Prediction, multiplies_in_bfloat16, predict, trajectories, windows
from motion324.smoothing import Smoothing, filtered, held
from motion324.surface import sampled_points, vertex_points
from tests.motion324.test_network import SMALL, network, surface, video
from v2m4.frame import Frame
from v2m4.mesh import Mesh

PLAIN = Prediction(smoothing=None, precision="float32")


def cube() -> Mesh:
    corners = torch.tensor([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=torch.float32)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]
    return Mesh(corners, torch.tensor(faces), colors=corners)


def frames(count: int, shift: int = 4) -> list[Frame]:
    made = []
    for index in range(count):
        rgba = np.full((40, 60, 4), 200, np.uint8)
        rgba[..., 3] = 0
        rgba[10:20, 5 + shift * index : 15 + shift * index, 3] = 255
        made.append(Frame(f"{index:03d}", index, rgba))
    return made


@pytest.mark.parametrize(("count", "size"), [(1, 4), (4, 4), (5, 4), (7, 4), (8, 4), (20, 4), (20, 2), (300, 256)])
def test_windows_cover_all_frames_and_begin_with_the_first(count: int, size: int) -> None:
    made = windows(count, size)
    assert sorted({index for window in made for index in window}) == list(range(count))
    assert all(window[0] == 0 and len(window) == min(size, count) for window in made)
    assert all(np.all(np.diff(window[1:]) == 1) for window in made)


def test_windows_are_those_of_the_released_program() -> None:
    assert windows(10, 4) == [[0, 1, 2, 3], [0, 4, 5, 6], [0, 7, 8, 9]]
    assert windows(9, 4) == [[0, 1, 2, 3], [0, 4, 5, 6], [0, 6, 7, 8]]
    with pytest.raises(ValueError, match="at least 2 frames"):
        windows(5, 1)


def test_trajectories_of_one_window_are_the_networks() -> None:
    made, shape, queries, pictures = network().eval(), surface(20), surface(30, seed=5), video(5)
    with torch.no_grad():
        expected = made(shape, pictures, queries)[0]
    assert torch.allclose(trajectories(made, shape, queries, pictures[0], PLAIN), expected, atol=1e-6)


def test_each_window_is_predicted_with_the_first_frame_before_it() -> None:
    made, shape, queries, pictures = network().eval(), surface(20), surface(30, seed=5), video(6)
    result = trajectories(made, shape, queries, pictures[0], replace(PLAIN, window=3))
    with torch.no_grad():
        first, second, last = (made(shape, pictures[:, part], queries)[0] for part in ([0, 1, 2], [0, 3, 4], [0, 4, 5]))
    expected = torch.cat([first, second[1:2], last[1:]])
    assert torch.allclose(result, expected, atol=1e-6)


def test_bfloat16_is_close_and_leaves_the_network_as_it_was() -> None:
    made, shape, queries, pictures = network().train(), surface(20), surface(30, seed=5), video(4)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    exact = trajectories(made, shape, queries, pictures[0], PLAIN)
    rounded = trajectories(made, shape, queries, pictures[0], replace(PLAIN, precision="bfloat16"))
    assert 0 < (rounded - exact).abs().max() < 0.02
    assert made.training
    for name, value in made.state_dict().items():
        assert value.dtype == before[name].dtype and torch.equal(value, before[name])
    assert isinstance(multiplies_in_bfloat16(torch.device("cpu")), bool)


def test_result_lies_in_the_space_of_the_mesh() -> None:
    mesh = cube().transformed(torch.tensor([[3.0, 0, 0, 5], [0, 3, 0, -2], [0, 0, 3, 1], [0, 0, 0, 1]]))
    made = network()
    torch.nn.init.zeros_(made.head[-1].weight)  # no displacement
    moved = predict(made, mesh, frames(3), options=PLAIN)
    assert moved.vertices.shape == (3, 8, 3) and moved.times.tolist() == [0, 1, 2]
    assert torch.allclose(moved.vertices, mesh.vertices.expand(3, -1, -1), atol=1e-5)
    torch.nn.init.constant_(made.head[-1].bias, 0.1)  # of the cube's side
    moved = predict(made, mesh, frames(3), np.array([0.0, 0.5, 0.7]), PLAIN)
    assert torch.allclose(moved.vertices, (mesh.vertices + 0.3).expand(3, -1, -1), atol=1e-4)
    assert moved.times.tolist() == [0.0, 0.5, 0.7]
    anchored = predict(made, mesh, frames(3), options=replace(PLAIN, anchored=True))
    assert torch.allclose(anchored.vertices[0], mesh.vertices, atol=1e-4)


def test_same_seed_gives_the_same_result() -> None:
    made, mesh, pictures = network(), cube(), frames(3)
    first, again, other = (predict(made, mesh, pictures, options=replace(PLAIN, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first.vertices, again.vertices)
    assert not torch.equal(first.vertices, other.vertices)


def test_no_frames_and_empty_masks_are_errors() -> None:
    with pytest.raises(ValueError, match="no frames"):
        predict(network(), cube(), [])
    hidden = [replace(frame, picture=frame.rgba * 0) for frame in frames(2)]
    with pytest.raises(ValueError, match="no frame shows the object"):
        predict(network(), cube(), hidden)


def test_crop_is_one_black_square_about_the_object_of_all_frames() -> None:
    clip = frames(5)
    x0, y0, x1, y1 = video_window(clip)
    assert np.allclose([x0 * 60, x1 * 60], [5, 31])
    assert np.allclose((x1 - x0) * 60, (y1 - y0) * 40) and np.allclose((y0 + y1) * 20, 15)
    pictures = video_pictures(clip, SMALL)
    assert pictures.shape == (5, 3, 28, 28)
    assert pictures[:, :, 0].max() == 0 and 0.7 < pictures[0, :, 14, 4].mean() < 0.8
    assert pictures[0, :, 14, 20:].max() < 0.01 and pictures[4, :, 14, :10].max() < 0.01


def test_sampled_points_have_the_colours_and_normals_of_the_surface() -> None:
    mesh = cube().transformed(cube().normalizing())
    points = sampled_points(mesh, 500, torch.Generator().manual_seed(0))
    assert torch.allclose(points.points[0].abs().amax(-1), torch.full((500,), 0.5), atol=1e-6)
    assert torch.allclose(points.colors, points.points + 0.5, atol=1e-5)
    assert torch.allclose(points.normals.norm(dim=-1), torch.ones(1, 500), atol=1e-5)
    assert ((points.normals * points.points).sum(-1) > 0).all()
    column = torch.linspace(0, 1, 64)
    texture = torch.stack([column.expand(64, 64), column[:, None].expand(64, 64), torch.zeros(64, 64)], -1)
    painted = Mesh(mesh.vertices, mesh.faces, uvs=mesh.vertices[:, :2] * 0.9 + 0.5, texture=texture)
    colors = sampled_points(painted, 300, torch.Generator().manual_seed(0))
    assert (colors.colors[..., :2] - (colors.points[..., :2] * 0.9 + 0.5)).abs().max() < 0.02
    assert torch.allclose(vertex_points(painted).colors[..., 2], torch.zeros(1, 8))
    bare = vertex_points(Mesh(mesh.vertices, mesh.faces))
    assert (bare.colors == 0.5).all() and bare.points.shape == (1, 8, 3)


def test_dead_band_holds_jitter_and_lets_slow_motion_pass() -> None:
    jitter = 0.0009 * torch.randn(50, 4, 3, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    still = held(jitter, 0.004)
    assert torch.equal(still, still[:1].expand_as(still))
    slow = torch.linspace(0, 0.1, 100)[:, None, None].expand(100, 1, 3)  # 0.001 a frame and axis, below the band
    assert (held(slow, 0.004) - slow).norm(dim=-1).max() < 0.004
    assert torch.equal(held(slow, 0), slow)


def test_gaussian_is_that_of_scipy() -> None:
    from scipy.ndimage import gaussian_filter1d

    positions = torch.randn(20, 5, 3, generator=torch.Generator().manual_seed(0))
    expected = gaussian_filter1d(positions.numpy(), 1.0, axis=0, mode="nearest")
    assert np.allclose(filtered(positions, 1.0).numpy(), expected, atol=1e-5)
    assert torch.equal(filtered(positions, 0), positions)
    assert torch.allclose(Smoothing()(positions[:1]), positions[:1], atol=1e-6)
