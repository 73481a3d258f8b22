import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from generators.prior.dataset import (
    SHARD,
    USE_CREATURES,
    Batch,
    RenderPool,
    coordinates,
    render_shard,
    shard_path,
    to_batch,
    to_tensors,
)
from generators.prior.losses import errors, loss, read_output
from generators.prior.maps import Window, base_maps, crop, inflate_depths, object_window
from generators.prior.network import MIRRORED, OUTPUTS, Output
from generators.prior.subjects import Subject, SubjectPool
from generators.prior.tilt import BINS
from generators.prior.views import View, render_view, rotation

ZERO = Output(torch.zeros(12, OUTPUTS, 64, 64), torch.zeros(12, 2, BINS), torch.zeros(12))


@pytest.fixture(scope="module")
def shard() -> dict[str, np.ndarray]:
    return render_shard(SubjectPool([], 1.0), 3, 12)


def ball(distance: float) -> View:
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=1.0)
    vertices = np.asarray(mesh.vertices)[None].astype(np.float32)
    subject = Subject("ball", "ball", vertices, np.asarray(mesh.faces), np.full(vertices.shape[1:], 0.5, np.float32))
    camera = mesh.vertices * [1, -1, -1] + [0, 0, distance]
    view = render_view(subject, camera, np.random.default_rng(0), margin=1.25)
    assert view is not None
    return view


@pytest.mark.parametrize("distance", [3.0, 30.0])
def test_stored_depths_of_a_ball(distance: float) -> None:
    view = ball(distance)
    tangent = 1 / math.sqrt(distance**2 - 1)  # of the silhouette
    assert view.window[0] == pytest.approx(1 / (1.25 * tangent), rel=0.01)
    middle = view.depth[32, 32].astype(np.float64)
    unit = view.window[0]
    depth = 1 + middle[[0, 3]] / unit  # over the mean distance
    assert depth[1] / depth[0] == pytest.approx((distance + 1) / (distance - 1), rel=0.02)
    valid = view.valid > 0
    assert abs(view.depth.astype(np.float64)[valid][:, [0, 3]].mean()) < 0.01


@pytest.mark.parametrize("distance", [3.0, 30.0])
def test_inflate_knows_a_ball(distance: float) -> None:
    view = ball(distance)
    truth = view.depth[..., 3].astype(np.float64) - view.depth[..., 0]
    inner = (view.valid > 0) & (view.base[..., 2] > 0.2)
    assert np.abs(view.base[..., 1] - truth)[inner].max() < 0.12 * truth.max()


def test_rotation_turns_the_camera_about_the_subject() -> None:
    front, side = rotation(0.0), rotation(math.pi / 2)
    assert np.allclose(front, np.eye(3))
    assert np.allclose(side @ [1, 0, 0], [0, 0, 1])  # from +x, that axis points at the camera
    assert np.allclose(rotation(0.3, 0.5, -0.2) @ rotation(0.3, 0.5, -0.2).T, np.eye(3))
    above = rotation(0.0, math.pi / 4)
    assert (above @ [0, 1, 0])[2] > 0  # from above, the top is nearer


def test_shard_is_a_function_of_its_number(shard: dict[str, np.ndarray]) -> None:
    again = render_shard(SubjectPool([], 1.0), 3, 12)
    assert all(np.array_equal(shard[name], again[name]) for name in shard)
    assert len(shard["valid"]) == 12
    assert SHARD % 4 == 0


def test_zero_output_is_the_result_of_inflate(shard: dict[str, np.ndarray]) -> None:
    batch = to_batch(to_tensors(shard))
    found = read_output(ZERO, batch)
    assert torch.allclose(found.centre, batch.base[:, :1], atol=1e-6)
    assert torch.equal(found.thickness, batch.base[:, 1:])
    assert torch.equal(found.back, batch.image)


def test_true_maps_have_no_error_whatever_their_offset(shard: dict[str, np.ndarray]) -> None:
    batch = to_batch(to_tensors(shard))
    front, back = batch.depth[:, :1], batch.depth[:, 3:]
    perfect = dataclasses.replace(
        read_output(ZERO, batch),
        centre=(front + back) / 2 + 0.7,
        thickness=back - front,
        back=batch.back,
    )
    for name, value in errors(perfect, batch).__dict__.items():
        assert float(value.abs().max()) < 1e-5, name


def test_mirrored_views_are_views_of_the_mirrored_subject(shard: dict[str, np.ndarray]) -> None:
    tensors = to_tensors(shard)
    plain = to_batch(tensors)
    flipped = {name: values.flip(2) if values.ndim > 2 else values for name, values in tensors.items()}
    flipped["window"] = tensors["window"] * torch.tensor([1.0, -1.0, 1.0])
    expected = plain.inputs.flip(-1)
    expected[:, list(MIRRORED)] *= -1
    assert torch.allclose(to_batch(flipped).inputs, expected, atol=1e-6)


