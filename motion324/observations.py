"""What the later frames of a video show of surface points: dense optical flow at their places, and its quality.

A small network that is trained for minutes cannot learn to match pictures first. So each point is given its
displacement across the view by dense inverse search (classical, not learned): composed over consecutive frames, and
directly from the reference frame, with the difference of colours after each. Points that the reference frame does not
show have those of the visible points about them.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, normalize

from motion324.view_frame import CUBE
from v2m4.camera import Camera
from v2m4.optical_flow import MEDIUM, dense_flow
from v2m4.render.renderer import render

CHANNELS = 11
COMPOSED, DIRECT, DIFFERENCES, VISIBLE, COSINE, FILLED, FAR = (
    slice(0, 2), slice(2, 4), slice(4, 6), 6, 7, slice(8, 10), 10
)  # fmt: skip
SIZE = 224  # of the pictures that the flow is computed on, pixels of a side
GRAY = (0.299, 0.587, 0.114)
LIFT, DARKEST = 0.25, 0.5 / 255  # grey that the object is lifted above the background by; brightest channel of black
DIFFERENCE_SIZE = 9  # pixels of the square that a difference of colours is averaged over
LEAST_COSINE = 0.15  # between normal and line of sight, of a visible point
BEHIND = 0.02  # of the size: a point that is farther behind the visible surface is hidden
NEIGHBOURS = 24
RADIUS, SPREAD, DIFFERENCE = 0.05, 0.5, 0.05  # of the weights of neighbours, see ``_filled``


def visible_points(points: Tensor, normals: Tensor, vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
    """Whether a camera sees surface points, (P,) bool.

    Args:
        points: (P, 3) world space.
        normals: (P, 3).
        vertices: (V, 3) of the mesh.
        faces: (F, 3).
        camera: one, cropped to a square window.
    """
    rendered = render(vertices, faces, camera, SIZE, channels=("depth",), antialias=False)
    pixels, depth = camera.project(points[None], (SIZE, SIZE))
    x, y = pixels[0].long().clamp(0, SIZE - 1).unbind(-1)
    nearest = rendered.depth[0, y, x, 0]
    size = float((vertices.amax(0) - vertices.amin(0)).max())
    towards = normalize(camera.positions() - points, dim=-1)
    inside = (rendered.triangle[0, y, x] < 0) | (depth[0] < nearest + BEHIND * size)
    return inside & ((towards * normals).sum(-1) > LEAST_COSINE)


def places_in_view(points: Tensor, eye: Tensor) -> Tensor:
    """Where points (..., 3) of the normalised space are seen from the eye: (..., 2) on the plane z = 0."""
    distance = eye[..., 2:]
    return (distance * points[..., :2] - eye[..., :2] * points[..., 2:]) / (distance - points[..., 2:]).clamp_min(0.1)


@torch.no_grad()
def observe(
    pictures: Tensor,
    crops: Tensor,
    points: Tensor,
    normals: Tensor,
    visible: Tensor,
    eye: Tensor,
    sources: int | None = None,
) -> Tensor:
    """What later frames show of surface points.

    Args:
        pictures: (T, 3, S, S) sRGB in [0, 1], the object on black; frame 0 is the reference.
        crops: (T, 3) of the pictures, see ``view_frame.following_crops``.
        points: (P, 3) in the normalised space.
        normals: (P, 3).
        visible: (P,) bool, in frame 0; see ``visible_points``.
        eye: (3,) centre of the camera in the normalised space.
        sources: the first so many points, evenly over the surface, tell the others what is about them; None for all.

    Returns:
        (T - 1, P, CHANNELS): displacement (x, y) in the plane z = 0 of the normalised space, composed and direct;
        differences of colours after each; whether frame 0 shows the point; cosine between its normal and the line of
        sight; displacement of the visible points about it, and the distance to the nearest of them.
    """
    size, count = pictures.shape[-1], len(pictures) - 1
    gray = torch.einsum("tchw,c->thw", pictures, pictures.new_tensor(GRAY))
    gray = (1 - LIFT) * gray + LIFT * (pictures.amax(1) > DARKEST)
    flows = torch.from_numpy(chained_flows((gray * 255).round().byte().numpy()))  # (T - 1, 2, S, S, 2)
    line = torch.arange(size, dtype=torch.float32) + 0.5
    place = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    differences = []
    for which in range(2):
        at = (place + flows[:, which]) * (2 / size) - 1
        gap = (grid_sample(pictures[1:], at, align_corners=False) - pictures[:1]).abs().mean(1, keepdim=True)
        differences.append(avg_pool2d(gap, DIFFERENCE_SIZE, 1, DIFFERENCE_SIZE // 2))
    fraction = (place + flows) / size
    target = crops[1:, None, None, None, :2] + crops[1:, None, None, None, 2:] * (fraction - 0.5)
    moved = (target - place / size) * torch.tensor([1 / CUBE, -1 / CUBE])
    maps = torch.cat([moved[:, 0].permute(0, 3, 1, 2), moved[:, 1].permute(0, 3, 1, 2), *differences], 1)
    at = (places_in_view(points, eye) * torch.tensor([2 * CUBE, -2 * CUBE])).expand(count, 1, -1, -1)
    found = grid_sample(maps, at, padding_mode="border", align_corners=False)[:, :, 0].transpose(1, 2)
    cosine = (normalize(eye - points, dim=-1) * normals).sum(-1)
    filled, far = _filled(points, found, visible, len(points) if sources is None else sources)
    still = torch.stack([visible.float(), cosine], -1).expand(count, -1, -1)
    return torch.cat([found, still, filled, far.expand(count, -1)[..., None]], -1)


def _filled(points: Tensor, found: Tensor, visible: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Displacements (T - 1, P, 2) of the visible points about each point, and distances (P,) to the nearest of them.

    Neighbours weigh more the nearer they are and the smaller the difference of colours after their displacement.
    """
    better = torch.where(found[..., 4:5] < found[..., 5:6], found[..., COMPOSED], found[..., DIRECT])
    difference = found[..., DIFFERENCES].amin(-1)
    sources = torch.nonzero(visible[:count])[:, 0]
    if len(sources) == 0:
        return better, torch.ones(len(points))
    neighbours = np.arange(1, min(NEIGHBOURS, len(sources)) + 1)
    distance, index = cKDTree(points[sources].numpy()).query(points.numpy(), k=neighbours)
    distance, index = torch.from_numpy(distance).float(), sources[torch.from_numpy(index)]
    radius = RADIUS + SPREAD * distance[:, :1]
    weights = torch.softmax(-((distance / radius) ** 2) - difference[:, index] / DIFFERENCE, -1)
    return torch.einsum("tpk,tpkc->tpc", weights, better[:, index]), distance[:, 0]


