"""glTF files that break the specification, and that viewers show nevertheless, are read with a warning."""

import base64
import json
import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.v2m4.io.user_mesh_documents import GltfScene, cube_corners, external, picture, poses_of, two_parts
from v2m4.io._gltf_container import ARRAY_BUFFER, Document, GltfBuilder, load_document
from v2m4.io.gltf import read_glb
from v2m4.io.gltf_animation import list_animations, read_animation
from v2m4.io.user_mesh import open_user_mesh

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
JSON, BINARY = 0x4E4F534A, 0x004E4942


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def grid(side: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """A square grid in the plane: positions and faces."""
    x, y = np.meshgrid(np.arange(side + 1.0), np.arange(side + 1.0))
    positions = np.stack([x, y, 0 * x], -1).reshape(-1, 3).astype(np.float32)
    first = (np.arange(side)[:, None] * (side + 1) + np.arange(side)).reshape(-1)
    low = np.stack([first, first + 1, first + side + 2], 1)
    high = np.stack([first, first + side + 2, first + side + 1], 1)
    return positions, np.concatenate([low, high])


def one_mesh(path: Path, attributes: dict[str, Any], faces: np.ndarray, change: Callable | None = None) -> Path:
    """A GLB of one primitive; values of attributes are arrays, or (array, normalized)."""
    scene = GltfScene()
    stored = {}
    for name, values in attributes.items():
        table, normalized = values if isinstance(values, tuple) else (values, False)
        stored[name] = scene.attribute(table, False, normalized)
    primitive = {"attributes": stored, "indices": scene.indices(faces)}
    scene.node(mesh=scene.builder.add("meshes", {"primitives": [primitive]}))
    if change is not None:
        change(scene)
    return scene.write(path)


def chunk(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", len(data), kind) + data


def parts_of(path: Path) -> tuple[bytes, bytes]:
    """The JSON and the binary chunk of a GLB."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    return data[20 : 20 + length], data[20 + length + 8 :]


def glb(body: bytes, length: int | None = None) -> bytes:
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body) if length is None else length) + body


CONTAINERS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "NULs behind the JSON": lambda text, data: glb(chunk(JSON, text + b"\0" * 8) + chunk(BINARY, data)),
    "bytes behind the last chunk": lambda text, data: (
        glb(chunk(JSON, text) + chunk(BINARY, data), 20) + b"\xff" * 13 + b"a signature of the maker"
    ),
    "a length of 0": lambda text, data: glb(chunk(JSON, text) + chunk(BINARY, data), 0),
    "a length too large": lambda text, data: glb(chunk(JSON, text) + chunk(BINARY, data), 10**9),
    "a chunk that is not aligned": lambda text, data: glb(chunk(JSON, text.rstrip() + b" ") + chunk(BINARY, data)),
    "padding outside of the chunk": lambda text, data: glb(
        chunk(JSON, text.rstrip()) + b" " * (-len(text.rstrip()) % 4) + chunk(BINARY, data)
    ),
    "an unknown chunk between": lambda text, data: glb(
        chunk(JSON, text) + chunk(0x21212121, b"note") + chunk(BINARY, data)
    ),
    "the binary chunk first": lambda text, data: glb(chunk(BINARY, data) + chunk(JSON, text)),
    "UTF-16 in the JSON chunk": lambda text, data: glb(
        chunk(JSON, text.decode().strip().encode("utf-16")) + chunk(BINARY, data)
    ),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_of_careless_writers(tmp_path: Path, name: str) -> None:
    whole = open_user_mesh(two_parts(tmp_path / "a.glb"))
    path = tmp_path / "b.gltf"  # the suffix does not count
    path.write_bytes(CONTAINERS[name](*parts_of(tmp_path / "a.glb")))
    read = open_user_mesh(path)
    assert np.array_equal(read.mesh.vertices, whole.mesh.vertices)
    assert np.array_equal(read.mesh.texture, whole.mesh.texture)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings_of_the_document(tmp_path: Path, encoding: str) -> None:
    path = external(tmp_path)
    text = path.read_text("utf-8")
    path = path.rename(path.with_suffix(".glb"))
    path.write_bytes(text.encode(encoding))
    read = open_user_mesh(path)
    assert len(read.mesh.vertices) == 170
    assert read.document.items("meshes")[0]["primitives"][1]["extras"] == {"note": "Größe"}


def test_old_and_broken_containers_are_refused_in_one_line(tmp_path: Path) -> None:
    text, data = parts_of(two_parts(tmp_path / "a.glb"))
    old = {"asset": {"version": "1.0"}, "meshes": {"a": {}}}
    for content, says in (
        (json.dumps(old).encode(), r"glTF 1\.0.*convert it"),
        (b'{"meshes": {"a": {}}}', r"glTF 1\.0.*convert it"),
        (struct.pack("<4sIIII", b"glTF", 1, 24, 4, 0) + b"{}  ", "GLB of version 1"),
        (glb(chunk(JSON, text) + chunk(BINARY, data))[:-400], "cut off"),
        (b'{"scene": 0}', "not a glTF 2.0 file"),
        (b"<html>not found</html>", "a web page"),
        (b"\x01\x02 no JSON", "not a glTF file"),
    ):
        (tmp_path / "b.glb").write_bytes(content)
        with pytest.raises(ValueError, match=says) as error:
            open_user_mesh(tmp_path / "b.glb")
        assert "b.glb" in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "uri",
    ["100%.bin", "a%20b.bin", "a b.bin", r"sub\data.bin", "DATA.BIN", "C:/Users/me/data.bin", "./sub/../data.bin"],
)
def test_buffers_are_found_as_they_are_named(tmp_path: Path, uri: str) -> None:
    path = external(tmp_path)
    name = {"a%20b.bin": "a b.bin"}.get(uri, uri.replace("\\", "/").rsplit("/", 1)[-1])
    (path.parent / "data.bin").rename(path.parent / name.replace("DATA.BIN", "data.bin"))
    document = json.loads(path.read_text("utf-8"))
    document["buffers"][0]["uri"] = uri
    path.write_text(json.dumps(document), "utf-8")
    assert len(open_user_mesh(path).mesh.vertices) == 170
    for file in path.parent.glob("*"):
        if file.suffix.lower() == ".bin" or file.name == name:
            file.unlink()
    with pytest.raises(ValueError, match="which is not there; put it beside the file"):
        open_user_mesh(path)


@pytest.mark.parametrize("head", ["data:;base64", "data:application/x-any;charset=utf-8;base64", "data:text/plain"])
def test_inline_data_of_any_type(tmp_path: Path, head: str) -> None:
    path = external(tmp_path)
    document = json.loads(path.read_text("utf-8"))
    data = (path.parent / "data.bin").read_bytes()
    if head.endswith("base64"):
        body = base64.urlsafe_b64encode(data).decode().rstrip("=")
    else:
        body = "".join(f"%{byte:02x}" for byte in data)
    document["buffers"][0]["uri"] = f"{head},{body}"
    path.write_text(json.dumps(document), "utf-8")
    assert len(open_user_mesh(path).mesh.vertices) == 170


def test_a_buffer_shorter_than_it_says_is_read_as_far_as_it_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = external(tmp_path)
    document = json.loads(path.read_text("utf-8"))
    document["buffers"][0]["byteLength"] += 100
    path.write_text(json.dumps(document), "utf-8")
    assert len(read_glb(path).vertices) == 24 + 24 + 162
    assert "buffer 0 has" in caplog.text
    data = (path.parent / "data.bin").read_bytes()
    (path.parent / "data.bin").write_bytes(data[:200])
    with pytest.raises(ValueError, match="cut off"):
        read_glb(path)


def textured_cube(path: Path, image: dict[str, Any], data: bytes | None = None, **texture: Any) -> Path:
    """A red cube with a texture, whose image has these entries and these bytes."""
    scene = GltfScene()
    positions, _, uvs, faces = cube_corners()
    if data is not None:
        image = image | {"bufferView": scene.builder.view(data)}
    source = scene.builder.add("images", image)
    entry = {key: {name: {"source": source} for name in value} for key, value in texture.items()}
    index = scene.builder.add("textures", entry or {"source": source})
    base = {"baseColorTexture": {"index": index}, "baseColorFactor": [1, 0, 0, 1]}
    material = scene.builder.add("materials", {"pbrMetallicRoughness": base, "normalTexture": {"index": index}})
    attributes = {"POSITION": scene.attribute(positions, True), "TEXCOORD_0": scene.attribute(uvs)}
    primitive = {"attributes": attributes, "indices": scene.indices(faces), "material": material}
    scene.node(mesh=scene.builder.add("meshes", {"primitives": [primitive]}))
    return scene.write(path)


@pytest.mark.parametrize(
    ("image", "data"),
    [
        ({"uri": "gone.png"}, None),
        ({"mimeType": "image/png"}, b"not a picture at all, but bytes"),
        ({"mimeType": "image/jpeg"}, b""),
        ({"name": "neither"}, None),
    ],
)
def test_a_picture_that_cannot_be_shown_gives_way_to_the_colour(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, image: dict[str, Any], data: bytes | None
) -> None:
    user_mesh = open_user_mesh(textured_cube(tmp_path / "a.glb", image, data))
    assert len(warnings_of(caplog)) == 1
    assert "a.glb" in caplog.text
    assert user_mesh.mesh.texture is None
    assert np.array_equal(user_mesh.mesh.colors, [[1, 0, 0]] * 8)
    user_mesh.write_animation(tmp_path / "out.glb", poses_of(user_mesh, 1), [0.0])
    written = load_document(tmp_path / "out.glb")
    assert written.items("materials") == [{"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}}]
    assert cv2.imdecode(np.frombuffer(written.image_bytes(0), np.uint8), cv2.IMREAD_COLOR).shape == (1, 1, 3)


def test_a_picture_of_a_compressed_texture_format_is_named_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = b"\xabKTX 20\xbb\r\n\x1a\n" + bytes(80)
    path = textured_cube(tmp_path / "a.glb", {}, data, extensions=["KHR_texture_basisu"])
    user_mesh = open_user_mesh(path)
    assert "KTX2" in caplog.text
    assert np.array_equal(user_mesh.mesh.colors, [[1, 0, 0]] * 8)
    user_mesh.write_animation(tmp_path / "out.glb", poses_of(user_mesh, 1), [0.0])
    written = load_document(tmp_path / "out.glb")
    assert written.image_bytes(0) == data
    assert written.items("images")[0]["mimeType"] == "image/ktx2"


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "image/png"), (".jpg", "image/jpeg"), (".bmp", "image/png")])
@pytest.mark.parametrize("said", [None, "image/png", "image/jpeg", "application/octet-stream"])
def test_the_kind_of_a_picture_is_told_by_its_bytes(tmp_path: Path, suffix: str, kind: str, said: str | None) -> None:
    image = {} if said is None else {"mimeType": said}
    data = picture(suffix, 200)
    user_mesh = open_user_mesh(textured_cube(tmp_path / "a.glb", image, data))
    assert user_mesh.mesh.texture is not None
    (written,) = user_mesh.document.items("images")
    assert written["mimeType"] == kind
    stored = user_mesh.document.image_bytes(0)
    assert (stored == data) == (suffix != ".bmp")
    pixels = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR).astype(int)
    assert np.abs(pixels - cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)).max() == 0


@pytest.mark.parametrize(
    ("colors", "expected"),
    [
        (np.tile(np.array([[255, 0, 0]], np.float32), (49, 1)), [1, 0, 0]),
        (np.tile(np.array([[0, 255, 0, 1]], np.float32), (49, 1)), [0, 1, 0]),
        (np.tile(np.array([[0, 0, 255, 255]], np.uint8), (49, 1)), [0, 0, 1]),
        (np.tile(np.array([[65535, 0, 0, 65535]], np.uint16), (49, 1)), [1, 0, 0]),
        ((np.tile(np.array([[0, 255, 0, 255]], np.uint8), (49, 1)), True), [0, 1, 0]),
        ((np.tile(np.array([[0, 65535, 0, 0]], np.uint16), (49, 1)), True), [0, 1, 0]),
    ],
)
def test_vertex_colours_of_every_kind(tmp_path: Path, colors: Any, expected: list[float]) -> None:
    positions, faces = grid()
    user_mesh = open_user_mesh(one_mesh(tmp_path / "a.glb", {"POSITION": positions, "COLOR_0": colors}, faces))
    assert user_mesh.mesh.colors is not None
    assert np.abs(user_mesh.mesh.colors.numpy() - expected).max() < 1e-6


def test_no_nan_reaches_what_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    positions, faces = grid()
    positions = np.concatenate([positions, [[np.nan, 0, 0]]]).astype(np.float32)  # of no face
    positions[0, 1] = np.inf  # of two faces
    count = len(positions)
    broken = {
        "POSITION": positions,
        "NORMAL": np.tile(np.array([[0, 0, 1]], np.float32), (count, 1)),
        "COLOR_0": np.full((count, 3), 0.5, np.float32),
        "TEXCOORD_0": np.zeros((count, 2), np.float32),
    }
    for name, row in (("NORMAL", 5), ("COLOR_0", 6), ("TEXCOORD_0", 7)):
        broken[name][row, 0] = np.nan
    user_mesh = open_user_mesh(one_mesh(tmp_path / "a.glb", broken, faces))
    assert len(user_mesh.mesh.faces) == len(faces) - 2
    assert "2 of 72 faces have vertices that are no finite numbers; they are left out" in caplog.text
    assert user_mesh.mesh.colors is not None
    assert np.array_equal(user_mesh.mesh.colors[5], [1, 1, 1])
    user_mesh.write_animation(tmp_path / "out.glb", poses_of(user_mesh, 2), [0.0, 1.0])
    written = load_document(tmp_path / "out.glb")
    for number in range(len(written.items("accessors"))):
        assert np.isfinite(written.accessor(number)).all()
    assert all(np.isfinite(bound).all() for each in written.items("accessors") for bound in [each.get("min", [])])
    positions[: count // 2] = np.nan
    with pytest.raises(ValueError, match="faces have vertices that are no finite numbers"):
        open_user_mesh(one_mesh(tmp_path / "b.glb", broken, faces))


def test_numbers_in_the_document_that_are_none_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    positions, faces = grid()

    def change(scene: GltfScene) -> None:
        scene.builder.json["accessors"][0]["extras"] = {"bound": float("nan"), "row": [0.0, float("inf")], "kept": 2.5}

    def encoded(document: Any, **options: Any) -> str:
        return json.JSONEncoder(**(options | {"allow_nan": True})).encode(document)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("v2m4.io._gltf_container.json.dumps", encoded)
        path = one_mesh(tmp_path / "a.glb", {"POSITION": positions}, faces, change)
    user_mesh = open_user_mesh(path)
    assert user_mesh.document.items("accessors")[0]["extras"] == {"kept": 2.5}
    assert "2 entries that are no finite numbers" in caplog.text
    user_mesh.write_animation(tmp_path / "out.glb", poses_of(user_mesh, 1), [0.0])
    assert len(load_document(tmp_path / "out.glb").items("meshes")) == 1


def test_attributes_that_cannot_be_read_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    positions, faces = grid()
    attributes = {"POSITION": positions, "NORMAL": positions[:5], "TEXCOORD_0": positions[:, :2]}

    def change(scene: GltfScene) -> None:
        scene.builder.json["accessors"][2]["byteOffset"] = 10**6

    user_mesh = open_user_mesh(one_mesh(tmp_path / "a.glb", attributes, faces, change))
    assert list(user_mesh.document.items("meshes")[0]["primitives"][0]["attributes"]) == ["POSITION"]
    assert [name in caplog.text for name in ("NORMAL", "TEXCOORD_0")] == [True, True]


def skinned(path: Path, joints: np.ndarray, weights: np.ndarray, change: Callable | None = None) -> Path:
    """A grid bound to two joints, the second of which the clip lifts by 1."""
    positions, faces = grid()
    scene = GltfScene()
    attributes = {
        "POSITION": scene.attribute(positions, True),
        "JOINTS_0": scene.attribute(joints.astype(np.uint16)),
        "WEIGHTS_0": scene.attribute(weights.astype(np.float32)),
    }
    primitive = {"attributes": attributes, "indices": scene.indices(faces)}
    mesh = scene.builder.add("meshes", {"primitives": [primitive]})
    scene.node(mesh=mesh, skin=0)
    scene.node(name="still", root=False)
    scene.node(name="moving", root=False)
    scene.node(name="bones", children=[1, 2])
    scene.builder.add("skins", {"joints": [1, 2]})
    sampler = {
        "input": scene.builder.accessor(np.array([0, 1], np.float32), bounds=True),
        "output": scene.builder.accessor(np.array([[0, 0, 0], [0, 0, 1]], np.float32)),
    }
    channel = {"sampler": 0, "target": {"node": 2, "path": "translation"}}
    scene.builder.add("animations", {"samplers": [sampler], "channels": [channel]})
    if change is not None:
        change(scene)
    return scene.write(path)


def test_skin_weights_are_taken_as_viewers_take_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    joints, weights = np.zeros((49, 4)), np.zeros((49, 4))
    joints[:, :2], weights[:, 1] = (0, 1), 1.0
    weights[0] = 0  # the first joint
    weights[1] = np.nan  # the first joint
    weights[2] = (2, 6, 0, 0)  # a quarter and three
    weights[3] = (np.nan, 1, 0, 0)
    joints[4], weights[4] = (9, 1, 0, 0), (1, 1, 0, 0)  # a joint that is not there
    path = skinned(tmp_path / "a.glb", joints, weights)
    moved = read_animation(path).vertices[1, :, 2].numpy()
    assert np.allclose(moved[:6], [0, 0, 0.75, 1, 1, 1])
    assert "2 vertices without weights" in caplog.text
    assert "1 vertices are bound to joints that the skin does not have" in caplog.text
    user_mesh = open_user_mesh(path)
    user_mesh.write_animation(tmp_path / "out.glb", poses_of(user_mesh, 1), [0.0])
    assert len(read_animation(tmp_path / "out.glb")) == 1


def test_joints_outside_of_the_scene_are_found(tmp_path: Path) -> None:
    joints, weights = np.tile([0, 1, 0, 0], (49, 1)), np.tile([0.0, 1, 0, 0], (49, 1))
    path = skinned(tmp_path / "a.glb", joints, weights, lambda scene: scene.roots.remove(3))
    assert np.allclose(read_animation(path).vertices[1, :, 2], 1)
    assert len(open_user_mesh(path).mesh.vertices) == 49


def test_clips_without_names_or_channels_and_by_number(tmp_path: Path) -> None:
    joints, weights = np.tile([0, 1, 0, 0], (49, 1)), np.tile([0.0, 1, 0, 0], (49, 1))

    def change(scene: GltfScene) -> None:
        clips = scene.builder.json["animations"]
        clips += [clips[0] | {"name": "7"}, clips[0] | {"name": ""}, {"samplers": [], "channels": []}]
        scene.builder.json["nodes"][2]["matrix"] = np.diag([1.0, 2, 1, 1]).reshape(-1).tolist()

    path = skinned(tmp_path / "a.glb", joints, weights, change)
    assert [clip.name for clip in list_animations(path)] == ["0", "7", "2", "3"]
    expected = read_animation(path, 0).vertices
    assert np.allclose(expected[1, :, 2], 1)
    assert np.allclose(expected[1, :, 1].max(), 12)  # the matrix' scale is kept
    for clip in ("0", "7", 1, "1", "2"):
        assert np.array_equal(read_animation(path, clip).vertices, expected)
    assert read_animation(path, "3").vertices.shape[0] == 1


def test_scenes_that_are_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def builder_of(change: Callable[[dict[str, Any]], None]) -> Path:
        builder = GltfBuilder()
        position = builder.accessor(CORNERS, ARRAY_BUFFER, bounds=True)
        builder.add("meshes", {"primitives": [{"attributes": {"POSITION": position}}]})
        builder.add("nodes", {"mesh": 0, "translation": [1, 0, 0]})
        builder.add("nodes", {"children": [0]})
        builder.add("scenes", {"nodes": [1]})
        change(builder.json)
        (tmp_path / "a.glb").write_bytes(builder.tobytes())
        return tmp_path / "a.glb"

    for change in (
        lambda json: json.pop("scenes"),
        lambda json: json.update(scene=4),
        lambda json: json["scenes"][0].update(nodes=[0, 1, 1]),
        lambda json: json.update(materials=None, images=None, animations=None, skins=None),
    ):
        path = builder_of(change)
        assert np.array_equal(read_glb(path).vertices, np.add(CORNERS, [1, 0, 0]))
        user_mesh = open_user_mesh(path)
        user_mesh.write_static(tmp_path / "out.glb", user_mesh.mesh.vertices)
        assert np.array_equal(read_glb(tmp_path / "out.glb").vertices, np.add(CORNERS, [1, 0, 0]))
    assert "scene 4 of 1; the first is read" in caplog.text
    for change in (
        lambda json: json["nodes"][0].update(children=[1]),
        lambda json: (json.pop("scenes"), json["nodes"][0].update(children=[1])),
    ):
        with pytest.raises(ValueError, match="no tree"):
            read_glb(builder_of(change))


def test_instances_become_nodes(tmp_path: Path) -> None:
    positions, faces = grid(1)

    def change(scene: GltfScene) -> None:
        offsets = np.array([[0, 0, 0], [10, 0, 0], [20, 0, 0]], np.float32)
        attributes = {"TRANSLATION": scene.builder.accessor(offsets)}
        node = scene.builder.json["nodes"][0]
        node["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": attributes}}
        scene.builder.use_extension("EXT_mesh_gpu_instancing", required=True)

    path = one_mesh(tmp_path / "a.glb", {"POSITION": positions}, faces, change)
    user_mesh = open_user_mesh(path)
    assert len(user_mesh.mesh.vertices) == 12
    assert float(user_mesh.mesh.vertices[:, 0].max()) == 21
    poses = poses_of(user_mesh, 2)
    user_mesh.write_animation(tmp_path / "out.glb", poses, [0.0, 1.0])
    written = load_document(tmp_path / "out.glb")
    assert "extensionsUsed" not in written.json or "EXT_mesh_gpu_instancing" not in written.json["extensionsUsed"]
    seen = np.sort(read_animation(tmp_path / "out.glb").vertices[1].numpy(), axis=0)
    assert np.abs(seen - np.sort(poses[1], axis=0)).max() < 1e-3


def test_unknown_required_extensions_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    positions, faces = grid()
    names = ["ACME_notes", "KHR_materials_anything", "KHR_animation_pointer", "KHR_xmp_json_ld", "KHR_texture_basisu"]

    def change(scene: GltfScene) -> None:
        scene.builder.json |= {"extensionsUsed": names, "extensionsRequired": names}

    path = one_mesh(tmp_path / "a.glb", {"POSITION": positions}, faces, change)
    assert len(open_user_mesh(path).mesh.faces) == 72
    assert ["ACME_notes" in caplog.text, "KHR_materials_anything" in caplog.text] == [True, False]
    document = load_document(path)
    assert "ACME_notes" in document.json["extensionsUsed"]
    assert "ACME_notes" not in document.json["extensionsRequired"]


def test_faces_with_indices_out_of_range_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    positions, faces = grid()
    faces = faces.copy()
    faces[3, 1] = 49
    assert len(open_user_mesh(one_mesh(tmp_path / "a.glb", {"POSITION": positions}, faces)).mesh.faces) == 71
    assert "1 of 72 faces have an index that is out of range (49); they are left out" in caplog.text
    faces[:, 1] = 1000
    with pytest.raises(ValueError, match=r"72 of 72 faces have an index that is out of range \(1000\)"):
        open_user_mesh(one_mesh(tmp_path / "a.glb", {"POSITION": positions}, faces))


def test_strips_fans_points_and_lines_in_one_mesh(tmp_path: Path) -> None:
    """Interleaved positions that all primitives share, a sparse one, and primitives without indices."""
    scene = GltfScene()
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    rows = np.concatenate([square, np.zeros((4, 2), np.float32)], 1)
    view = scene.builder.view(rows.tobytes(), ARRAY_BUFFER, stride=20)
    entry = {"bufferView": view, "componentType": 5126, "count": 4, "type": "VEC3"}
    bounds = {"min": [0, 0, 0], "max": [1, 1, 0]}
    shared = scene.builder.add("accessors", entry | bounds)
    sparse = {
        "count": 1,
        "indices": {"bufferView": scene.builder.view(np.array([3], np.uint8).tobytes()), "componentType": 5121},
        "values": {"bufferView": scene.builder.view(np.array([[0, 1, 1]], np.float32).tobytes())},
    }
    bent = scene.builder.add("accessors", entry | {"sparse": sparse, "min": [0, 0, 0], "max": [1, 1, 1]})
    target = {"POSITION": scene.attribute(square * 0.5, True)}
    primitives = [
        {"attributes": {"POSITION": shared}, "mode": 6},
        {"attributes": {"POSITION": shared}, "mode": 5, "indices": scene.indices(np.array([0, 1, 3, 2]))},
        {"attributes": {"POSITION": bent}, "indices": scene.indices(np.array([0, 2, 3, 1, 1, 2]))},
        {"attributes": {"POSITION": shared}, "mode": 0},
        {"attributes": {"POSITION": shared}, "mode": 3},
    ]
    for primitive in primitives:
        primitive["targets"] = [target, target]
    mesh = {"primitives": primitives, "weights": [0, 0], "extras": {"targetNames": ["smile", "blink"]}}
    scene.node(mesh=scene.builder.add("meshes", mesh), weights=[0, 0])
    path = scene.write(tmp_path / "a.glb")
    assert len(read_glb(path).faces) == 2 + 2 + 2
    user_mesh = open_user_mesh(path)
    assert len(user_mesh.mesh.faces) == 5
    user_mesh.write_animation(tmp_path / "out.glb", poses_of(user_mesh, 3), [0.0, 1.0, 2.0])
    written: Document = load_document(tmp_path / "out.glb")
    (mesh,) = written.items("meshes")
    assert [len(primitive["targets"]) for primitive in mesh["primitives"]] == [3] * 5
    assert mesh["extras"]["targetNames"] == ["0", "1", "2"]
    assert mesh["weights"] == [1, 0, 0]
    assert "weights" not in written.items("nodes")[0]


@pytest.mark.parametrize(("mode", "says"), [(0, "only points, which are no surface"), (1, "only lines")])
def test_what_has_no_surface_is_named(tmp_path: Path, mode: int, says: str) -> None:
    positions, faces = grid()

    def change(scene: GltfScene) -> None:
        primitive = scene.builder.json["meshes"][0]["primitives"][0]
        primitive["mode"] = mode

    path = one_mesh(tmp_path / "a.glb", {"POSITION": positions}, faces, change)
    for opened in (open_user_mesh, read_glb):
        with pytest.raises(ValueError, match=f"no triangles in the scene, {says}"):
            opened(path)


def test_primitives_with_unequal_morph_targets_and_extras_of_any_kind(tmp_path: Path) -> None:
    """The first primitive has no targets, the second two, of which the clip turns one on."""
    positions, faces = grid()
    scene = GltfScene()
    shared = {"POSITION": scene.attribute(positions, True)}
    lifted = {"POSITION": scene.attribute(np.tile([[0.0, 0, 2]], (len(positions), 1)), True)}
    primitives: list[dict[str, Any]] = [
        {"attributes": shared, "indices": scene.indices(faces[:36])},
        {"attributes": shared, "indices": scene.indices(faces[36:]), "targets": [lifted, lifted]},
    ]
    scene.node(mesh=scene.builder.add("meshes", {"primitives": primitives, "weights": [0.5], "extras": "a note"}))
    sampler = {
        "input": scene.builder.accessor(np.array([0, 1], np.float32), bounds=True),
        "output": scene.builder.accessor(np.array([0, 0, 0, 1], np.float32)),
    }
    channel = {"sampler": 0, "target": {"node": 0, "path": "weights"}}
    scene.builder.add("animations", {"samplers": [sampler], "channels": [channel]})
    path = scene.write(tmp_path / "a.glb")
    moved = read_animation(path).vertices[1, :, 2].numpy()
    assert np.array_equal(np.unique(moved[:49]), [0])
    assert np.array_equal(np.unique(moved[49:]), [2])
    user_mesh = open_user_mesh(path)
    assert float(user_mesh.mesh.vertices[:, 2].max()) == 1
    user_mesh.write_animation(tmp_path / "out.glb", poses_of(user_mesh, 2), [0.0, 1.0])
    (mesh,) = load_document(tmp_path / "out.glb").items("meshes")
    assert mesh["extras"] == {"extras": "a note", "targetNames": ["0", "1"]}
    assert [len(primitive["targets"]) for primitive in mesh["primitives"]] == [2, 2]


def test_two_keys_at_one_time_are_a_jump(tmp_path: Path) -> None:
    joints, weights = np.tile([0, 1, 0, 0], (49, 1)), np.tile([0.0, 1, 0, 0], (49, 1))

    def change(scene: GltfScene) -> None:
        sampler = scene.builder.json["animations"][0]["samplers"][0]
        sampler["input"] = scene.builder.accessor(np.array([0, 1, 1, 2], np.float32), bounds=True)
        lifts = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 5], [0, 0, 6]], np.float32)
        sampler["output"] = scene.builder.accessor(lifts)
        scene.builder.json["meshes"][0]["primitives"][0]["attributes"]["JOINTS_1"] = 0  # without WEIGHTS_1

    path = skinned(tmp_path / "a.glb", joints, weights, change)
    sequence = read_animation(path, times=[0.5, 0.999, 1.0, 1.5])
    assert np.allclose(sequence.vertices[:, 0, 2], [0.5, 0.999, 5, 5.5])
