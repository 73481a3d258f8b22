"""Read a mesh or an animation from a file of any format that a user's mesh may have."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from v2m4.io._gltf_container import Document
from v2m4.io._gltf_read import document_mesh, read_glb, weld_vertices
from v2m4.io._user_mesh_obj import read_obj
from v2m4.io._user_mesh_ply import read_ply_off_stl
from v2m4.io.fbx import fbx_to_glb
from v2m4.io.gltf_animation import Animation, list_animations, read_animation
from v2m4.io.mesh_file import GLTF_FORMATS, STILL_FORMATS, model_file
from v2m4.mesh import Mesh, MeshSequence

__all__ = ["gltf_or_still_file", "list_clips", "read_any_mesh", "read_clip", "read_still_document"]


@contextmanager
def gltf_or_still_file(path: Path, blender_path: Path | None = None) -> Iterator[tuple[Path, str]]:
    """A file as one of GLTF_FORMATS or STILL_FORMATS, and which: a .zip is unpacked, an .fbx converted by Blender.

    Raises:
        FileNotFoundError: there is no such file, or it is an .fbx and there is no Blender.
        ValueError: its format is not read, or it is a .zip without exactly one model.
        OSError: it cannot be read.
        RuntimeError: Blender failed.
    """
    with model_file(path) as (file, kind):
        if kind != ".fbx":
            yield file, kind
            return
        if blender_path is None:
            raise FileNotFoundError(
                f"{path}: FBX is read through Blender; give --blender_path (Blender, or a Python environment with:"
                " pip install bpy), or save it as GLB"
            )
        with tempfile.TemporaryDirectory() as folder:
            yield fbx_to_glb(file, Path(folder) / f"{file.stem}.glb", blender_path), ".glb"


def read_any_mesh(path: Path, weld: bool = False, blender_path: Path | None = None) -> Mesh:
    """Read a file as a still mesh.

    Args:
        path: of any of ``mesh_file.FORMATS``.
        weld: merge coincident vertices.
        blender_path: Blender or a Python with bpy, for FBX.

    Raises:
        FileNotFoundError, ValueError, OSError, RuntimeError: as ``gltf_or_still_file``, or the file is broken.
    """
    with gltf_or_still_file(path, blender_path) as (file, kind):
        if kind in GLTF_FORMATS:
            return read_glb(file, weld)
        mesh = document_mesh(read_still_document(file, kind))
    return weld_vertices(mesh) if weld else mesh


def read_still_document(file: Path, kind: str) -> Document:
    """Read a file of one of STILL_FORMATS, ``kind``, as a glTF document.

    Raises:
        ValueError: the file is broken or has no faces.
        OSError: it cannot be read.
    """
    return read_obj(file) if kind == ".obj" else read_ply_off_stl(file)


def list_clips(path: Path, blender_path: Path | None = None) -> list[Animation]:
    """The animation clips of a file, in its order; none of a format that has no animations.

    Raises:
        FileNotFoundError, ValueError, OSError, RuntimeError: as ``gltf_or_still_file``, or the file is broken.
    """
    with gltf_or_still_file(path, blender_path) as (file, kind):
        return [] if kind in STILL_FORMATS else list_animations(file)


def read_clip(
    path: Path,
    clip: str | int | None = None,
    times: Sequence[float] | np.ndarray | None = None,
    weld: bool = False,
    blender_path: Path | None = None,
) -> MeshSequence:
    """Read a clip of a file; a file without clips is one pose, or the same pose at all times.

    Args:
        path: of any of ``mesh_file.FORMATS``.
        clip: its name or number; None is the first.
        times: (T,) seconds; None: those of all keys.
        weld: merge vertices that coincide in all poses.
        blender_path: Blender or a Python with bpy, for FBX.

    Raises:
        FileNotFoundError, ValueError, OSError, RuntimeError: as ``gltf_or_still_file``, or the file is broken or has
            no such clip.
    """
    with gltf_or_still_file(path, blender_path) as (file, kind):
        if kind not in STILL_FORMATS and (clip is not None or list_animations(file)):
            return read_animation(file, clip, times, weld)
        if clip is not None:
            raise ValueError(f"{path}: has no animations, so no clip {clip!r}")
        mesh = read_any_mesh(file, weld)
    moments = np.zeros(1) if times is None else np.asarray(times, dtype=np.float64).reshape(-1)
    return MeshSequence(mesh.vertices[None].repeat(len(moments), 1, 1), mesh, moments)
