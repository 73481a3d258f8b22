"""No mirrored face: what a generator makes up about the back of an object does not reach the texture."""

from dataclasses import replace
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import torch

import texture
from generators.base import create
from v2m4.camera import Orbit
from v2m4.config import FAST, Config
from v2m4.frame import Frame
from v2m4.mesh import Asset, Mesh, MeshSequence
from v2m4.render import render_mesh
from v2m4.workspace import Workspace

SIZE = 128  # pixels of frames and renders
CONFIG = replace(
    FAST,
    device="cpu",
    max_faces=2000,
    generation=replace(FAST.generation, grid=96, texture_size=256),
    texture=replace(FAST.texture, size=256, views=10, view_size=128),
)


def robot() -> Frame:
    rgba = iio.imread(Path(__file__).resolve().parent.parent / "examples/waving_robot/0000.png").astype(np.float32)
    rgba[..., :3] *= rgba[..., 3:] / 255
    rgba = cv2.resize(rgba, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    rgba[..., :3] /= np.maximum(rgba[..., 3:] / 255, 1 / 255)
    return Frame("0000", 0, rgba.clip(0, 255).round().astype(np.uint8))


def head() -> Frame:
    """A round head with two dark eyes and a mouth, on a neck."""
    rgba = np.zeros((4 * SIZE, 4 * SIZE, 4), np.uint8)
    cv2.rectangle(rgba, (215, 300), (297, 460), (90, 120, 200, 255), -1)
    cv2.circle(rgba, (256, 220), 150, (230, 180, 150, 255), -1)
    for x in (205, 307):
        cv2.ellipse(rgba, (x, 200), (20, 28), 0, 0, 360, (20, 20, 30, 255), -1)
    cv2.ellipse(rgba, (256, 290), (40, 14), 0, 0, 360, (130, 30, 40, 255), -1)
    return Frame("0", 0, cv2.resize(rgba, (SIZE, SIZE), interpolation=cv2.INTER_AREA))


def textured(asset: Asset, frame: Frame, folder: Path, config: Config) -> Mesh:
    """The asset's shape with the texture of stage 4 from a single frame, in canonical pose."""
    assert asset.hint is not None
    to_camera = asset.hint.camera(frame.fov).extrinsics[0]
    posed = asset.mesh.transformed(to_camera)
    plain = Mesh(posed.vertices, posed.faces)
    sequence = MeshSequence(posed.vertices[None], plain, np.zeros(1))
    mesh = texture.run([frame], sequence, posed, Workspace(folder), config)
    return mesh.transformed(torch.linalg.inv(to_camera))


def brightness(mesh: Mesh, yaw: float) -> np.ndarray:
    """Luma (H, W) of the mesh, seen from a yaw in degrees; NaN outside."""
    camera = Orbit.of(yaw=np.radians(yaw), radius=2.2).camera()
    rendered = render_mesh(mesh, camera, SIZE, channels=("color",), antialias=False)
    luma = rendered.color[0].numpy() @ np.float32([0.299, 0.587, 0.114])
    return np.where(rendered.mask[0, ..., 0].numpy() > 0.5, luma, np.nan)


def face_on_both_sides(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Luma of the box about the dark parts of the head in front, and of the same box from behind."""
    front, back = brightness(mesh, 0), brightness(mesh, 180)[:, ::-1]
    rows, columns = np.nonzero(front[: SIZE // 2] < 0.3)
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    return front[box], back[box]


@pytest.mark.parametrize("generator", ["Inflate", "Prior"])
@pytest.mark.parametrize("picture", [robot, head])
def test_the_back_of_a_head_has_no_eyes(generator, picture, tmp_path):
    frame = picture()
    asset = create(generator, CONFIG).generate(frame)
    front, back = face_on_both_sides(textured(asset, frame, tmp_path, CONFIG))
    assert front.size > 100
    assert np.nanmin(front) < 0.2 and np.nanmax(front) - np.nanmin(front) > 0.4
    assert np.nanmin(back) > 0.45 and np.nanmax(back) - np.nanmin(back) < 0.3


def test_the_mirrored_picture_has_eyes(tmp_path):
    """What the test above would see without the confidence in the asset's colours."""
    frame = head()
    asset = create("Inflate", CONFIG).generate(frame)
    asset = replace(asset, mesh=replace(asset.mesh, color_confidence=None))
    _, back = face_on_both_sides(textured(asset, frame, tmp_path, CONFIG))
    assert np.nanmin(back) < 0.3
