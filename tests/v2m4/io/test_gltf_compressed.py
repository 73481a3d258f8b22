"""Meshes compressed by meshopt and Draco are read as if they were not compressed."""

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.v2m4.io.user_mesh_documents import GltfScene, poses_of
from v2m4.io._gltf_compressed import DRACO_INSTALL, _joined
from v2m4.io._gltf_container import load_document
from v2m4.io._meshopt import MeshoptError, decode
from v2m4.io.gltf import read_glb
from v2m4.io.user_mesh import open_user_mesh

# Our own numbers, encoded and decoded by meshoptimizer 1.3.
STREAMS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("meshopt_streams.json").read_text("utf-8"))
ROOT = Path(__file__).resolve().parents[3]
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.5]], np.float32)
FACES = np.array([[0, 1, 2], [2, 1, 3]])


def stream(name: str) -> dict[str, Any]:
    return next(entry for entry in STREAMS if entry["name"] == name)


def decoded(entry: dict[str, Any], data: bytes | None = None) -> bytes:
    data = base64.b64decode(entry["data"]) if data is None else data
    return decode(data, entry["count"], entry["stride"], entry["mode"], entry["filter"])


@pytest.mark.parametrize("entry", STREAMS, ids=lambda entry: entry["name"])
def test_streams_are_decoded_as_the_reference_does(entry: dict[str, Any]) -> None:
    assert decoded(entry) == base64.b64decode(entry["expected"])


@pytest.mark.parametrize("entry", STREAMS, ids=lambda entry: entry["name"])
def test_a_stream_that_is_damaged_is_decoded_to_something_or_said(entry: dict[str, Any]) -> None:
    data = base64.b64decode(entry["data"])
    rng = np.random.default_rng(0)
    for length in (0, 1, 5, 17, len(data) // 2, len(data) - 1):
        try:
            assert len(decoded(entry, data[:length])) == entry["count"] * entry["stride"]
        except MeshoptError:
            continue
    for _ in range(100):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] = rng.integers(256)
        try:
            assert len(decoded(entry, bytes(damaged))) == entry["count"] * entry["stride"]
        except MeshoptError:
            continue


def test_unknown_modes_and_filters_are_named() -> None:
    data = base64.b64decode(stream("positions 0")["data"])
    with pytest.raises(MeshoptError, match="unknown mode 'ZIP'"):
        decode(data, 16, 12, "ZIP")
    with pytest.raises(MeshoptError, match="unknown filter 'BLUR'"):
        decode(data, 16, 12, "ATTRIBUTES", "BLUR")
    with pytest.raises(MeshoptError, match="13 bytes"):
        decode(data, 16, 13, "ATTRIBUTES")


