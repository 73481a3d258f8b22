"""Alignment of the frames with the texture by dense optical flow.

The poses match a video to within a few pixels only, and the mean of frames that are a pixel apart is blurred. So the
texture of a first solution is rendered in every pose, dense optical flow is computed from the rendering to the frame,
and each pixel takes the frame's colour at the end of its flow vector (the idea of Zhou and Koltun 2014, "Color map
optimization for 3D reconstruction with consumer depth cameras", with dense flow for their grid of control points).
"""

from __future__ import annotations

import cv2
import numpy as np
from torch import Tensor

from texture.observe import ObservedPixels, observed_pixels, render_in_frame
from texture.texels import lookups, sample
from texture.unwrap import Atlas
from v2m4.frame import Frame
from v2m4.mesh import Mesh
from v2m4.optical_flow import FAST, dense_flow
from v2m4.threads import in_runs

BACKGROUND = 0.5  # grey behind both frame and rendering, so that outlines take part in the flow
ROUND_TRIP_SCALE = 1.5  # forward-backward error at which confidence in the flow is 1 / e, pixels
MIN_CONFIDENCE = 1e-3  # where flow fails: a texel that is visible nowhere else still gets a colour


def align_frames(
    frames: list[Frame],
    poses: Tensor,
    mesh: Mesh,
    atlas: Atlas,
    size: int,
    texture: np.ndarray,
) -> list[ObservedPixels]:
    """Pixels of every frame as from ``observe_frames``, the frame warped by optical flow onto the rendered texture.

    Args:
        frames: T frames.
        poses: (T, V, 3) in the video camera's space.
        mesh: gives the faces.
        atlas: texture coordinates of the faces.
        size: rows of each view, which is cropped to the object.
        texture: (H, W, 3), solved from the views without alignment.
    """

    def align(number: int) -> ObservedPixels:
        surface, image, mask = render_in_frame(frames[number], mesh.with_vertices(poses[number]), atlas, size)
        rendered = np.full_like(image, BACKGROUND)
        rendered[surface.covered] = sample(texture, lookups(surface.uvs[surface.covered], texture.shape[0]))
        here, there = _gray(rendered), _gray(image + BACKGROUND * (1 - mask))
        none = np.zeros((*here.shape, 2), dtype=np.float32)
        forward, backward = dense_flow(here, there, FAST, none), dense_flow(there, here, FAST, none)
        columns, rows = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in here.shape[::-1]))
        at = (columns + forward[..., 0], rows + forward[..., 1])
        round_trip_error = np.linalg.norm(forward + cv2.remap(backward, *at, cv2.INTER_LINEAR), axis=2)
        warped = cv2.remap(np.dstack([image, mask]), *at, cv2.INTER_LINEAR)
        confidence = np.maximum(np.exp(-np.square(round_trip_error / ROUND_TRIP_SCALE)), MIN_CONFIDENCE)
        return observed_pixels(surface, warped[..., :3], warped[..., 3:], confidence).thinned(number, len(frames))

    return list(in_runs(align, range(len(frames)), several=poses.device.type == "cpu"))


def _gray(image: np.ndarray) -> np.ndarray:
    """Brightness (H, W) uint8 of a picture (H, W, 3) in [0, 1]."""
    return (np.clip(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 0, 1) * 255).astype(np.uint8)
