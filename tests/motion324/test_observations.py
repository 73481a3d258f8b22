import cv2
import numpy as np
import pytest
import torch

from motion324.observations import (
    CHANNELS,
    COMPOSED,
    COSINE,
    DIFFERENCES,
    DIRECT,
    FAR,
    FILLED,
    VISIBLE,
    chained_flows,
    observe,
    places_in_view,
    visible_points,
)
from motion324.view_frame import CUBE, following_crops, view_frame
from tests.v2m4.render.scenes import sphere
from v2m4.camera import Camera, Orbit

AFAR = torch.tensor([0.0, 0.0, 1e4])
SIZE = 96


def textured(size: int) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (size, size)).astype(np.float32), (0, 0), 2)
    return np.clip((noise - noise.mean()) * 6 + 128, 0, 255)


def square(size: int, x: int, y: int) -> np.ndarray:
    """A textured square on black, its corner at (x, y)."""
    picture = np.zeros((size, size), np.float32)
    picture[y : y + 20, x : x + 20] = 60 + 0.6 * textured(20)
    return picture


def test_flow_follows_an_object_that_moves_by_its_own_size() -> None:
    video = np.stack([square(96, 10 + 22 * number, 40 - 6 * number) for number in range(4)]).astype(np.uint8)
    flows = chained_flows(video)
    assert flows.shape == (3, 2, 96, 96, 2)
    for number in range(3):
        inner = flows[number, :, 44:56, 14:26]
        np.testing.assert_allclose(np.median(inner[..., 0], (1, 2)), 22 * (number + 1), atol=1)
        np.testing.assert_allclose(np.median(inner[..., 1], (1, 2)), -6 * (number + 1), atol=1)


def test_an_empty_frame_has_the_place_of_the_one_before() -> None:
    video = np.stack([square(64, 10, 20), np.zeros((64, 64)), square(64, 20, 20)]).astype(np.uint8)
    flows = chained_flows(video)
    assert np.isfinite(flows).all()
    assert np.median(flows[1, 1, 24:36, 14:26, 0]) == pytest.approx(10, abs=1)


def moving(places: list[tuple[int, int]]) -> torch.Tensor:
    """Pictures (T, 3, SIZE, SIZE) of the square at these corners."""
    video = np.stack([square(SIZE, *place) for place in places]) / 255
    return torch.from_numpy(video).float()[:, None].repeat(1, 3, 1, 1)


