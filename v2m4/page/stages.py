"""Pictures of the four stages at the first key frame: those that the stages wrote, else rendered from their meshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from v2m4.camera import Camera, Orbit, picture_shape
from v2m4.export import FRAME_MESH, REST_MESH
from v2m4.io.gltf import read_glb
from v2m4.io.picture import read_picture
from v2m4.mesh import Mesh
from v2m4.page.run import Run
from v2m4.render import render_mesh
from v2m4.result_meshes import scale_cameras, unit_distance_scale

SIZE = 384  # longer side of a rendered picture, pixels
ORBIT_RADIUS = 2.0  # of the camera in front of a mesh in the unit cube


@dataclass(frozen=True)
class StagePicture:
    """One picture of a stage.

    Attributes:
        title: of the stage.
        caption: what the picture shows, panel by panel.
        pixels: (H, W, 3 or 4) uint8.
    """

    title: str
    caption: str
    pixels: np.ndarray


def stage_pictures(run: Run) -> list[StagePicture]:
    """The input and the stages that left a picture or a mesh of the first key frame, in order.

    Raises:
        ValueError: a picture or a mesh is damaged.
    """
    name = run.key_frame
    found = []
    frame = run.picture(name)
    if frame is not None:
        found.append(StagePicture("Input", f"Frame {name}, background removed.", frame))
    found += _generated(run, name)
    found += _stage(
        run,
        "Camera",
        f"2_camera_search/{name}.png",
        "The frame, the mesh through the camera that was found, and both masks: white where they agree.",
        [f"{name}_re-canonicalization_sample.glb"],
    )
    found += _stage(
        run,
        "Registration",
        f"3_registration/{name}_check.png",
        "The frame, the registered mesh, its normals, and both masks: white where they agree.",
        [f"{name}_consistency_sample.glb"],
    )
    found += _stage(
        run,
        "Texture",
        "4_texture/comparison.png",
        "Frames of the video above, the textured mesh in them below.",
        [] if run.is_user_mesh else [FRAME_MESH.format(name)],
    )
    return found


def _generated(run: Run, name: str) -> list[StagePicture]:
    file = run.folder / f"1_generation/{name}_preview.png"
    if file.is_file():
        caption = "The frame, then the generated mesh from several sides: colours above, normals below."
        return [StagePicture("Generation", caption, read_picture(file))]
    if run.is_user_mesh and (run.folder / REST_MESH).is_file():
        mesh = read_glb(run.folder / REST_MESH)
        caption = "The user mesh in its rest pose, from the front and from the side: colours and normals."
        return [StagePicture("User mesh", caption, _from_two_sides(mesh))]
    return []


def _stage(run: Run, title: str, file: str, caption: str, meshes: Sequence[str]) -> list[StagePicture]:
    if (run.folder / file).is_file():
        return [StagePicture(title, caption, read_picture(run.folder / file))]
    for name in meshes:
        if (run.folder / name).is_file():
            mesh = read_glb(run.folder / name)
            return [StagePicture(title, "The mesh through the video's camera: colours and normals.", _seen(run, mesh))]
    return []


def _seen(run: Run, mesh: Mesh) -> np.ndarray:
    """A mesh through the video's camera: colours and normals side by side, (H, 2 W, 3) uint8."""
    camera = run.video.cameras[0]
    scale = unit_distance_scale(mesh, camera)
    shape = picture_shape(camera.aspect, SIZE)
    return _colours_and_normals(mesh.with_vertices(mesh.vertices * scale), scale_cameras(camera, scale), shape)


def _from_two_sides(mesh: Mesh) -> np.ndarray:
    unit = mesh.transformed(mesh.normalizing())
    views = [Orbit.of(yaw, radius=ORBIT_RADIUS).camera() for yaw in (0.0, np.pi / 2)]
    return np.concatenate([_colours_and_normals(unit, camera, (SIZE, SIZE)) for camera in views], 1)


def _colours_and_normals(mesh: Mesh, camera: Camera, shape: tuple[int, int]) -> np.ndarray:
    view = render_mesh(mesh, camera, shape, channels=("color", "mask", "normal"), background=1.0)
    normals = view.normal * view.normal.new_tensor([0.5, -0.5, -0.5]) + 0.5 * view.mask + (1 - view.mask)
    both = torch.cat([view.color[0], normals[0]], 1)
    return (both.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
