"""The readers of foreign files, each with valid files, a mutation that fits them, and what it is called with."""

from __future__ import annotations

import importlib.util
import io
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import trimesh
from PIL import Image

from tests.fuzz.mutate import mutated_bytes, mutated_glb, mutated_json_text, mutated_text
from tests.v2m4.io.test_gltf_compressed import compressed_grid, draco_file, draco_stream
from tests.v2m4.io.user_mesh_documents import external, two_parts
from tests.v2m4.io.video_documents import disc_rgba, encode, moving, save_animated
from v2m4.config import FramesConfig
from v2m4.export import read_cameras
from v2m4.io._texture_picture import decode_picture
from v2m4.io.animated import animated_count, read_animated
from v2m4.io.gltf import read_glb
from v2m4.io.gltf_animation import list_animations, read_animation
from v2m4.io.masks import may_be_mask
from v2m4.io.picture import read_picture
from v2m4.io.read import read_pictures
from v2m4.io.sources import find_animations
from v2m4.io.user_mesh import open_user_mesh
from v2m4.workspace import Workspace

Mutation = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    Attributes:
        seeds: writes valid files into a folder; those whose names begin with ``_`` lie beside the others unchanged.
        mutation: of the bytes of a file.
        calls: read a file; each is called for itself.
    """

    seeds: Callable[[Path], object]
    mutation: Mutation
    calls: tuple[Callable[[Path], object], ...]


def write_pictures(folder: Path) -> None:
    """A small picture of every common format and mode."""
    rgba = disc_rgba(size=(24, 28))
    image = Image.fromarray(rgba)
    for suffix in ("png", "webp", "tif", "gif", "tga"):
        image.save(folder / f"rgba.{suffix}")
    for suffix in ("jpg", "bmp", "ppm", "jp2"):
        image.convert("RGB").save(folder / f"rgb.{suffix}")
    image.convert("RGB").quantize(8).save(folder / "palette.png", transparency=0)
    cv2.imwrite(str(folder / "deep.png"), rgba[..., :3].astype(np.uint16) * 257)
    for suffix in ("apng", "gif", "webp"):
        save_animated(folder / f"moving.{suffix}", [disc_rgba(3 * index, (24, 28)) for index in range(3)], 40)


def write_textures(folder: Path) -> None:
    """Pictures that only textures are made of: of floating-point numbers."""
    linear = disc_rgba(size=(24, 28))[..., :3].astype(np.float32) / 255
    cv2.imwrite(str(folder / "linear.hdr"), linear)
    cv2.imwrite(str(folder / "linear.tif"), linear)


def write_videos(folder: Path) -> None:
    """A short video in each of the common containers."""
    frames = moving(4, size=(48, 64))
    encode(folder / "a.mp4", frames)
    encode(folder / "b.mkv", frames)
    encode(folder / "c.avi", frames, codec="mpeg4")
    encode(folder / "d.webm", frames, codec="libvpx")


def write_glbs(folder: Path) -> None:
    """A textured, animated scene, and grids compressed by meshopt and, where its package is installed, by Draco."""
    two_parts(folder / "two.glb")
    for extension in ("EXT_meshopt_compression", "KHR_meshopt_compression"):
        compressed_grid(folder / f"{extension}.glb", extension)
    if importlib.util.find_spec("DracoPy") is not None:
        draco_file(folder / "draco.glb", draco_stream())


def write_gltf(folder: Path) -> None:
    """The same scene as a .gltf with files beside it."""
    (folder / "made").mkdir()
    path = external(folder / "made")
    for file in path.parent.iterdir():
        shutil.copyfile(file, folder / (file.name if file == path else f"_{file.name}"))
    text = (folder / path.name).read_text("utf-8")
    for file in folder.glob("_*"):
        text = text.replace(file.name[1:].replace(" ", "%20"), file.name.replace(" ", "%20"))
    (folder / path.name).write_text(text, "utf-8")


def write_objs(folder: Path) -> None:
    """A cube with materials and a texture; OBJ and MTL are mutated each for itself."""
    Image.fromarray(disc_rgba(size=(8, 8))).save(folder / "_skin.png")
    corners = "\n".join(f"v {x} {y} {z} 0.5 0.25 1" for x in (0, 1) for y in (0, 1) for z in (0, 1))
    coordinates = "vt 0 0\nvt 1 0\nvt 1 1\nvn 0 0 1\n"
    faces = "f 1/1/1 2/2/1 4/3/1 3/1/1\nusemtl b\nf 5//1 6//1 8//1\nf -8 -7 -6 -5 -4\nf 1 3 5\n"
    for library, name in (("_a.mtl", "a.obj"), ("b.mtl", "_b.obj")):
        text = f"mtllib {library}\no cube\n{corners}\n{coordinates}usemtl a\n{faces}"
        (folder / name).write_text(text)
        materials = "newmtl a\nKd 0.5 0.5 1\nNs 10\nd 0.5\nmap_Kd -s 2 2 1 -o 0 0.5 0 _skin.png\nmap_d _skin.png\n"
        (folder / library).write_text(f"{materials}bump -bm 0.5 _skin.png\nnewmtl b\nTr 0.25\nKe 1 0 0\nPr 0.5\n")


def write_polygons(folder: Path) -> None:
    """A box as PLY, OFF and STL, as text and binary."""
    box = trimesh.creation.box()
    box.visual.vertex_colors = np.tile(np.array([200, 100, 50, 255], np.uint8), (8, 1))
    for encoding in ("ascii", "binary"):
        data = trimesh.exchange.ply.export_ply(box, encoding=encoding)
        (folder / f"{encoding}.ply").write_bytes(data)
    (folder / "a.off").write_text(trimesh.exchange.off.export_off(box))
    (folder / "binary.stl").write_bytes(trimesh.exchange.stl.export_stl(box))
    (folder / "ascii.stl").write_text(trimesh.exchange.stl.export_stl_ascii(box))


def write_archives(folder: Path) -> None:
    """An OBJ in a .zip, and that in another."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("source/a.obj", trimesh.exchange.obj.export_obj(trimesh.creation.box()))
    (folder / "a.zip").write_bytes(stream.getvalue())
    with zipfile.ZipFile(folder / "b.zip", "w") as archive:
        archive.writestr("source/model.zip", stream.getvalue())


