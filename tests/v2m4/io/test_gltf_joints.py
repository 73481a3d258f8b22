"""Joints of a skinned, animated GLB without its meshes."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.v2m4.io.rig_documents import write_rig
from v2m4.io.gltf_joints import joints_glb


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
