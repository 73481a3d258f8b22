"""A skinned GLB for tests, written byte by byte."""

import json
import struct
from pathlib import Path

import numpy as np


def write_rig(path: Path) -> np.ndarray:
    """A GLB with two joints, the second of which is rotated by a clip that also has a channel of morph targets."""
    vertices = np.zeros((300, 3), np.float32)
    times, rotations = np.array([0, 1], np.float32), np.array([[0, 0, 0, 1], [0, 0, 1, 0]], np.float32)
    matrices = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    arrays = [vertices, times, np.zeros(2, np.float32), rotations, matrices]
    data, views, accessors = b"", [], []
    for array, kind in zip(arrays, ("VEC3", "SCALAR", "SCALAR", "VEC4", "MAT4"), strict=True):
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": array.nbytes})
        accessors.append({"bufferView": len(views) - 1, "componentType": 5126, "count": len(array), "type": kind})
        data += array.tobytes()
    target = {"node": 2, "path": "rotation"}
    document = {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["KHR_mesh_quantization"],
        "extensionsRequired": ["KHR_mesh_quantization"],
        "scene": 0,
        "scenes": [{"nodes": [0, 1]}],
        "nodes": [{"mesh": 0, "skin": 0}, {"name": "hip", "children": [2]}, {"name": "knee", "translation": [0, 1, 0]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "skins": [{"joints": [1, 2], "inverseBindMatrices": 4}],
        "animations": [
            {
                "samplers": [{"input": 1, "output": 2}, {"input": 1, "output": 3}],
                "channels": [
                    {"sampler": 0, "target": {"node": 0, "path": "weights"}},
                    {"sampler": 1, "target": target},
                ],
            }
        ],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(data)}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    return rotations
