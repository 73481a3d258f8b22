"""Read and write meshes and animations as glTF (.glb, .gltf); read meshes in other formats.

``read_mesh`` reads OBJ, PLY, STL and OFF too.
"""

from __future__ import annotations

from pathlib import Path

from v2m4.io._gltf_images import EncodedImage, encode_texture
from v2m4.io._gltf_read import document_mesh, read_glb, weld_vertices
from v2m4.io._gltf_write import SplitMesh, split_at_seams, write_animation_glb, write_glb
from v2m4.io._user_mesh_obj import read_obj
from v2m4.io._user_mesh_ply import read_ply_off_stl
from v2m4.io.mesh_kinds import refusal
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


def read_mesh(path: Path, weld: bool = False) -> Mesh:
    """Read a mesh file.

    Args:
        path: .glb, .gltf, .obj, .ply, .stl or .off.
        weld: merge coincident vertices; ``uv_faces`` keeps texture seams.

    Raises:
        ValueError: the format is not known, or the file is broken or has no triangles.
        OSError: the file cannot be read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".glb", ".gltf"):
        return read_glb(path, weld)
    if suffix not in OTHER_FORMATS:
        raise ValueError(refusal(path, (".glb", ".gltf", *OTHER_FORMATS)))
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    document = read_obj(path) if suffix == ".obj" else read_ply_off_stl(path)
    mesh = document_mesh(document)
    return weld_vertices(mesh) if weld else mesh
