"""Which glTF extensions a file may require."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from v2m4.io._gltf_error import GltfError

logger = logging.getLogger(__name__)

COMPRESSIONS = {
    "KHR_draco_mesh_compression": "Draco",
    "EXT_meshopt_compression": "meshopt",
    "KHR_meshopt_compression": "meshopt",
}
# Required extensions that are read, or that change neither shape nor colour.
READ_EXTENSIONS = (
    *COMPRESSIONS,
    *("KHR_mesh_quantization", "KHR_texture_transform", "EXT_texture_", "EXT_mesh_gpu_instancing"),
    *("KHR_materials_", "KHR_lights_", "EXT_lights_", "KHR_xmp", "KHR_animation_pointer", "VRM"),
)
# Required extensions that hold the shape itself in a way that is not read, each with what it is.
SHAPE_EXTENSIONS = {
    "KHR_gaussian_splatting": "Gaussian splats, no surface; convert them to a mesh first",
    "KHR_implicit_shapes": "implicit shapes; export a mesh",
    "EXT_implicit": "voxels or implicit shapes; export a mesh",
    "EXT_primitive_voxels": "voxels; export a mesh",
    "KHR_accessor_float64": "64-bit vertices; export it with 32-bit ones",
    "MPEG_": "timed media; export a mesh",
}


def check_extensions(document: dict[str, Any], path: Path) -> None:
    """Refuse a document whose shape lies in a required extension that is not read; warn of other unknown ones.

    Viewers show a file whose required extension they do not know without it, and so do we; it stays among those used.

    Raises:
        GltfError: with the extension's name, and what to do.
    """
    for name in list(document.get("extensionsRequired") or []):
        shape = next((what for prefix, what in SHAPE_EXTENSIONS.items() if name.startswith(prefix)), None)
        if shape is not None:
            raise GltfError(f"{path}: requires the glTF extension {name}, which is not supported ({shape})")
        if not name.startswith(READ_EXTENSIONS):
            logger.warning("%s: requires the glTF extension %s, which is ignored", path, name)
            document["extensionsRequired"].remove(name)
