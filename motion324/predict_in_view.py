"""Prediction by a network that was trained in the camera's axes: the mesh stands in the video camera's space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from motion324.flow_network import FlowMotionNetwork
from motion324.observations import SIZE, observe, visible_points
from motion324.pictures import BACKGROUND, OPAQUE
from motion324.predict import Prediction, windows
from motion324.surface import sampled_points, vertex_points
from motion324.view_frame import crop_window, following_crops, view_frame
from v2m4 import threads
from v2m4.frame import Frame
from v2m4.image_window import Window, object_box
from v2m4.mesh import Mesh, MeshSequence

SOURCES = 1024  # points sampled on the surface that the network encodes, and that tell the others what is about them


@torch.no_grad()
def predict_in_view(
    network: FlowMotionNetwork,
    mesh: Mesh,
    frames: Sequence[Frame],
    times: np.ndarray | None = None,
    options: Prediction | None = None,
) -> MeshSequence:
    """Move a mesh as a video shows.

    Args:
        network: trained in the camera's axes (``axes: camera`` in its checkpoint's notes), in evaluation mode.
        mesh: in the video camera's space (OpenCV axes), in the pose of the first frame, as stage 2 leaves it.
        frames: T frames, background removed.
        times: (T,) seconds; the frames' numbers if None.
        options: window, chunk, smoothing and seed are used; the precision is that of the network's weights.

    Returns:
        poses (T, V, 3) in the video camera's space.

    Raises:
        ValueError: there is no frame, or the mesh has no extent or is behind the camera.
    """
    if not frames:
        raise ValueError("predict_in_view: no frames")
    options, config = options or Prediction(), network.config
    view = view_frame(mesh.vertices, frames[0].camera(), True)
    crops = following_crops(_boxes(frames, view.camera.window))
    pictures = _pictures(frames, view.camera.window, crops)
    placed = mesh.with_vertices(view.normalised(mesh.vertices))
    surface = sampled_points(placed, SOURCES, torch.Generator().manual_seed(options.seed))
    queries = vertex_points(placed)
    points, normals = (
        torch.cat([surface.points, queries.points], 1)[0],
        torch.cat([surface.normals, queries.normals], 1)[0],
    )
    visible = visible_points(
        view.world(points), normals @ view.rotation, mesh.vertices, mesh.faces, view.camera
    )  # fmt: skip
    observed = observe(pictures, crops, points, normals, visible, view.eye(), SOURCES)
    pictures = interpolate(pictures, (config.image_size, config.image_size), mode="bilinear", antialias=True)
    device = network.scale.device
    moved = torch.zeros(len(frames), len(placed.vertices), 3, device=device)
    with threads.for_networks():
        for window in windows(len(frames), options.window or config.window):
            later = observed[[index - 1 for index in window[1:]]][None]
            seen, asked = surface.seen_in(later[:, :, :SOURCES]), queries.seen_in(later[:, :, SOURCES:])
            tokens = network.encode(seen.to(device), pictures[window][None].to(device), crops[window][None].to(device))
            moved[window] = network.decode(tokens, asked.to(device), options.chunk)[0]
    if options.smoothing is not None:
        moved = options.smoothing(moved)
    vertices = view.world(moved.to(mesh.vertices))
    return MeshSequence(vertices, mesh, np.arange(len(vertices), dtype=np.float64) if times is None else times)


def _boxes(frames: Sequence[Frame], window: Window) -> Tensor:
    """Boxes (T, 4) of the object in fractions of a window; of the frame before where a frame does not show it."""
    x0, y0, x1, y1 = window
    boxes: list[Window] = []
    for frame in frames:
        shown = frame.rgba[..., 3].max() > OPAQUE or not boxes
        boxes.append(object_box(frame) if shown else boxes[-1])
    low = torch.tensor([x0, y0, x0, y0])
    return (torch.tensor(boxes, dtype=torch.float32) - low) / torch.tensor([x1 - x0, y1 - y0] * 2)


def _pictures(frames: Sequence[Frame], window: Window, crops: Tensor) -> Tensor:
    """Crops of all frames, (T, 3, S, S), the object on black."""
    shown = [
        frame.tensors(SIZE, crop_window(window, crop), BACKGROUND)[0] for frame, crop in zip(frames, crops, strict=True)
    ]
    return torch.stack(shown).permute(0, 3, 1, 2)