def chained_flows(video: np.ndarray) -> np.ndarray:
    """Flows from the reference to each later frame: composed of those between consecutive frames, and direct ones.

    Each starts from the displacement of the object's centre, for dense inverse search finds small displacements only.

    Args:
        video: (T, S, S) uint8, the reference first; the object on black.

    Returns:
        (T - 1, 2, S, S, 2) float32 pixels as (x, y).
    """
    size = video.shape[1]
    line = np.arange(size, dtype=np.float32)
    x, y = np.meshgrid(line, line)
    found = np.zeros((len(video) - 1, 2, size, size, 2), np.float32)
    before = np.zeros((size, size, 2), np.float32)
    centres = _centres(video)
    for number in range(1, len(video)):
        step = _shifted_flow(video[number - 1], video[number], centres[number] - centres[number - 1])
        at = (x + before[..., 0], y + before[..., 1])
        before = before + cv2.remap(step, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        direct = step if number == 1 else _shifted_flow(video[0], video[number], centres[number] - centres[0])
        found[number - 1] = before, direct
    return found


def _centres(video: np.ndarray) -> np.ndarray:
    """Centre (T, 2) of what is not black in each frame, pixels; of the frame before where all is black."""
    centres, last = [], np.full(2, (video.shape[1] - 1) / 2)
    for frame in video:
        rows, columns = np.nonzero(frame > 255 * LIFT / 2)
        if len(rows):
            last = np.array([columns.mean(), rows.mean()])
        centres.append(last)
    return np.stack(centres)


def _shifted_flow(first: np.ndarray, second: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Flow between two frames, from the second one displaced by whole pixels."""
    whole = np.round(shift)
    back = np.array([[1, 0, -whole[0]], [0, 1, -whole[1]]], np.float32)
    moved = cv2.warpAffine(second, back, second.shape[::-1])
    return dense_flow(first, moved, MEDIUM) + whole.astype(np.float32)