def write_records(folder: Path) -> None:
    """A manifest and a file of cameras."""
    stages = {"frames": {"state": "done", "seconds": 0.5}}
    artefacts = {"0_rmbg.png": {"key": "00", "bytes": 12}, "1_generation/0.npz": {"key": "1", "bytes": 3}}
    frames = {"key": "00", "foreground": "alpha", "names": ["0"], "fps": None, "times": [0], "absent": []}
    manifest = {"artefacts": artefacts, "stages": stages, "frames": frames, "seed": 42, "config": {"root": "x"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    matrix = np.eye(4).tolist()
    cameras = [{"name": str(index), "extrinsics": matrix, "time": index / 10} for index in range(2)]
    record = {"fov": 0.7, "aspect": 1.0, "fps": 10, "origin": [0, 0, 0], "frames": cameras}
    (folder / "cameras.json").write_text(json.dumps(record))


def read_frames(path: Path) -> None:
    """Read the file as an animation, as the program does."""
    for source in find_animations(path.parent):
        read_pictures(source, FramesConfig())


def read_moving(path: Path) -> None:
    if animated_count(path):
        read_animated(path, 64)


def read_clips(path: Path) -> None:
    for clip in list_animations(path):
        read_animation(path, clip.name)


def read_mesh(path: Path) -> None:
    """Read the OBJ to which an MTL belongs, or the file itself."""
    open_user_mesh(path.with_name("_b.obj") if path.suffix == ".mtl" else path)


def read_record(path: Path) -> None:
    if path.name == "cameras.json":
        read_cameras(path)
        return
    workspace = Workspace(path.parent)
    workspace.fresh("0_rmbg.png", "00")
    with workspace.stage("frames"):
        pass


def binary_or_text(data: bytes, generator: random.Random) -> bytes:
    return (mutated_text if data[:512].isascii() else mutated_bytes)(data, generator)


def read_texture(path: Path) -> None:
    decode_picture(path.read_bytes(), str(path))


READERS = {
    "pictures": Reader(write_pictures, mutated_bytes, (read_picture, read_moving, may_be_mask, read_texture)),
    "textures": Reader(write_textures, binary_or_text, (read_texture,)),
    "videos": Reader(write_videos, mutated_bytes, (read_frames,)),
    "glb": Reader(write_glbs, mutated_glb, (read_glb, read_clips, open_user_mesh)),
    "gltf": Reader(write_gltf, mutated_json_text, (read_glb, open_user_mesh)),
    "obj": Reader(write_objs, mutated_text, (read_mesh,)),
    "polygons": Reader(write_polygons, binary_or_text, (read_mesh,)),
    "archives": Reader(write_archives, mutated_bytes, (read_mesh,)),
    "records": Reader(write_records, mutated_json_text, (read_record,)),
}