def test_augmentation_keeps_depths_up_to_mirroring(shard: dict[str, np.ndarray]) -> None:
    tensors = to_tensors(shard)
    plain, changed = to_batch(tensors), to_batch(tensors, np.random.default_rng(1))
    assert isinstance(changed, Batch)
    for number in range(12):
        same = torch.equal(plain.depth[number], changed.depth[number])
        mirrored = torch.equal(plain.depth[number].flip(-1), changed.depth[number])
        assert same or mirrored
    assert not torch.allclose(plain.image, changed.image)


def test_window_of_an_object_and_its_rays() -> None:
    alpha = np.zeros((100, 200), np.uint8)
    alpha[40:60, 120:160] = 255
    window, (left, top, side) = object_window(alpha, math.radians(40), margin=1.5)
    assert (left, top, side) == (110, 20, 60)
    focal = 50 / math.tan(math.radians(20))
    rays = window.rays(np.array([[-1.0, -1.0], [1.0, 1.0]]))
    assert np.allclose(rays[0] * focal + [100, 50, 0], [110, 20, focal])
    assert np.allclose(rays[1] * focal + [100, 50, 0], [170, 80, focal])
    points = window.points(np.array([[0.2, -0.4]]), np.array([0.3]))
    assert np.allclose(points[0, 2], window.focal + 0.3)
    assert np.allclose(coordinates(torch.tensor([[window.focal, *window.offset]]))[0, 2:4, 0, 0].numpy(),
                       window.rays(np.array([-1 + 1 / 64, -1 + 1 / 64]))[:2], atol=1e-5)  # fmt: skip


def test_crop_averages_areas() -> None:
    rgba = np.zeros((128, 128, 4), np.uint8)
    rgba[:, 64:] = [200, 100, 50, 255]
    found = crop(rgba, (0, 0, 128), 16)
    assert np.array_equal(found[:, 8:], np.broadcast_to(np.uint8([200, 100, 50, 255]), (16, 8, 4)))
    assert (found[:, :8, 3] == 0).all()
    half = crop(rgba, (-4, 0, 128), 16)  # the edge lies in the middle of a pixel
    assert half[5, 8, 3] == pytest.approx(128, abs=1)
    assert half[5, 8, :3] == pytest.approx([200, 100, 50], abs=1)


def test_base_maps_need_a_foreground() -> None:
    with pytest.raises(ValueError, match="no foreground"):
        base_maps(np.zeros((64, 64), np.uint8), Window(3.0, (0.0, 0.0)))


def test_inflated_thickness_is_that_of_the_height_far_from_the_camera() -> None:
    pixels = np.array([[32.0, 32.0], [10.0, 20.0]])
    height = np.array([6.0, 3.0])
    far = Window(1000.0, (0.0, 0.0))
    centre, thickness = inflate_depths(pixels, height, np.zeros((2, 2)), np.array([6.0, 3.0]), far, 64)
    assert np.allclose(thickness, 2 * height / 32, rtol=1e-3)
    assert np.allclose(centre, 0, atol=2e-3)


def test_batches_prefer_animated_characters(tmp_path: Path, shard: dict[str, np.ndarray]) -> None:
    stored = {name: np.resize(values, (SHARD, *values.shape[1:])) for name, values in shard.items()}
    kinds = np.where(np.arange(SHARD) < SHARD // 2, "creature_biped", "humanoid")
    stored["valid"] = np.repeat((kinds == "humanoid")[:, None, None], 64, 1).repeat(64, 2).astype(np.uint8)
    np.savez(shard_path(tmp_path, 0), **stored | {"kind": kinds})
    pool = RenderPool(tmp_path, SHARD)
    batch = next(pool.batches(600, np.random.default_rng(0)))
    share = float((batch.valid.amax((1, 2, 3)) > 0).float().mean())
    assert share == pytest.approx(1 / (1 + USE_CREATURES), abs=0.06)


def test_clouds_have_no_depth_and_ask_for_uncertainty() -> None:
    arrays = render_shard(SubjectPool([], 1.0), 5, 4, clouds=1.0)
    assert set(arrays["kind"]) == {"cloud"}
    batch = to_batch(to_tensors(arrays))
    assert float(batch.valid.sum()) == 0
    assert float((batch.alpha > 0.5).float().sum((1, 2, 3)).min()) >= 200
    maps = torch.zeros(4, OUTPUTS, 64, 64, requires_grad=True)
    loss(read_output(Output(maps, torch.zeros(4, 2, BINS), torch.zeros(4)), batch), batch).backward()
    assert maps.grad is not None
    inside = batch.alpha[:, 0] > 0.5
    assert float(maps.grad[:, 2][inside].max()) < 0  # the scales are to grow
    assert not maps.grad[:, 0].any()
    assert not maps.grad[:, 4:].any()
