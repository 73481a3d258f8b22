"""User meshes that are broken, of another kind, or dangerous."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bad_input.table import Case, nothing, run
from tests.v2m4.io.user_mesh_documents import GltfScene, cube_corners

OBJ = b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"
PLY = b"ply\nformat %s 1.0\nelement vertex %d\nproperty float x\nproperty float y\nproperty float z\n"
PLY_FACES = b"element face %d\nproperty list uchar int vertex_indices\nend_header\n"


def cube(change: Callable[[dict[str, Any]], object] | None = None, positions: np.ndarray | None = None) -> bytes:
    """A cube as GLB, its positions replaced or its JSON changed."""
    scene = GltfScene()
    corners, normals, _, faces = cube_corners()
    attributes = {
        "POSITION": scene.attribute(corners if positions is None else positions),
        "NORMAL": scene.attribute(normals),
    }
    primitive = {"attributes": attributes, "indices": scene.indices(faces)}
    scene.node(mesh=scene.builder.add("meshes", {"primitives": [primitive]}))
    scene.builder.add("scenes", {"nodes": scene.roots})
    if change is not None:
        change(scene.builder.json)
    return scene.builder.tobytes()


def position(**entries: Any) -> Callable[[dict[str, Any]], object]:
    """A change of the accessor of the positions."""
    return lambda document: document["accessors"][0].update(entries)


def not_finite() -> np.ndarray:
    return np.full((24, 3), np.nan)


def indices_out_of_range(document: dict[str, Any]) -> None:
    for accessor in document["accessors"][:2]:
        accessor["count"] = 3


def compressed(document: dict[str, Any]) -> None:
    """A view of 2 GiB from 24 bytes."""
    extension = {"buffer": 0, "byteOffset": 0, "byteLength": 64, "byteStride": 4, "count": 1 << 29}
    document["bufferViews"][0]["extensions"] = {"EXT_meshopt_compression": extension | {"mode": "ATTRIBUTES"}}
    document["extensionsUsed"] = document["extensionsRequired"] = ["EXT_meshopt_compression"]


def gltf(document: dict[str, Any]) -> bytes:
    return json.dumps({"asset": {"version": "2.0"}, **document}).encode()


def buffer_at(uri: str) -> bytes:
    """A glTF whose vertices lie at a URI."""
    accessor = {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}
    return gltf(
        {
            "buffers": [{"byteLength": 36, "uri": uri}],
            "bufferViews": [{"buffer": 0, "byteLength": 36}],
            "accessors": [accessor],
            "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
            "nodes": [{"mesh": 0}],
        }
    )


def zipped(names: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return stream.getvalue()


def refused(name: str, data: bytes | Callable[[], bytes], says: str, what: str = "") -> Case:
    """A mesh file of these bytes that is refused."""

    def write(root: Path) -> None:
        (root / name).write_bytes(data if isinstance(data, bytes) else data())

    return Case(what or name, write, 2, f"^E --mesh .*{name}.*: .*{says}", ("--mesh", f"{{root}}/{name}"))


def outside(uri: str) -> Case:
    """A glTF that names a file outside of its folder, which is there."""

    def write(root: Path) -> None:
        triangle = np.eye(3, dtype="<f4").tobytes()
        (root / "models").mkdir()
        for folder in (root, root.parent):
            (folder / "secret.bin").write_bytes(triangle)
        (root / "models" / "link.bin").symlink_to(root / "secret.bin")
        (root / "models" / "a.gltf").write_bytes(buffer_at(uri.replace("{root}", str(root))))

    return Case(f"a buffer at {uri}", write, 2, "refers to .*", ("--mesh", "{root}/models/a.gltf"))


CASES = [
    Case("no such mesh", nothing, 2, "--mesh .*gone.glb: no such file", ("--mesh", "{root}/gone.glb")),
    Case("a folder as mesh", nothing, 2, "a folder; give the mesh file in it", ("--mesh", "{root}/zz_good")),
    Case("mesh and baseline", nothing, 2, "--baseline generates meshes", ("--mesh", "{root}/a.glb", "--baseline")),
    refused("a.glb", b"", "the file is empty; export it anew", "an empty GLB"),
    refused("a.glb", b"no mesh", "not a glTF file", "a text called GLB"),
    refused("a.glb", b"glTF\x02\0\0\0", "the GLB is cut off after 8 bytes", "a GLB of its header"),
    refused("a.glb", lambda: cube()[:-100], "cut off", "a GLB that is cut off"),
    refused(
        "a.glb", lambda: b"glTF" + struct.pack("<I", 1) + cube()[8:], "version 1, not a glTF 2.0", "a GLB of version 1"
    ),
    refused("a.glb", b"<!doctype html><html>", "this is a web page", "a web page called GLB"),
    refused("a.glb", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull", "a pointer of Git LFS"),
    refused(
        "a.glb",
        lambda: cube(positions=not_finite()),
        "faces have vertices that are no finite numbers",
        "vertices that are NaN",
    ),
    refused("a.glb", lambda: cube(indices_out_of_range), "index that is out of range", "faces out of range"),
    refused("a.glb", lambda: cube(position(count=10**12)), "accessor", "an accessor of more than there is"),
    refused(
        "a.glb",
        lambda: cube(lambda d: d["bufferViews"][0].update(byteStride=0) or d["accessors"][0].update(count=10**10)),
        "",
        "an accessor of stride 0",
    ),
    refused(
        "a.glb",
        lambda: cube(lambda d: d["accessors"][0].update(count=10**12) or d["accessors"][0].pop("bufferView")),
        "accessor 0|elements",
        "an accessor of zeros without end",
    ),
    refused("a.glb", lambda: cube(position(count=-3)), "", "an accessor of less than nothing"),
    refused("a.glb", lambda: cube(position(componentType=9)), "", "an accessor of no known type"),
    refused("a.glb", lambda: cube(compressed), "compressed by meshopt", "a view of 2 GiB from 64 bytes"),
    refused("a.glb", lambda: cube(lambda d: d["nodes"][0].update(children=[0])), "", "a node that is its own child"),
    refused("a.glb", lambda: cube(lambda d: d.update(meshes="x")), "broken glTF", "tables of the wrong type"),
    refused("a.gltf", b'{"asset": ' * 5000, "not a glTF file", "a glTF of deep brackets"),
    refused("a.gltf", lambda: gltf({"extras": json.loads("[" * 900 + "]" * 900)}), "", "a glTF of deep lists"),
    refused("a.gltf", gltf({}), "no triangles in the scene", "a glTF without a mesh"),
    refused(
        "a.glb",
        lambda: cube(lambda d: d.update(extensionsRequired=["EXT_implicit_x"])),
        "requires the glTF extension EXT_implicit_x, which is not supported",
        "a GLB whose shape lies in an extension",
    ),
    refused("a.gltf", buffer_at("gone.bin"), "refers to gone.bin, which is not there", "a glTF without its buffer"),
    refused("a.gltf", buffer_at("https://example.org/a.bin"), "remote files are not fetched", "a buffer on the web"),
    refused("a.gltf", buffer_at("data:x;base64,%%%"), "not base64|ends at byte|cut off", "a buffer of broken base64"),
    outside("../secret.bin"),
    outside("../../secret.bin"),
    outside("%2e%2e/secret.bin"),
    outside("{root}/secret.bin"),
    outside("file://{root}/secret.bin"),
    outside("link.bin"),
    refused("a.obj", b"", "the file is empty", "an empty OBJ"),
    refused("a.obj", OBJ, "no faces|without faces|no triangles", "an OBJ without faces"),
    refused("a.obj", OBJ + b"f 1 2 9\n", "", "an OBJ with a face out of range"),
    refused("a.obj", OBJ + b"f 1 2 x\n", "broken OBJ, line 4", "an OBJ with a face of letters"),
    refused("a.obj", b"v nan nan nan\n" * 3 + b"f 1 2 3\n", "", "an OBJ of NaN"),
    refused("a.ply", PLY % (b"ascii", 3) + PLY_FACES % 1 + b"0 0 0\n", "cut off", "a PLY that is cut off"),
    refused(
        "a.ply",
        PLY % (b"binary_little_endian", 1 << 40) + PLY_FACES % 1,
        "cut off",
        "a PLY of more vertices than there are",
    ),
    refused(
        "a.ply",
        PLY % (b"binary_little_endian", 1) + PLY_FACES % (1 << 40) + bytes(99),
        "cut off",
        "a PLY of more faces than there are",
    ),
    refused("a.stl", bytes(80) + struct.pack("<I", 1 << 31) + bytes(50), "", "an STL of more faces than there are"),
    refused("a.off", b"OFF\n999999999 1 0\n0 0 0\n", "", "an OFF of more vertices than there are"),
    refused("a.blend", b"BLENDER-v300", "a Blender project", "a Blender project"),
    refused("a.rar", b"Rar!\x1a\x07", "an archive; unpack it", "a RAR archive"),
    refused("a.zip", lambda: zipped({}), "no model in it", "an empty archive"),
    refused(
        "a.zip", lambda: zipped({"../a.obj": OBJ}), "a path out of the archive", "an archive with a path out of it"
    ),
    refused("a.zip", lambda: zipped({"a.obj": OBJ, "b.obj": OBJ}), "2 models in it", "an archive of two models"),
    refused(
        "a.zip",
        lambda: zipped({"a.obj": OBJ, "b.bin": bytes(80 << 20)}),
        "too large for a mesh",
        "an archive that is a bomb",
    ),
    refused("a.zip", lambda: zipped({"a.obj": OBJ})[:-30], "cannot be unpacked", "an archive that is cut off"),
    Case(
        "a mesh with one broken vertex",
        lambda root: (root / "a.obj").write_bytes(OBJ + b"v nan 0 0\n" + b"f 1 2 3\n" * 40 + b"f 1 2 4\n"),
        0,
        "no finite numbers|not finite",
        ("--mesh", "{root}/a.obj"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_meshes(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(case, tmp_path, monkeypatch, capsys)
