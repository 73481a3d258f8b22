"""The files that are made from a finished animation: contact sheet and conversions to other formats."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from torch import Tensor

from v2m4.config import Config
from v2m4.contact_sheet import draw_contact_sheet
from v2m4.export import CAMERAS, read_cameras
from v2m4.formats import need_blender
from v2m4.frame import Clip
from v2m4.io.blender import export_with_blender
from v2m4.io.frame_files import MATERIAL_FILE, TEXTURE_FILE, ObjWriter, PlyWriter, is_textured, material_text
from v2m4.io.gltf import encode_texture
from v2m4.io.gltf_animation import read_animation
from v2m4.mesh import MeshSequence
from v2m4.threads import count
from v2m4.workspace import Workspace, digest, folder_version

log = logging.getLogger(__name__)

RIGGED = "output_animation_rigged.glb"  # the animation with a skeleton, where one was fitted
WRITERS: dict[str, type[ObjWriter] | type[PlyWriter]] = {"obj": ObjWriter, "ply": PlyWriter}


def write_further_outputs(
    workspace: Workspace, animation: Path, sequence: MeshSequence, extrinsics: Tensor, clip: Clip, config: Config
) -> None:
    """Write what the options ask for beside ``output_animation.glb``.

    Args:
        workspace: the animation's folder.
        animation: the exported GLB.
        sequence: the poses of all frames, in the video camera's space.
        extrinsics: (4, 4), the video camera in the upright world, in the same units.
        clip: the video.
        config: the options.

    Raises:
        RuntimeError: a conversion failed.
        OSError: a file cannot be written.
    """
    draw_contact_sheet(workspace, sequence, extrinsics)
    formats = config.format_names
    by_blender = need_blender(formats)
    if by_blender and config.blender_path is not None:
        frames = round(float(clip.seconds[-1]) * clip.fps) + 1  # Blender's time begins at 0
        convert_with_blender(workspace, animation, by_blender, config.blender_path, fps=clip.fps, frames=frames)
    if any(name in formats for name in WRITERS):
        write_frame_files(workspace, animation, [name for name in WRITERS if name in formats])


def convert_with_blender(
    workspace: Workspace, animation: Path, formats: list[str], blender_path: Path, *, fps: float, frames: int
) -> None:
    """Convert the animation to those of the formats whose file is missing or stale.

    FBX is made of RIGGED where that file is present, and has a skeleton then.

    Args:
        workspace: the animation's folder.
        animation: the exported GLB.
        formats: out of ``BLENDER_FORMATS``.
        blender_path: see ``blender_command``.
        fps: frames per second.
        frames: number of frames.

    Raises:
        RuntimeError: Blender failed.
        OSError: a file cannot be written.
    """
    rigged = animation.with_name(RIGGED)
    sources = [path.read_bytes() for path in (animation, rigged) if path.is_file()]
    key = digest(*sources, fps, frames, str(blender_path), folder_version("v2m4/io"))
    stale = [f".{name}" for name in formats if not workspace.fresh(animation.with_suffix(f".{name}").name, key)]
    if not stale:
        return
    written = export_with_blender(
        animation,
        blender_path,
        fps=fps,
        frames=frames,
        formats=stale,
        rigged=rigged if rigged.is_file() else None,
    )
    for path in written:
        workspace.record(path.name, key)
    log.info("%s: wrote %s", workspace.root, ", ".join(path.name for path in written))


def write_frame_files(workspace: Workspace, animation: Path, formats: list[str]) -> None:
    """Write each frame of the animation as a file, in ``output_animation_obj/`` and ``output_animation_ply/``.

    Args:
        workspace: the animation's folder.
        animation: the exported GLB; its textures, if several, become one.
        formats: out of WRITERS.

    Raises:
        ValueError: the animation or its cameras cannot be read back.
        OSError: a file cannot be written.
    """
    video = read_cameras(workspace.path(CAMERAS))
    key = digest(animation.read_bytes(), video.names, video.times.tolist(), folder_version("v2m4/io"))
    sequence = read_animation(animation, times=video.times, weld=True, origin=video.origin)
    mesh = sequence.mesh
    for name in formats:
        folder = f"{animation.stem}_{name}"
        if is_textured(mesh) and mesh.texture is not None:
            texture = encode_texture(mesh.texture).data
            workspace.make_file(f"{folder}/{TEXTURE_FILE}", key, partial(_write_bytes, data=texture))
            if name == "obj":
                material = material_text(mesh).encode("ascii")
                workspace.make_file(f"{folder}/{MATERIAL_FILE}", key, partial(_write_bytes, data=material))
        writer = WRITERS[name].of(sequence, video.origin)
        files = [f"{folder}/{frame}.{name}" for frame in video.names]
        workspace.make_files(files, key, writer.write, count())
        for file in workspace.path(folder).glob(f"*.{name}"):  # of an earlier run on other frames
            if file.stem not in video.names:
                file.unlink()


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)
