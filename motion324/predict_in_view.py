"""Prediction by a network that was trained in the camera's axes: the mesh stands in the video camera's space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from motion324.flow_network import AnyMotionNetwork
from motion324.pictures import BACKGROUND
from motion324.predict import Prediction, windows
from motion324.surface import sampled_points, vertex_points
from motion324.view_frame import view_frame
from v2m4 import threads
from v2m4.frame import Frame
from v2m4.mesh import Mesh, MeshSequence


@torch.no_grad()
def predict_in_view(
    network: AnyMotionNetwork,
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
    shown = [frame.tensors(config.image_size, view.camera.window, BACKGROUND)[0] for frame in frames]
    pictures = torch.stack(shown).permute(0, 3, 1, 2)
    placed = mesh.with_vertices(view.normalised(mesh.vertices))
    surface = sampled_points(placed, config.surface_points, torch.Generator().manual_seed(options.seed))
    queries = vertex_points(placed)
    device = network.latent_queries.device
    surface, queries, pictures = surface.to(device), queries.to(device), pictures.to(device)
    moved = torch.zeros(len(frames), len(placed.vertices), 3, device=device)
    with threads.for_networks():
        for window in windows(len(frames), options.window or config.window):
            moved[window] = network.decode(network.encode(surface, pictures[window][None]), queries, options.chunk)[0]
    if options.smoothing is not None:
        moved = options.smoothing(moved)
    vertices = view.world(moved.to(mesh.vertices))
    return MeshSequence(vertices, mesh, np.arange(len(vertices), dtype=np.float64) if times is None else times)
