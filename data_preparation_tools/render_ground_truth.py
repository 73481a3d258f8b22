"""Make a test case of known truth from an animated mesh file: pictures of a clip and the true mesh of every frame.

    python data_preparation_tools/render_ground_truth.py Fox.glb --clip Walk --frames 32 --yaw 35 --pitch 8 \
        --output cases --name fox_walk_35

writes RGBA pictures cases/fox_walk_35/0000.png and so on, and cases/ground_truth/fox_walk_35.npz (see
``v2m4.ground_truth``): what ``main.py`` takes as input, and what ``evaluation/`` measures its result against. The first
frame's mesh with its own texture lies beside it as fox_walk_35.glb, for methods that deform a user mesh (``--mesh``).

Any format that ``main.py --mesh`` takes is read; a file without a clip gives a still case, the same pose in all frames.

One similarity, the same for all frames, brings the first frame into the cube [-0.5, 0.5]^3 (so later frames may leave
it). One camera sees all frames; the whole motion is in the picture. The truth's vertices are those of the asset, joined
where they are the same place in every frame; a textured surface is subdivided (which leaves it where it is), so that
colours at its vertices show what the texture shows. The same options give the same bytes on the same machine.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_preparation_tools.frame_files import save_frame
from v2m4.camera import Camera, Orbit, framing
from v2m4.command_line import end_with, parse_options
from v2m4.config import LARGEST_FOV, LEAST_FOV
from v2m4.decimate import vertex_colors
from v2m4.ground_truth import TRUTH_FOLDER, GroundTruth
from v2m4.io.any_mesh import list_clips, read_clip
from v2m4.io.gltf import write_glb
from v2m4.io.names import safe_name
from v2m4.io.srgb import linear_to_srgb, srgb_to_linear
from v2m4.lit_frames import render_frames, surface_paint
from v2m4.mesh import Mesh, MeshSequence
from v2m4.workspace import atomic

log = logging.getLogger("render_ground_truth")

STILL_FPS = 24.0  # of a file without animations
PICTURE_FILL = 0.8  # of the picture's side, that the whole motion spans


@dataclass(frozen=True)
class GroundTruthOptions:
    """Render a clip of an animated mesh file, and keep the true mesh of every frame."""

    # The animated file: .glb .gltf .vrm .fbx, or a .zip with one; a still mesh of any format gives a still case.
    asset: Annotated[Path, tyro.conf.Positional]
    # Folder for the pictures (a folder of its own in it) and the truth (in its folder ground_truth).
    output: Path
    # Name or number of the clip; an unknown one lists what there is (default: the first).
    clip: str | None = None
    # Number of pictures N, spread evenly over one period of the clip: picture i shows the time first key + i / N of the
    # way to the last key. The last key itself, in a loop the same pose as the first, is not shown again.
    frames: int = 32
    # Yaw of the camera, degrees to the object's left of its front.
    yaw: float = 35.0
    # Pitch of the camera, degrees above the horizon.
    pitch: float = 8.0
    # Vertical field of view of the camera, degrees.
    fov: float = 40.0
    # Of the case (default: <file>_<clip>_<yaw>, small letters).
    name: str | None = None
    # Width and height of the pictures, pixels.
    size: int = 512
    # Frames per second that the truth notes (default: what plays the clip at its own speed).
    fps: float | None = None
    # Photographic stops by which colours are brightened, for assets too dark to see.
    exposure: float = 0.0
    # A textured surface is subdivided until the truth has this many faces at least.
    faces: int = 20000
    # Blender's executable or folder, or a Python environment with bpy; only .fbx needs it.
    blender_path: Path | None = None


def clip_times(options: GroundTruthOptions) -> tuple[int | None, str, np.ndarray, float]:
    """The clip's index and name, the times (T,) of the frames, and the clip's duration, seconds.

    Without any clips in the file the index is None, the name "still", and a frame lasts 1 / STILL_FPS.

    Raises:
        ValueError: the file is not readable, there is no such clip, or nothing moves in it.
    """
    asset, clip, frames = options.asset, options.clip, options.frames
    clips = list_clips(asset, options.blender_path)
    if not clips and clip is None:
        log.warning("%s: no animation in it; all %d frames show the same pose", asset, frames)
        return None, "still", np.arange(frames) / STILL_FPS, frames / STILL_FPS
    listed = ", ".join(item.name for item in clips) or "none"
    chosen = [number for number, item in enumerate(clips) if clip in (None, item.name)]
    chosen += [number for number in range(len(clips)) if clip == str(number)]
    if not chosen:
        raise ValueError(f"{asset}: no clip {clip!r}; its clips: {listed}")
    chosen_clip = clips[chosen[0]]
    length = chosen_clip.stop - chosen_clip.start
    if length <= 0:
        raise ValueError(f"{asset}: clip {chosen_clip.name!r} is a single moment; its clips: {listed}")
    return chosen[0], chosen_clip.name, chosen_clip.start + length * np.arange(frames) / frames, length


def brightened(mesh: Mesh, stops: float) -> Mesh:
    """The mesh with its colours brightened by photographic stops."""

    def brighten(colors: Tensor | None) -> Tensor | None:
        if colors is None or stops == 0:
            return colors
        return torch.from_numpy(linear_to_srgb(np.minimum(srgb_to_linear(colors.numpy()) * 2**stops, 1)))

    return replace(mesh, texture=brighten(mesh.texture), colors=brighten(mesh.colors))


def subdivide(sequence: MeshSequence, faces: int) -> MeshSequence:
    """Midpoint subdivision of every triangle into four until there are ``faces``; the surface does not change."""
    while len(sequence.mesh.faces) < faces:
        mesh = sequence.mesh
        edges, subfaces = _midpoint_subdivision(mesh.faces, len(mesh.vertices))
        vertices = torch.cat([sequence.vertices, sequence.vertices[:, edges].mean(2)], 1)
        fine = Mesh(torch.cat([mesh.vertices, mesh.vertices[edges].mean(1)]), subfaces, texture=mesh.texture)
        if mesh.uvs is not None:
            corners = mesh.faces if mesh.uv_faces is None else mesh.uv_faces
            uv_edges, uv_cut = _midpoint_subdivision(corners, len(mesh.uvs))
            fine = replace(fine, uvs=torch.cat([mesh.uvs, mesh.uvs[uv_edges].mean(1)]), uv_faces=uv_cut)
        if mesh.colors is not None:
            fine = replace(fine, colors=torch.cat([mesh.colors, mesh.colors[edges].mean(1)]))
        sequence = replace(sequence, vertices=vertices, mesh=fine)
    return sequence


def _midpoint_subdivision(faces: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The edges (E, 2), whose midpoints become vertices ``count`` and on, and the subdivided faces (4 F, 3)."""
    sides = torch.stack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]], 1)
    edges, index = torch.unique(sides.reshape(-1, 2).sort(1).values, dim=0, return_inverse=True)
    a, b, c = faces.unbind(1)
    ab, bc, ca = (index.reshape(-1, 3) + count).unbind(1)
    subfaces = torch.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], 1)
    return edges, subfaces.reshape(-1, 3)


