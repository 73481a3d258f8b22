"""Read and write meshes and animations as glTF (.glb, .gltf); read meshes in other formats.

``write_glb``, ``write_animation_glb`` and ``read_glb`` are this program's own; ``read_mesh`` reads OBJ, PLY, STL and
OFF too, through trimesh.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh

from v2m4.io._gltf_images import EncodedImage, encode_texture
from v2m4.io._gltf_read import read_glb, weld_vertices
from v2m4.io._gltf_write import SplitMesh, split_at_seams, write_animation_glb, write_glb
from v2m4.mesh import Mesh

__all__ = [
    "EncodedImage",
    "SplitMesh",
    "encode_texture",
    "read_glb",
    "read_mesh",
    "split_at_seams",
    "write_animation_glb",
    "write_glb",
]

OTHER_FORMATS = (".obj", ".ply", ".stl", ".off")


def read_mesh(path: Path, weld: bool = False, exact: bool = False) -> Mesh:
    """Read a mesh file.

    Args:
        path: .glb, .gltf, .obj, .ply, .stl or .off.
        weld: merge coincident vertices; ``uv_faces`` keeps texture seams.
        exact: vertices in float64, of formats other than glTF.

    Raises:
        ValueError: the format is not known, or the file is broken or has no triangles.
        OSError: the file cannot be read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".glb", ".gltf"):
        return read_glb(path, weld)
    if suffix not in OTHER_FORMATS:
        known = " ".join((".glb", ".gltf", *OTHER_FORMATS))
        raise ValueError(f"{path}: unknown mesh format {path.suffix!r}; known are {known}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        loaded = trimesh.load_mesh(path, process=False)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, NotImplementedError, ImportError) as error:
        raise ValueError(f"{path}: not readable as {suffix} ({error})") from error
    mesh = _from_trimesh(loaded, path, np.float64 if exact else np.float32)
    return weld_vertices(mesh) if weld else mesh


def _from_trimesh(loaded: trimesh.Trimesh, path: Path, dtype: type = np.float32) -> Mesh:
    """Convert a trimesh mesh; its texture coordinates have v upwards, ours downwards."""
    if not isinstance(loaded, trimesh.Trimesh) or len(loaded.faces) == 0:
        raise ValueError(f"{path}: no triangles in the file")
    mesh = Mesh(
        torch.from_numpy(np.array(loaded.vertices, dtype=dtype)),
        torch.from_numpy(np.array(loaded.faces, dtype=np.int64)),
    )
    visual: Any = loaded.visual
    uvs = getattr(visual, "uv", None)
    image = getattr(getattr(visual, "material", None), "image", None)
    if image is None:
        image = getattr(getattr(visual, "material", None), "baseColorTexture", None)
    if uvs is not None and image is not None and len(uvs) == len(mesh.vertices):
        flipped = np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1).astype(np.float32)
        texture = np.array(image.convert("RGB"), dtype=np.float32) / 255.0
        return Mesh(mesh.vertices, mesh.faces, torch.from_numpy(flipped), None, torch.from_numpy(texture))
    if visual.kind == "texture":
        visual = visual.to_color()
    if visual.kind is not None:
        colors = np.array(visual.vertex_colors[:, :3], dtype=np.float32) / 255.0
        return Mesh(mesh.vertices, mesh.faces, colors=torch.from_numpy(colors))
    return mesh
