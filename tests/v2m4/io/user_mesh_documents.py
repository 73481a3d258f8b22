"""Small documents of every kind that a user may have, and what has to be the same after writing."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import trimesh

from v2m4.io._gltf_container import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, Document, GltfBuilder, load_document
from v2m4.io.user_mesh import UserMesh

TURN = [0.0, np.sin(0.35), 0.0, np.cos(0.35)]


def picture(kind: str, value: int) -> bytes:
    pixels = np.full((8, 8, 3), value, np.uint8)
    pixels[2:5, 3:6] = 255 - value
    return cv2.imencode(kind, pixels)[1].tobytes()


def cube_corners() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A cube of four vertices a side: positions, normals, texture coordinates, faces."""
    cube = trimesh.creation.box((1, 1, 1))
    positions, normals, uvs, faces = [], [], [], []
    for axis in range(3):
        for sign in (-0.5, 0.5):
            mine = np.flatnonzero(cube.vertices[:, axis] == sign)
            others = [each for each in range(3) if each != axis]
            order = mine[[0, 1, 3, 2]]
            normal = np.zeros(3)
            normal[axis] = 2 * sign
            corners = cube.vertices[order]
            if np.dot(np.cross(corners[1] - corners[0], corners[2] - corners[0]), normal) < 0:
                corners = corners[::-1]
            start = 4 * len(positions)
            positions.append(corners)
            normals.append(np.tile(normal, (4, 1)))
            uvs.append(corners[:, others] + 0.5)
            faces += [[start, start + 1, start + 2], [start, start + 2, start + 3]]
    return np.concatenate(positions), np.concatenate(normals), np.concatenate(uvs), np.array(faces)


class GltfScene:
    """Builds one document."""

    def __init__(self) -> None:
        self.builder = GltfBuilder()
        self.roots: list[int] = []

    def attribute(self, values: np.ndarray, bounds: bool = False, normalized: bool = False) -> int:
        values = values.astype(np.float32) if values.dtype == np.float64 else values
        return self.builder.accessor(values, ARRAY_BUFFER, bounds, normalized)

    def indices(self, faces: np.ndarray) -> int:
        return self.builder.accessor(faces.reshape(-1).astype(np.uint16), ELEMENT_ARRAY_BUFFER)

    def textured(self, kind: str, value: int, **more: Any) -> int:
        mime = "image/png" if kind == ".png" else "image/jpeg"
        view = self.builder.view(picture(kind, value))
        image = self.builder.add("images", {"bufferView": view, "mimeType": mime, "extras": {"from": "a camera"}})
        texture = self.builder.add("textures", {"source": image})
        base = {"baseColorTexture": {"index": texture}, "roughnessFactor": 0.123456789}
        return self.builder.add("materials", {"name": f"cloth {value}", "pbrMetallicRoughness": base, **more})

    def plain(self, color: tuple[float, ...]) -> int:
        return self.builder.add("materials", {"pbrMetallicRoughness": {"baseColorFactor": [*color, 1.0]}})

    def node(self, root: bool = True, **entries: Any) -> int:
        index = self.builder.add("nodes", entries)
        if root:
            self.roots.append(index)
        return index

    def write(self, path: Path) -> Path:
        self.builder.add("scenes", {"nodes": self.roots, "name": "stage"})
        self.builder.json["scene"] = 0
        path.write_bytes(self.builder.tobytes())
        return path


def two_parts(path: Path) -> Path:
    """A box of two materials (a picture, and a plain colour with tangents) and a ball with a JPEG, and a clip."""
    scene = GltfScene()
    positions, normals, uvs, faces = cube_corners()
    tangents = np.concatenate([np.roll(normals, 1, 1), np.ones((24, 1))], 1)
    first = {"POSITION": scene.attribute(positions, True), "NORMAL": scene.attribute(normals)}
    second = first | {"TANGENT": scene.attribute(tangents)}
    first["TEXCOORD_0"] = second["TEXCOORD_0"] = scene.attribute(uvs)
    cloth, red = scene.textured(".png", 40, doubleSided=True), scene.plain((0.8, 0.1, 0.1))
    box = [
        {"attributes": first, "indices": scene.indices(faces[:6]), "material": cloth},
        {"attributes": second, "indices": scene.indices(faces[6:]), "material": red, "extras": {"note": "Größe"}},
    ]
    ball = trimesh.creation.icosphere(2)
    attributes = {"POSITION": scene.attribute(ball.vertices, True), "NORMAL": scene.attribute(ball.vertex_normals)}
    attributes["TEXCOORD_0"] = scene.attribute(ball.vertices[:, :2] / 2 + 0.5)
    wool = scene.textured(".jpg", 200)
    meshes = [
        scene.builder.add("meshes", {"name": "box", "primitives": box, "extras": {"made": 1}}),
        scene.builder.add(
            "meshes",
            {
                "name": "ball",
                "primitives": [{"attributes": attributes, "indices": scene.indices(ball.faces), "material": wool}],
            },
        ),
    ]
    scene.node(name="Box", mesh=meshes[0], translation=[0.5, 1.0, -0.25])
    scene.node(name="Ball", mesh=meshes[1], translation=[-1.0, 0.0, 2.0], rotation=TURN)
    sampler = {
        "input": scene.builder.accessor(np.array([0, 1], np.float32), bounds=True),
        "output": scene.builder.accessor(np.array([[0, 0, 0], [9, 9, 9]], np.float32)),
    }
    channel = {"sampler": 0, "target": {"node": 0, "path": "translation"}}
    scene.builder.add("animations", {"name": "Jump", "samplers": [sampler], "channels": [channel]})
    return scene.write(path)