def on_square(x: int, y: int, count: int = 200) -> torch.Tensor:
    """Points (count, 3) on the square at a corner, its rim left out."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(count, 2, generator=generator) * 14 + 3 + torch.tensor([x, y])
    plane = (pixels / SIZE - 0.5) * torch.tensor([1 / CUBE, -1 / CUBE])
    return torch.cat([plane, torch.zeros(count, 1)], 1)


@pytest.mark.parametrize("followed", [False, True])
def test_displacements_are_those_of_the_points_whether_or_not_the_crop_follows(followed: bool) -> None:
    places = [(36, 40), (46, 36), (56, 32)]
    crops, seen = torch.tensor([[0.5, 0.5, 1.0]]).repeat(3, 1), places
    if followed:
        seen = [places[0]] * 3
        moved = torch.tensor(places) - torch.tensor(places[0])
        crops[:, :2] += moved / SIZE
    points = on_square(*places[0])
    normals = torch.tensor([0.0, 0.0, 1.0]).expand(len(points), -1)
    everything = torch.ones(len(points), dtype=torch.bool)
    found = observe(moving(seen), crops, points, normals, everything, AFAR)
    assert found.shape == (2, len(points), CHANNELS)
    for number in range(2):
        step = torch.tensor([10.0, 4.0]) * (number + 1) / SIZE / CUBE  # y is up
        for which in (COMPOSED, DIRECT, FILLED):
            torch.testing.assert_close(found[number, :, which].median(0).values, step, atol=0.015, rtol=0)
    assert float(found[..., DIFFERENCES].median()) < 0.05
    assert (found[..., VISIBLE] == 1).all()
    torch.testing.assert_close(found[..., COSINE], torch.ones(2, len(points)), atol=1e-4, rtol=0)


def test_the_flow_of_an_object_that_is_almost_black_is_found() -> None:
    video = torch.zeros(2, 3, SIZE, SIZE)
    video[0, :, 40:60, 36:56] = 2 / 255
    video[1, :, 44:64, 56:76] = 2 / 255
    points = on_square(36, 40)
    normals = torch.tensor([0.0, 0.0, 1.0]).expand(len(points), -1)
    crops = torch.tensor([[0.5, 0.5, 1.0]]).repeat(2, 1)
    found = observe(video, crops, points, normals, torch.ones(len(points), dtype=torch.bool), AFAR)
    expected = torch.tensor([20.0, -4.0]) / SIZE / CUBE
    torch.testing.assert_close(found[0, :, FILLED].median(0).values, expected, atol=0.015, rtol=0)


def test_hidden_points_have_the_displacement_of_the_visible_ones_about_them() -> None:
    points = on_square(36, 40)
    points = torch.cat([points, points + torch.tensor([0.0, 0.0, -0.1]), torch.tensor([[-0.45, 0.45, 0.0]])])
    visible = torch.arange(len(points)) < 200
    normals = torch.tensor([0.0, 0.0, 1.0]).expand(len(points), -1)
    crops = torch.tensor([[0.5, 0.5, 1.0]]).repeat(2, 1)
    found = observe(moving([(36, 40), (46, 40)]), crops, points, normals, visible, AFAR, sources=200)
    expected = torch.tensor([10 / SIZE / CUBE, 0.0])
    torch.testing.assert_close(found[0, 200:, FILLED], expected.expand(201, -1), atol=0.02, rtol=0)
    torch.testing.assert_close(found[0, 200:400, FAR], torch.full((200,), 0.1), atol=0.05, rtol=0)
    assert float(found[0, 400, FAR]) > 0.3
    nothing = observe(moving([(36, 40), (46, 40)]), crops, points, normals, torch.zeros_like(visible), AFAR)
    assert torch.isfinite(nothing).all()


def test_places_are_those_of_the_camera() -> None:
    camera = Orbit.of(0.6, 0.2, 2.5, (0.1, 0.0, 0.0)).camera()
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    frame = view_frame(points, camera, True)
    places = places_in_view(frame.normalised(points), frame.eye())
    pixels, _ = frame.camera.project(points[None], (1, 1))
    expected = 0.5 + places * torch.tensor([CUBE, -CUBE])
    torch.testing.assert_close(pixels[0], expected, atol=1e-5, rtol=0)


def test_the_front_of_a_sphere_is_visible_and_its_back_is_not() -> None:
    vertices, faces = sphere()
    camera = view_frame(vertices, Orbit.of(0.0, 0.0, 6.0).camera(), True).camera
    normals = torch.nn.functional.normalize(vertices, dim=-1)
    seen = visible_points(vertices, normals, vertices, faces, camera)
    cosine = normals[:, 2]
    assert seen[cosine > 0.5].all()
    assert not seen[cosine < 0].any()
    behind = vertices - torch.tensor([0.0, 0.0, 2.5 * float(vertices[:, 2].max())])
    both = torch.cat([vertices, behind])
    hidden = visible_points(both, normals.repeat(2, 1), both, torch.cat([faces, faces + len(vertices)]), camera)
    near_axis = behind[:, :2].norm(dim=1) < 0.5 * float(vertices[:, 2].max())
    assert not hidden[len(vertices) :][near_axis].any()


def test_crops_follow_the_boxes_and_grow_with_them() -> None:
    boxes = torch.tensor([[0.2, 0.2, 0.8, 0.8], [0.9, 0.1, 1.3, 0.6], [-1.0, 0.0, 1.0, 1.0]])
    crops = following_crops(boxes)
    torch.testing.assert_close(crops[0], torch.tensor([0.5, 0.5, 1.0]))
    torch.testing.assert_close(crops[1], torch.tensor([1.1, 0.35, 1.0]))
    assert float(crops[2, 2]) == pytest.approx(2.2)
    identity = Camera.identity()
    assert identity.window == (0.0, 0.0, 1.0, 1.0)
