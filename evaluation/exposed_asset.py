"""A copy of an asset that is as bright as its pictures, for assets that are rendered with another exposure."""

from __future__ import annotations

import json
import struct
from pathlib import Path

HEADER = 20  # bytes before the JSON text: magic, version, length; then that chunk's length and type


def write_exposed(source: Path, target: Path, exposure: float) -> None:
    """Copy a GLB with all base colours times 2^exposure, at most 1; all else is kept byte for byte.

    Args:
        source: a .glb file.
        target: the copy.
        exposure: stops; 0 copies the file as it is.

    Raises:
        ValueError: with an exposure, the file is not a GLB, or a material has a base colour texture.
        OSError: a file cannot be read or written.
    """
    data = source.read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    if exposure == 0:
        target.write_bytes(data)
        return
    if data[:4] != b"glTF":
        raise ValueError(f"{source}: only a GLB can be brightened")
    (length,) = struct.unpack_from("<I", data, 12)
    document = json.loads(data[HEADER : HEADER + length])
    for material in document.get("materials", []):
        base = material.setdefault("pbrMetallicRoughness", {})
        if "baseColorTexture" in base:
            raise ValueError(f"{source}: material {material.get('name')!r} has a texture, which is not brightened")
        *color, alpha = base.get("baseColorFactor", [1, 1, 1, 1])
        base["baseColorFactor"] = [*(min(1.0, value * 2**exposure) for value in color), alpha]
    text = json.dumps(document).encode("utf-8")
    text += b" " * (-len(text) % 4)
    rest = data[HEADER + length :]
    chunk = struct.pack("<II", len(text), 0x4E4F534A)
    target.write_bytes(data[:8] + struct.pack("<I", HEADER + len(text) + len(rest)) + chunk + text + rest)
