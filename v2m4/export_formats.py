"""Export an animation to further formats: FBX, USD and Alembic through Blender, and a file per frame as OBJ or PLY."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from v2m4.export import CAMERAS, read_cameras
from v2m4.export_rig import RIGGED
from v2m4.io.blender import export_with_blender
from v2m4.io.frame_files import MATERIAL_FILE, TEXTURE_FILE, ObjWriter, PlyWriter, is_textured, material_text
from v2m4.io.gltf import encode_texture
from v2m4.io.gltf_animation import read_animation
from v2m4.threads import count
from v2m4.workspace import Workspace, digest, folder_version

log = logging.getLogger(__name__)

WRITERS: dict[str, type[ObjWriter] | type[PlyWriter]] = {"obj": ObjWriter, "ply": PlyWriter}


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
