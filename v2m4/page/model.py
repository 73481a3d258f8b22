"""The animation as the page holds it: the GLB itself, compressed, or a smaller copy where that would be too large."""

from __future__ import annotations

import base64
import gzip
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from v2m4.decimate import simplified, vertex_colors
from v2m4.export import ANIMATION
from v2m4.export_rig import RIGGED
from v2m4.io.gltf import encode_texture, write_animation_glb
from v2m4.io.gltf_joints import joints_glb
from v2m4.io.picture import resized
from v2m4.memory import return_free_memory
from v2m4.mesh import Mesh, MeshSequence
from v2m4.page.run import Run

SKELETON_LIMIT = 1_000_000  # bytes of the compressed skeleton
TEXTURE_SIZES = (2048, 1024, 512)  # longer sides of the texture of a smaller copy, pixels
POSE_RATE = 10.0  # poses per second that a smaller copy keeps before its mesh is decimated
FACES = (20000, 10000, 5000, 2500, 1200)  # of a decimated copy
TEXTURE_QUALITY = 88  # JPEG
LEAST_SHARE = 0.7  # of the estimated size of a copy; a copy that would not even fit at that is not tried


@dataclass(frozen=True)
class EmbeddedModel:
    """A GLB inside of the page.

    Attributes:
        text: gzip-compressed bytes as base64.
        note: in which way it differs from the file beside the page; empty where it does not.
    """

    text: str
    note: str = ""


def embedded_model(run: Run, budget: int) -> EmbeddedModel:
    """The animation for the page: the whole file if it fits, else a copy with a smaller texture, fewer poses and faces.

    Args:
        run: the animation.
        budget: bytes that its base64 text may take.

    Raises:
        ValueError: the animation is broken, or not even the smallest copy fits.
    """
    data = (run.folder / ANIMATION).read_bytes()
    whole = _packed(data)
    if len(whole) <= budget:
        return EmbeddedModel(whole)
    full = run.poses_at(run.times[:1]).mesh
    texture = 0 if full.texture is None else len(encode_texture(full.texture).data)
    poses = max(len(whole) - 4 / 3 * texture, 0)
    for faces, texture_size, step in _reductions(run):
        share = min(faces / len(full.faces), 1.0) if faces else 1.0
        if LEAST_SHARE * poses * share / step > budget:
            continue
        text = _packed(_reduced_glb(run, full, faces, texture_size, step))
        return_free_memory()
        if len(text) <= budget:
            return EmbeddedModel(text, _note(run, faces, texture_size, step, len(data)))
    raise ValueError(f"{run.folder / ANIMATION}: not even a decimated copy of it fits into the page")


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode("ascii")


def _reductions(run: Run) -> list[tuple[int, int, int]]:
    """Copies to try in turn: faces (0 for all), longer side of the texture, and one pose in how many frames."""
    duration = float(run.times[-1] - run.times[0])
    rate = (len(run.times) - 1) / duration if duration > 0 else POSE_RATE
    coarsest = max(1, round(rate / POSE_RATE))
    tries = [(0, size, 1) for size in TEXTURE_SIZES[:2]]
    tries += [(0, TEXTURE_SIZES[-1], step) for step in sorted({1, min(2, coarsest), coarsest})]
    tries += [(faces, TEXTURE_SIZES[-1], coarsest) for faces in FACES]
    return tries + [(FACES[-1], TEXTURE_SIZES[-1], coarsest * factor) for factor in (2, 4, 8, 16)]


def _note(run: Run, faces: int, texture_size: int, step: int, size: int) -> str:
    """What a smaller copy lacks, in one sentence."""
    parts = []
    if step > 1:
        parts.append(f"one pose in {step} frames, the others interpolated")
    parts.append(
        f"about {faces} faces, coloured per vertex" if faces else f"a texture of {texture_size} pixels at most"
    )
    return (
        f"The 3D view shows a smaller copy of the animation ({'; '.join(parts)}), because {ANIMATION} "
        f"({size / 1e6:.1f} MB) would make this page too large."
    )


def _reduced_glb(run: Run, full: Mesh, faces: int, texture_size: int, step: int) -> bytes:
    """A copy of the animation with at most so many faces, so large a texture, and one pose in ``step`` frames."""
    count = len(run.times)
    kept = np.unique(np.append(np.arange(0, count, step), count - 1))
    mesh, source = _smaller_mesh(full, faces, texture_size)
    poses = [sequence.vertices[:, source] for sequence in run.poses(kept)]
    sequence = MeshSequence(torch.cat(poses), mesh, run.times[kept])
    texture = None if mesh.texture is None else encode_texture(mesh.texture, "jpeg", TEXTURE_QUALITY)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "animation.glb"
        write_animation_glb(file, sequence, texture=texture)
        return file.read_bytes()


def _smaller_mesh(mesh: Mesh, faces: int, texture_size: int) -> tuple[Mesh, Tensor]:
    """The mesh with fewer faces and a smaller texture, and the vertex (V',) of the mesh that each of its vertices is.

    Vertices of the decimated mesh are moved to the nearest vertices of the mesh, so that their poses are known.
    """
    everything = torch.arange(len(mesh.vertices))
    if not faces or len(mesh.faces) <= faces:
        if mesh.texture is None:
            return mesh, everything
        pixels = (mesh.texture.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        return replace(
            mesh, texture=torch.from_numpy(resized(pixels, texture_size).astype(np.float32) / 255)
        ), everything
    coloured = mesh
    if mesh.colors is None and (mesh.texture is None or mesh.uvs is None):
        coloured = replace(mesh, colors=torch.full_like(mesh.vertices, 0.7))
    small = simplified(coloured, faces)
    points = mesh.vertices.numpy()
    source, index = np.unique(cKDTree(points).query(small.vertices.numpy())[1], return_inverse=True)
    triangles = index.reshape(-1)[small.faces.numpy()]
    triangles = triangles[(np.diff(np.sort(triangles, 1), axis=1) > 0).all(1)]
    colors = vertex_colors(coloured)[source]
    return Mesh(mesh.vertices[source], torch.from_numpy(triangles), colors=colors), torch.from_numpy(source)


def embedded_skeleton(run: Run) -> EmbeddedModel | None:
    """The joints and the animation of the rigged file, or of a user mesh's own skeleton; None where there is neither.

    A file whose joints alone are large is left out.

    Raises:
        ValueError: the file is broken.
    """
    file = run.folder / (ANIMATION if "skeleton" in run.manifest else RIGGED)
    if not file.is_file():
        return None
    text = _packed(joints_glb(file))
    return EmbeddedModel(text) if len(text) <= SKELETON_LIMIT else None