def instances(path: Path) -> Path:
    """One box shown three times: under a node that is scaled and turned, mirrored, and grown by a morph target."""
    scene = GltfScene()
    positions, normals, _, faces = cube_corners()
    grow = scene.attribute(positions * 0.5, True)
    primitive = {
        "attributes": {"POSITION": scene.attribute(positions, True), "NORMAL": scene.attribute(normals)},
        "indices": scene.indices(faces),
        "targets": [{"POSITION": grow}],
        "material": scene.plain((0.1, 0.6, 0.2)),
    }
    mesh = scene.builder.add("meshes", {"name": "box", "primitives": [primitive], "weights": [0.0]})
    inner = scene.node(False, name="inner", mesh=mesh, translation=[0, 2, 0], scale=[0.5, 2.0, 1.0])
    scene.node(name="outer", children=[inner], rotation=TURN, scale=[3.0, 3.0, 3.0])
    scene.node(name="mirrored", mesh=mesh, scale=[-1, 1, 1], translation=[4, 0, 0])
    scene.node(name="grown", mesh=mesh, weights=[0.5], translation=[0, 0, -5])
    return scene.write(path)


def external(folder: Path) -> Path:
    """The two parts as a .gltf with its buffer and pictures beside it."""
    document = load_document(two_parts(folder / "packed.glb"))
    folder = folder / "external"
    folder.mkdir()
    changed = document.json
    for number, image in enumerate(changed["images"]):
        name = f"a picture {number}{'.png' if image['mimeType'] == 'image/png' else '.jpg'}"
        (folder / name).write_bytes(document.image_bytes(number))
        del image["bufferView"], image["mimeType"]
        image["uri"] = name.replace(" ", "%20")
    data = document.buffers[0]
    assert data is not None
    (folder / "data.bin").write_bytes(data)
    changed["buffers"] = [{"byteLength": len(data), "uri": "data.bin"}]
    (folder / "scene.gltf").write_text(json.dumps(changed), "utf-8")
    return folder / "scene.gltf"


def rewritten(source: Path, target: Path, change: Any) -> Path:
    """A GLB with its JSON changed by a function."""
    data = source.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    document, rest = json.loads(data[20 : 20 + length]), data[20 + length :]
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIIII", b"glTF", 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A)
    target.write_bytes(head + text + rest)
    return target


def poses_of(user_mesh: UserMesh, count: int, seed: int = 0) -> np.ndarray:
    """The working mesh swaying, growing and going away, (T, V, 3) float32."""
    rest = user_mesh.mesh.vertices.numpy().astype(np.float64)
    size = np.ptp(rest, axis=0).max()
    rng = np.random.default_rng(seed)
    poses = []
    for _ in range(count):
        wave = np.sin(rest[:, [1, 2, 0]] / size * 3 + rng.random(3) * 6)
        poses.append(rest * (1 + 0.1 * rng.random()) + 0.1 * size * wave + 0.1 * size * rng.random(3))
    return np.stack(poses).astype(np.float32)


def fingerprints(document: Document, moved: bool = False) -> Iterator[tuple[str, str]]:
    """What has to stay, by name: every attribute (less those of skins), index buffer, picture, material and name.

    Args:
        document: a file.
        moved: leave out positions, normals and tangents.
    """
    left = ("JOINTS_", "WEIGHTS_") + (("POSITION", "NORMAL", "TANGENT") if moved else ())
    for number, node in enumerate(document.items("nodes")):
        if "mesh" not in node:
            continue
        mesh = document.items("meshes")[node["mesh"]]
        yield f"{number} names", json.dumps([node.get("name"), mesh.get("name"), node.get("extras")])
        extras = {key: value for key, value in mesh.get("extras", {}).items() if key != "targetNames"}
        yield f"{number} extras", json.dumps(extras)
        for part, primitive in enumerate(mesh["primitives"]):
            stored = {name: index for name, index in primitive["attributes"].items() if not name.startswith(left)}
            stored |= {"indices": primitive["indices"]} if "indices" in primitive else {}
            for name, index in stored.items():
                accessor = {key: value for key, value in document.items("accessors")[index].items()}
                accessor.pop("bufferView", None)
                accessor.pop("byteOffset", None)
                values = hashlib.sha256(document.accessor(index).tobytes()).hexdigest()
                yield f"{number} {part} {name}", values + json.dumps(accessor, sort_keys=True)
            kept = {key: primitive[key] for key in ("material", "mode", "extras", "extensions") if key in primitive}
            yield f"{number} {part}", json.dumps(kept, sort_keys=True)
    for number, image in enumerate(document.items("images")):
        yield f"image {number}", hashlib.sha256(document.image_bytes(number)).hexdigest()
        yield f"image {number} extras", json.dumps(image.get("extras"))
    for kind in ("materials", "textures", "samplers", "asset"):
        yield kind, json.dumps(document.json.get(kind), sort_keys=True)
