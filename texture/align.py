"""Pictures that do not quite fit the mesh are shifted to where the texture says they belong.

A mesh follows a video to within a few pixels; the mean of frames that are a pixel apart is a blur. So the texture that
was solved first is rendered in every pose, optical flow finds where each of its pixels went in the frame, and the
colours are taken from there (the idea of Zhou and Koltun 2014, "Color map optimization for 3D reconstruction with
consumer depth cameras", with dense flow for their grid of control points).
"""

from __future__ import annotations

import cv2
import numpy as np
from torch import Tensor

from texture.observe import View, make_view, see_frame
from texture.texels import lookups, sample
from texture.unwrap import Atlas
from v2m4.camera import DEFAULT_FOV
from v2m4.frame import Frame
from v2m4.mesh import Mesh
from v2m4.threads import in_order

BACKGROUND = 0.5  # behind frame and render alike, so that outlines guide the flow too
RETURN = 1.5  # pixels off after there and back at which trust in the flow has fallen to 1 / e
LEAST_TRUST = 1e-3  # where flow fails; a texel that is seen nowhere else still gets a colour


def align_frames(
    frames: list[Frame],
    poses: Tensor,
    mesh: Mesh,
    atlas: Atlas,
    size: int,
    texture: np.ndarray,
    fov: float = DEFAULT_FOV,
) -> list[View]:
    """The aligned views, as ``observe_frames`` gives them, moved onto the texture.

    Args:
        frames: T frames.
        poses: (T, V, 3) in the video camera's space.
        mesh: for its faces.
        atlas: texture coordinates of the faces.
        size: rows of each view, cropped to the object.
        texture: (H, W, 3), solved from the views as they are.
        fov: of the video's camera, radians.
    """

    def look(pair: tuple[Frame, Tensor]) -> View:
        frame, vertices = pair
        finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        surface, picture, mask = see_frame(frame, mesh.with_vertices(vertices), atlas, size, fov)
        rendered = np.full_like(picture, BACKGROUND)
        rendered[surface.covered] = sample(texture, lookups(surface.uvs[surface.covered], texture.shape[0]))
        here, there = _gray(rendered), _gray(picture + BACKGROUND * (1 - mask))
        none = np.zeros((*here.shape, 2), dtype=np.float32)
        forward, backward = finder.calc(here, there, none.copy()), finder.calc(there, here, none)
        columns, rows = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in here.shape[::-1]))
        at = (columns + forward[..., 0], rows + forward[..., 1])
        error = np.linalg.norm(forward + cv2.remap(backward, *at, cv2.INTER_LINEAR), axis=2)
        moved = cv2.remap(np.dstack([picture, mask]), *at, cv2.INTER_LINEAR)
        trust = np.maximum(np.exp(-np.square(error / RETURN)), LEAST_TRUST)
        return make_view(surface, moved[..., :3], moved[..., 3:], trust)

    return in_order(look, zip(frames, poses, strict=True))


def _gray(picture: np.ndarray) -> np.ndarray:
    """Brightness (H, W) uint8 of a picture (H, W, 3) in [0, 1]."""
    return (np.clip(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 0, 1) * 255).astype(np.uint8)
