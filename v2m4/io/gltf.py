"""Read and write meshes and animations as glTF (.glb, .gltf); ``v2m4.io.any_mesh`` reads other formats too."""

from __future__ import annotations

from v2m4.io._gltf_images import EncodedImage, encode_texture, smallest_encoding
from v2m4.io._gltf_read import read_glb
from v2m4.io._gltf_write import SplitMesh, split_at_seams, write_animation_glb, write_glb, write_rigged_glb

__all__ = [
    "EncodedImage",
    "SplitMesh",
    "encode_texture",
    "read_glb",
    "smallest_encoding",
    "split_at_seams",
    "write_animation_glb",
    "write_glb",
    "write_rigged_glb",
]
