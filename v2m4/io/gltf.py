"""Read and write meshes and animations as glTF (.glb, .gltf); ``v2m4.io.any_mesh`` reads other formats too."""

from __future__ import annotations

from v2m4.io._gltf_images import EncodedImage, encode_texture
from v2m4.io._gltf_read import read_glb
from v2m4.io._gltf_write import SplitMesh, split_at_seams, write_animation_glb, write_glb

__all__ = [
    "EncodedImage",
    "SplitMesh",
    "encode_texture",
    "read_glb",
    "split_at_seams",
    "write_animation_glb",
    "write_glb",
]