def check_visible(poses: Tensor, camera: Camera) -> None:
    """Refuse a camera whose picture does not contain the whole motion (T, V, 3).

    Raises:
        ValueError: it does not, because the lens is too wide for a camera outside of the object.
    """
    pixels, depth = camera.project(poses.reshape(-1, 3), (1, 1))
    if not bool((depth > 0).all() and (pixels >= 0).all() and (pixels <= 1).all()):
        angle = math.degrees(camera.fov)
        raise ValueError(
            f"--fov {angle:g}: no camera with this lens could be placed to see the motion; take a smaller one"
        )


def make_case(options: GroundTruthOptions) -> tuple[str, GroundTruth]:
    """Write the pictures and the truth of one case; returns its name and the truth.

    Raises:
        ValueError: the asset or its clip is not readable.
        OSError: a file cannot be read or written.
    """
    clip, clip_name, times, length = clip_times(options)
    name = options.name or safe_name(f"{options.asset.stem}_{clip_name}_{options.yaw:g}".lower().replace(" ", "_"))
    asset = read_clip(options.asset, clip, times, weld=True, blender_path=options.blender_path)
    matrix = asset[0].normalizing()
    poses = asset.vertices @ matrix[:3, :3].T + matrix[:3, 3]
    asset = replace(asset, vertices=poses, mesh=brightened(asset.mesh.with_vertices(poses[0]), options.exposure))
    fov = math.radians(options.fov)
    camera = framing(asset.vertices, options.yaw, options.pitch, PICTURE_FILL, fov)
    check_visible(asset.vertices, Orbit.from_parameters(camera[None]).camera(fov))
    fine = subdivide(asset, options.faces) if asset.mesh.texture is not None else asset
    colors = vertex_colors(fine.mesh) if fine.mesh.colors is not None or fine.mesh.texture is not None else None
    truth = GroundTruth.of(
        fine.vertices.double().numpy(),
        fine.mesh.faces.numpy(),
        np.full((fine.vertices.shape[1], 3), 0.8) if colors is None else colors.numpy(),
        camera,
        fov,
        options.fps or options.frames / length,
    )
    paint = surface_paint(asset.mesh)
    for index, picture in enumerate(
        render_frames(asset.vertices, asset.mesh.faces, paint, truth.orbit(), options.size, fov)
    ):
        save_frame(picture, options.output / name, index)
    truth.save(options.output / TRUTH_FOLDER / f"{name}.npz")
    with atomic(options.output / TRUTH_FOLDER / f"{name}.glb") as temporary:
        write_glb(temporary, asset[0])
    return name, truth


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 when all is well, 1 when the work failed, 2 on bad usage."""
    options = parse_options(GroundTruthOptions, arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s")
    if options.frames < 1 or options.size < 1 or (options.fps is not None and options.fps <= 0):
        log.error("--frames, --size and --fps must be positive")
        return 2
    if not LEAST_FOV <= options.fov <= LARGEST_FOV:
        log.error("--fov %g: must lie between %d and %d degrees", options.fov, LEAST_FOV, LARGEST_FOV)
        return 2
    if not options.asset.is_file():
        log.error("%s: no such file", options.asset)
        return 2
    try:
        name, truth = make_case(options)
    except (ValueError, OSError, RuntimeError) as error:
        log.error("%s", error)
        return 1
    frames, vertices = truth.vertices.shape[:2]
    summary = f"{frames} frames at {truth.fps:.4g} a second, {vertices} vertices, {len(truth.faces)} faces"
    log.info("%s: %s", options.output / name, summary)
    return 0


if __name__ == "__main__":
    end_with(main)
