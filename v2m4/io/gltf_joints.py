"""The joints of a skinned, animated GLB without its meshes: a small file that a viewer draws the skeleton from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from v2m4.io._gltf_bytes import split_file
from v2m4.io._gltf_container import glb_header
from v2m4.io._gltf_error import broken_as_gltf_error

DROPPED = ("meshes", "materials", "textures", "images", "samplers", "cameras", "extensionsUsed", "extensionsRequired")
DROPPED_OF_NODES = ("mesh", "skin", "camera", "weights", "extensions")


def joints_glb(path: Path) -> bytes:
    """Return a GLB with the nodes, skins and animations of a GLB; channels of morph targets are left out.

    Args:
        path: a .glb file whose accessors are not sparse, as this program writes them.

    Raises:
        GltfError: the file is broken.
        OSError: the file cannot be read.
    """
    with broken_as_gltf_error(path):
        document, binary = split_file(path.read_bytes(), path)
        kept = {name: value for name, value in document.items() if name not in DROPPED}
        kept["nodes"] = [
            {name: value for name, value in node.items() if name not in DROPPED_OF_NODES}
            for node in document.get("nodes", [])
        ]
        animations = [_without_weights(animation) for animation in document.get("animations", [])]
        kept["animations"] = [animation for animation in animations if animation["channels"]]
        data = _pack_accessors(kept, document, binary or b"")
        kept = {name: value for name, value in kept.items() if value}
        return glb_header(kept, len(data)) + data + b"\0" * (-len(data) % 4)


def _without_weights(animation: dict[str, Any]) -> dict[str, Any]:
    """An animation without the channels of morph targets, and without the samplers that only these used."""
    channels = [channel for channel in animation["channels"] if channel["target"]["path"] != "weights"]
    used = sorted({channel["sampler"] for channel in channels})
    return {
        **animation,
        "samplers": [animation["samplers"][index] for index in used],
        "channels": [{**channel, "sampler": used.index(channel["sampler"])} for channel in channels],
    }


def _pack_accessors(kept: dict[str, Any], document: dict[str, Any], binary: bytes) -> bytes:
    """Keep only the accessors that skins and animations use, renumbered; returns the buffer that they refer to."""
    skins = document.get("skins", [])
    used = {skin["inverseBindMatrices"] for skin in skins if "inverseBindMatrices" in skin}
    for animation in kept["animations"]:
        used |= {sampler[end] for sampler in animation["samplers"] for end in ("input", "output")}
    accessor_numbers = {old: new for new, old in enumerate(sorted(used))}
    accessors = [document["accessors"][index] for index in accessor_numbers]
    view_numbers = {old: new for new, old in enumerate(sorted({accessor["bufferView"] for accessor in accessors}))}
    data = bytearray()
    views = []
    for index in view_numbers:
        view = document["bufferViews"][index]
        start = view.get("byteOffset", 0)
        data.extend(b"\0" * (-len(data) % 8))
        views.append({**view, "buffer": 0, "byteOffset": len(data)})
        data.extend(binary[start : start + view["byteLength"]])
    kept["accessors"] = [{**accessor, "bufferView": view_numbers[accessor["bufferView"]]} for accessor in accessors]
    kept["bufferViews"] = views
    kept["buffers"] = []
    kept["skins"] = [
        {**skin, "inverseBindMatrices": accessor_numbers[skin["inverseBindMatrices"]]}
        if "inverseBindMatrices" in skin
        else skin
        for skin in skins
    ]
    for animation in kept["animations"]:
        animation["samplers"] = [
            {**sampler, **{end: accessor_numbers[sampler[end]] for end in ("input", "output")}}
            for sampler in animation["samplers"]
        ]
    return bytes(data)
