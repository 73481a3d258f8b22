"""Read PLY, OFF and STL as a glTF document."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from v2m4.io._gltf_container import Document, GltfError
from v2m4.io._gltf_quantize import unit_normals
from v2m4.io._user_mesh_scene import SceneBuilder
from v2m4.io.gltf import read_mesh
from v2m4.io.srgb import srgb_to_linear


def read_ply_off_stl(path: Path) -> Document:
    """Read PLY, OFF or STL: one object of one material, with vertex colours or the texture that a PLY names."""
    mesh = read_mesh(path)
    vertices, faces = mesh.vertices.numpy(), mesh.faces
    colors = None if mesh.colors is None else srgb_to_linear(mesh.colors.numpy())
    scene = SceneBuilder(path)
    base: dict[str, object] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    uvs, normals = None, None
    if path.suffix.lower() == ".stl":  # vertices are repeated for each face, and faces are flat
        vertices, index = np.unique(vertices + np.float32(0), axis=0, return_inverse=True)
        faces, colors = faces.new_tensor(index.reshape(-1)[faces.numpy()]), None
    else:
        normals = unit_normals(vertices, faces)
    if mesh.uvs is not None:
        uvs, base["baseColorTexture"] = mesh.uvs.numpy(), {"index": scene.texture(_ply_texture_name(path))}
    material = scene.material({"name": path.stem, "doubleSided": True, "pbrMetallicRoughness": base})
    attributes = {"POSITION": vertices, "NORMAL": normals, "TEXCOORD_0": uvs, "COLOR_0": colors}
    scene.object(path.stem, [scene.primitive(attributes, faces.numpy(), material)])
    return scene.document()


def _ply_texture_name(path: Path) -> str:
    """The name of the texture file in the header of a PLY with texture coordinates."""
    header = path.read_bytes().partition(b"end_header")[0].decode("utf-8", "replace")
    match = re.search(r"^comment TextureFile (.+?)\s*$", header, re.MULTILINE)
    if match is None:
        raise GltfError(f"{path}: texture coordinates, but no comment TextureFile that names the picture")
    return match[1]
