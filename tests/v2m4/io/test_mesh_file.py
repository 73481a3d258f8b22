"""Which files are a mesh, and the model of a .zip."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from tests.v2m4.io.user_mesh_documents import external, poses_of, rewritten, two_parts
from v2m4.io import _mesh_zip
from v2m4.io._gltf_container import load_document
from v2m4.io.any_mesh import list_clips, read_any_mesh, read_clip
from v2m4.io.mesh_file import check_user_mesh, model_file
from v2m4.io.user_mesh import open_user_mesh


def pack(path: Path, files: dict[str, bytes], **options: int) -> Path:
    with zipfile.ZipFile(path, "w", options.get("method", zipfile.ZIP_DEFLATED)) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def scene_files(folder: Path) -> dict[str, bytes]:
    """The two parts as a .gltf and what lies beside it, by name."""
    path = external(folder)
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def obj_files() -> dict[str, bytes]:
    box = trimesh.creation.box()
    return {"box.obj": trimesh.exchange.obj.export_obj(box).encode()}


PLACES: dict[str, Callable[[str], str]] = {
    "all in the root": lambda name: name,
    "all in a folder": lambda name: f"a model/{name}",
    "pictures in a sibling": lambda name: f"textures/{name}" if name.endswith(("png", "jpg")) else f"source/{name}",
    "backslashes": lambda name: f"dir\\{name}",
    "a deep folder": lambda name: f"a/b/c/d/{name}",
}


@pytest.mark.parametrize("place", PLACES)
def test_the_one_model_of_an_archive_is_opened(tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture) -> None:
    files = {PLACES[place](name): data for name, data in scene_files(tmp_path).items()}
    files |= {"__MACOSX/._scene.gltf": b"x", "._scene.gltf": b"x", "licence.txt": b"CC0"}
    path = pack(tmp_path / "robot.zip", files)
    assert check_user_mesh(path) == ".gltf"
    user_mesh = open_user_mesh(path)
    whole = open_user_mesh(two_parts(tmp_path / "a.glb"))
    assert torch.equal(user_mesh.mesh.vertices, whole.mesh.vertices)
    assert torch.equal(user_mesh.mesh.texture, whole.mesh.texture)
    assert user_mesh.path == user_mesh.document.path == path
    assert [record for record in caplog.records if "ignored" not in record.getMessage()] == []
    user_mesh.write_animation(tmp_path / "out.glb", poses_of(user_mesh, 2), [0.0, 1.0])
    assert len(read_clip(tmp_path / "out.glb")) == 2


def test_models_of_other_formats_and_archives_in_archives(tmp_path: Path) -> None:
    box = trimesh.creation.box()
    two_parts(tmp_path / "a.glb")
    models = {"b.glb": (tmp_path / "a.glb").read_bytes(), "b.vrm": (tmp_path / "a.glb").read_bytes()}
    models |= {f"b{suffix}": box.export(file_type=suffix[1:]) for suffix in (".ply", ".stl", ".off", ".obj")}
    for name, data in models.items():
        path = pack(tmp_path / "c.zip", {f"x/{name}": data.encode() if isinstance(data, str) else data})
        assert len(open_user_mesh(path).mesh.faces) == (332 if data == models["b.glb"] else 12)
        assert len(read_any_mesh(path).faces) == len(open_user_mesh(path).mesh.faces)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        for name, data in scene_files(tmp_path).items():
            if not name.endswith(".png"):
                archive.writestr(name, data)
    outer = {"source/model.zip": inner.getvalue()}
    outer |= {f"textures/{name}": data for name, data in scene_files_again(tmp_path).items() if name.endswith(".png")}
    user_mesh = open_user_mesh(pack(tmp_path / "d.zip", outer))
    assert len(user_mesh.mesh.faces) == 332
    assert user_mesh.mesh.texture is not None


def scene_files_again(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "external").iterdir()}


@pytest.mark.parametrize("encoding", ["gb18030", "cp932", "utf-8"])
def test_names_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    """An archiver that does not say how it encodes names; the .gltf names its buffer in UTF-8."""
    name = "模型.bin"
    files = scene_files(tmp_path)
    document = json.loads(files["scene.gltf"])
    document["buffers"][0]["uri"] = name
    for image in document["images"]:
        image["uri"] = image["uri"].replace("%20", " ")
    path = tmp_path / "a.zip"
    placeholder = "X" * len(name.encode(encoding))
    pack(
        path,
        {
            "scene.gltf": json.dumps(document).encode(),
            placeholder: files["data.bin"],
            **{key: data for key, data in files.items() if key.endswith(("png", "jpg"))},
        },
    )
    path.write_bytes(path.read_bytes().replace(placeholder.encode(), name.encode(encoding)))
    assert len(open_user_mesh(path).mesh.faces) == 332


def test_what_is_no_model_or_a_danger_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = obj_files()["box.obj"]
    monkeypatch.setattr(_mesh_zip, "RATIO_FROM", 1 << 20)
    bomb = pack(tmp_path / "bomb.zip", {"a.obj": box, "b.bin": bytes(4 << 20)})
    broken = pack(tmp_path / "broken.zip", {"a.obj": box})
    broken.write_bytes(broken.read_bytes()[:-30])
    locked = pack(tmp_path / "locked.zip", {"a.obj": box})
    data = bytearray(locked.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    locked.write_bytes(data)
    for path, says in (
        (bomb, "too large for a mesh"),
        (broken, "cannot be unpacked"),
        (locked, "encrypted"),
        (pack(tmp_path / "out.zip", {"../a.obj": box}), "out of the archive"),
        (pack(tmp_path / "root.zip", {"/tmp/a.obj": box}), "out of the archive"),
        (pack(tmp_path / "drive.zip", {"C:\\a.obj": box}), "out of the archive"),
        (pack(tmp_path / "none.zip", {"readme.txt": b"hello"}), r"no model in it; looked for \.glb"),
        (pack(tmp_path / "empty.zip", {}), "no model in it"),
        (pack(tmp_path / "two.zip", {"a/a.obj": box, "b.obj": box}), r"2 models in it \(a/a\.obj, b\.obj\)"),
    ):
        for opened in (check_user_mesh, open_user_mesh, list_clips):
            with pytest.raises(ValueError, match=says) as error:
                opened(path)
            assert path.name in str(error.value)
            assert "\n" not in str(error.value)
    assert sorted(each.suffix for each in tmp_path.iterdir()) == [".zip"] * 9


def test_an_archive_that_unpacks_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"a.obj": b"# " + b"x" * 100_000})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(signature) + offset
        data[at : at + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.zip"):
        open_user_mesh(path)


def test_errors_name_the_archive_and_not_a_temporary_folder(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"source/scene.gltf": b'{"asset": {"version": "1.0"}}'})
    with pytest.raises(ValueError, match=r"a\.zip/scene\.gltf: glTF 1\.0") as error:
        open_user_mesh(path)
    assert str(error.value).startswith(str(tmp_path))
    with model_file(pack(tmp_path / "b.zip", obj_files())) as (file, kind):
        assert kind == ".obj"
        assert file.is_file()
    assert not file.exists()


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.rar", b"Rar!\x1a\x07", "an archive; unpack it"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c", "an archive; unpack it"),
        ("a.tar.gz", b"\x1f\x8b\x08", "an archive; unpack it"),
        ("a.glb", b"Rar!\x1a\x07", "an archive; unpack it"),
        ("a.usdz", b"PK\x03\x04", "USD; open it in Blender"),
        ("a.blend", b"BLENDER-v300", "a Blender project"),
        ("a.dae", b"<?xml", "export it as GLB"),
        ("a.splat", b"\0" * 32, "Gaussian splats"),
        ("a.mtl", b"newmtl a", "give the OBJ"),
        ("a.whatever", b"\0" * 32, r"unknown mesh format '\.whatever'; known are \.glb"),
        ("folder.glb", None, "a folder; give the mesh file in it"),
    ],
)
def test_other_files_are_refused_with_what_they_are(tmp_path: Path, name: str, data: bytes | None, says: str) -> None:
    if data is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(data)
    for opened in (check_user_mesh, open_user_mesh):
        with pytest.raises(ValueError, match=says) as error:
            opened(tmp_path / name)
        assert name in str(error.value)


def test_the_content_counts_more_than_the_suffix(tmp_path: Path) -> None:
    whole = two_parts(tmp_path / "a.glb").read_bytes()
    for name in ("b.gltf", "b.vrm", "b.obj", "b.zip", "b.bin"):
        (tmp_path / name).write_bytes(whole)
        assert len(open_user_mesh(tmp_path / name).mesh.faces) == 332
    pack(tmp_path / "c.glb", {"a.glb": whole})
    assert len(open_user_mesh(tmp_path / "c.glb").mesh.faces) == 332


def test_an_avatar_keeps_its_extension_and_its_nodes(tmp_path: Path) -> None:
    def change(document: dict) -> None:
        bones = [{"bone": "hips", "node": 1}, {"bone": "head", "node": 0}]
        document["nodes"].append({"name": "hips"})
        blink = {"presetName": "blink", "binds": [{"mesh": 0, "index": 3, "weight": 100}]}
        document["extensions"] = {
            "VRM": {"humanoid": {"humanBones": bones}, "blendShapeMaster": {"blendShapeGroups": [blink]}},
            "VRMC_vrm": {
                "humanoid": {"humanBones": {"hips": {"node": 1}}},
                "expressions": {"preset": {"blink": {"morphTargetBinds": [{"node": 0, "index": 3, "weight": 1}]}}},
            },
        }
        document["extensionsUsed"] = ["VRM", "VRMC_vrm"]

    path = rewritten(two_parts(tmp_path / "a.glb"), tmp_path / "b.vrm", change)
    user_mesh = open_user_mesh(path)
    user_mesh.write_animation(tmp_path / "out.glb", poses_of(user_mesh, 2), [0.0, 1.0])
    before, after = user_mesh.document, load_document(tmp_path / "out.glb")
    assert [node.get("name") for node in after.items("nodes")] == [node.get("name") for node in before.items("nodes")]
    kept, old = after.json["extensions"], before.json["extensions"]
    assert kept["VRM"]["humanoid"] == old["VRM"]["humanoid"]
    assert kept["VRMC_vrm"]["humanoid"] == old["VRMC_vrm"]["humanoid"]
    # The morph targets that expressions refer to are gone: their places are those of the poses now.
    assert kept["VRM"]["blendShapeMaster"]["blendShapeGroups"] == [{"presetName": "blink", "binds": []}]
    assert kept["VRMC_vrm"]["expressions"] == {"preset": {"blink": {"morphTargetBinds": []}}}
    assert after.json["extensionsUsed"][:2] == ["VRM", "VRMC_vrm"]


def test_still_files_have_no_clips_and_one_pose(tmp_path: Path) -> None:
    trimesh.creation.box().export(tmp_path / "a.ply")
    assert list_clips(tmp_path / "a.ply") == []
    assert read_clip(tmp_path / "a.ply").vertices.shape == (1, 8, 3)
    sequence = read_clip(tmp_path / "a.ply", times=[0.0, 1.0])
    assert np.array_equal(sequence.times, [0, 1])
    assert torch.equal(sequence.vertices[0], sequence.vertices[1])
    with pytest.raises(ValueError, match="no animations, so no clip 'walk'"):
        read_clip(tmp_path / "a.ply", "walk")
    two_parts(tmp_path / "b.glb")
    assert [clip.name for clip in list_clips(tmp_path / "b.glb")] == ["Jump"]
