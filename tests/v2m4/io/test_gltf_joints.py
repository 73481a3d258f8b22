"""Joints of a skinned, animated GLB without its meshes."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from v2m4.io.gltf_joints import joints_glb


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


def parts(data: bytes) -> tuple[dict, bytes]:
    size = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + size]), data[28 + size :]


def test_joints_and_their_clip_stay_and_the_rest_goes(tmp_path: Path) -> None:
    rotations = write_rig(tmp_path / "rig.glb")
    stripped = joints_glb(tmp_path / "rig.glb")
    assert len(stripped) < (tmp_path / "rig.glb").stat().st_size / 2
    document, binary = parts(stripped)
    assert not {"meshes", "extensionsUsed", "extensionsRequired"} & set(document)
    assert document["nodes"][0] == {}
    assert document["nodes"][2]["translation"] == [0, 1, 0]
    (clip,) = document["animations"]
    assert [channel["target"] for channel in clip["channels"]] == [{"node": 2, "path": "rotation"}]
    accessor = document["accessors"][clip["samplers"][clip["channels"][0]["sampler"]]["output"]]
    view = document["bufferViews"][accessor["bufferView"]]
    stored = np.frombuffer(binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]], np.float32)
    assert np.array_equal(stored.reshape(-1, 4), rotations)
    matrices = document["accessors"][document["skins"][0]["inverseBindMatrices"]]
    assert (matrices["type"], matrices["count"]) == ("MAT4", 2)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "rig.glb").write_bytes(b"glTF")
    with pytest.raises(ValueError, match=r"rig\.glb"):
        joints_glb(tmp_path / "rig.glb")