def compressed_grid(path: Path, extension: str, change: Callable[[dict[str, Any]], None] | None = None) -> Path:
    """A grid of 16 vertices whose positions and indices are compressed by meshopt, in a fallback buffer of no data."""
    scene = GltfScene()
    builder = scene.builder
    version = "positions 0" if extension.startswith("EXT") else "positions 1"
    offset = 0
    for name, target in ((version, 34962), ("triangles", 34963)):
        entry = stream(name)
        stored = builder.view(base64.b64decode(entry["data"]))
        place = builder.json["bufferViews"][stored]
        size = entry["count"] * entry["stride"]
        packed = {key: entry[key] for key in ("count", "mode")} | {"byteStride": entry["stride"]}
        packed |= {"buffer": 0, "byteOffset": place["byteOffset"], "byteLength": place["byteLength"]}
        view = {"buffer": 1, "byteOffset": offset, "byteLength": size, "target": target}
        builder.add("bufferViews", view | {"extensions": {extension: packed}})
        offset += size
    position = {"bufferView": 1, "componentType": 5126, "count": 16, "type": "VEC3"}
    accessors = [position | {"min": [0, 0, 0], "max": [3, 3, 0]}]
    accessors.append({"bufferView": 3, "componentType": 5123, "count": 54, "type": "SCALAR"})
    builder.json["accessors"] = accessors
    scene.node(mesh=builder.add("meshes", {"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}))
    builder.use_extension(extension, required=True)
    scene.write(path)
    data = path.read_bytes()
    length = int.from_bytes(data[12:16], "little")
    document = json.loads(data[20 : 20 + length])
    document["buffers"].append({"byteLength": offset, "extensions": {extension: {"fallback": True}}})
    if change is not None:
        change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    whole = 20 + len(text) + len(rest)
    path.write_bytes(data[:8] + whole.to_bytes(4, "little") + len(text).to_bytes(4, "little") + b"JSON" + text + rest)
    return path


@pytest.mark.parametrize("extension", ["EXT_meshopt_compression", "KHR_meshopt_compression"])
def test_a_mesh_compressed_by_meshopt(tmp_path: Path, extension: str) -> None:
    path = compressed_grid(tmp_path / "a.glb", extension)
    expected = np.stack([np.arange(16) % 4, np.arange(16) // 4, np.zeros(16)], 1)
    assert np.array_equal(read_glb(path).vertices, expected)
    user_mesh = open_user_mesh(path)
    assert len(user_mesh.mesh.faces) == 18
    user_mesh.write_animation(tmp_path / "out.glb", poses_of(user_mesh, 2), [0.0, 1.0])
    written = load_document(tmp_path / "out.glb")
    assert "meshopt" not in json.dumps(written.json)
    assert len(written.buffers) == 1


def test_a_mesh_whose_meshopt_stream_is_broken_is_refused_in_one_line(tmp_path: Path) -> None:
    def cut(document: dict[str, Any]) -> None:
        document["bufferViews"][1]["extensions"]["EXT_meshopt_compression"]["byteLength"] = 20

    def far(document: dict[str, Any]) -> None:
        document["bufferViews"][1]["extensions"]["EXT_meshopt_compression"]["byteOffset"] = 10**6

    def huge(document: dict[str, Any]) -> None:
        document["bufferViews"][1]["extensions"]["EXT_meshopt_compression"]["count"] = 10**12

    for change in (cut, far, huge):
        with pytest.raises(ValueError, match=r"a\.glb: buffer view 1.*meshopt"):
            read_glb(compressed_grid(tmp_path / "a.glb", "EXT_meshopt_compression", change))


def draco_file(path: Path, data: bytes, fallback: bool = False) -> Path:
    scene = GltfScene()
    view = scene.builder.view(data)
    if fallback:
        attributes = {"POSITION": scene.attribute(CORNERS, True)}
        indices = scene.indices(FACES)
    else:
        accessor = {"componentType": 5126, "count": 4, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0.5]}
        attributes = {"POSITION": scene.builder.add("accessors", accessor)}
        indices = scene.builder.add("accessors", {"componentType": 5121, "count": 6, "type": "SCALAR"})
    packed = {"bufferView": view, "attributes": {"POSITION": 0}}
    extensions = {"KHR_draco_mesh_compression": packed}
    primitive = {"attributes": attributes, "indices": indices, "extensions": extensions}
    scene.node(mesh=scene.builder.add("meshes", {"primitives": [primitive]}))
    scene.builder.use_extension("KHR_draco_mesh_compression", required=not fallback)
    return scene.write(path)


def test_without_its_package_a_mesh_compressed_by_draco_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    with pytest.raises(ValueError, match="uses Draco compression") as error:
        open_user_mesh(draco_file(tmp_path / "a.glb", b"DRACO"))
    assert DRACO_INSTALL in str(error.value)
    lines = (ROOT / "requirements" / "compressed.txt").read_text("utf-8").splitlines()
    assert f'pip install "{lines[-1]}"' == DRACO_INSTALL
    assert len(open_user_mesh(draco_file(tmp_path / "b.glb", b"DRACO", fallback=True)).mesh.faces) == 2


def test_what_the_draco_decoder_gives_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the package: its decoder gives the arrays of one mesh."""

    def decode_mesh(data: bytes) -> SimpleNamespace:
        if data != b"DRACO":
            raise RuntimeError("not Draco")
        tables = {0: {"data": CORNERS}}
        return SimpleNamespace(faces=FACES.astype(np.uint32), get_attribute_by_unique_id=tables.get)

    monkeypatch.setitem(sys.modules, "DracoPy", SimpleNamespace(decode=decode_mesh))
    user_mesh = open_user_mesh(draco_file(tmp_path / "a.glb", b"DRACO"))
    assert np.array_equal(user_mesh.mesh.vertices, CORNERS)
    user_mesh.write_animation(tmp_path / "out.glb", poses_of(user_mesh, 2), [0.0, 1.0])
    assert "draco" not in json.dumps(load_document(tmp_path / "out.glb").json)
    with pytest.raises(ValueError, match=r"b\.glb: a mesh compressed by Draco cannot be decoded \(not Draco\)"):
        open_user_mesh(draco_file(tmp_path / "b.glb", b"other"))


def test_seams_between_primitives_that_were_rounded_apart_are_closed() -> None:
    rng = np.random.default_rng(0)
    shared = rng.random((20, 3))
    first, second = np.concatenate([shared, rng.random((200, 3))]), np.concatenate([shared, rng.random((200, 3)) * 0.5])
    tables = [np.round(table / step) * step for table, step in ((first, 1 / 16384), (second, 1 / 10000))]
    joined = _joined(tables)
    assert np.array_equal(joined[0], tables[0])
    assert np.array_equal(joined[1][:20], joined[0][:20])
    assert np.array_equal(joined[1][20:], tables[1][20:])
    assert _joined([]) == []


def draco_stream() -> bytes:
    draco = pytest.importorskip("DracoPy", reason=DRACO_INSTALL)
    return draco.encode(CORNERS, FACES.astype(np.uint32), quantization_bits=16, preserve_order=True)


@pytest.mark.parametrize("method", [0, 1])
def test_a_draco_stream_that_declares_too_much_is_refused(tmp_path: Path, method: int) -> None:
    pytest.importorskip("DracoPy", reason=DRACO_INSTALL)
    declared = b"\xff\xff\xff\xff\x0f\xff\xff\xff\xff\x0f"
    stream = b"DRACO\x02\x02\x01" + bytes((method, 0, 0)) + b"\0" * method + declared + bytes(20)
    with pytest.raises(ValueError, match="it declares 4294967295 faces or vertices"):
        open_user_mesh(draco_file(tmp_path / "a.glb", stream))
    for cut in (3, 11, 14):
        with pytest.raises(ValueError, match="compressed by Draco cannot be decoded"):
            open_user_mesh(draco_file(tmp_path / "a.glb", stream[:cut]))


def test_a_mesh_compressed_by_draco(tmp_path: Path) -> None:
    draco = pytest.importorskip("DracoPy", reason=DRACO_INSTALL)
    data = draco_stream()
    identity = next(each["unique_id"] for each in draco.decode(data).attributes if each["num_components"] == 3)
    assert identity == 0
    user_mesh = open_user_mesh(draco_file(tmp_path / "a.glb", data))
    assert np.abs(user_mesh.mesh.vertices.numpy() - CORNERS).max() < 1e-4
    assert len(user_mesh.mesh.faces) == 2
