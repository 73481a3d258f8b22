"""Blender plays what we write, and what Blender writes from it still moves the same way."""

import json
import os
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from tests.v2m4.io.blender_here import BLENDER, needs_blender
from v2m4.camera import Orbit
from v2m4.io.blender import FORMATS, blender_command, export_with_blender
from v2m4.io.gltf import write_animation_glb
from v2m4.mesh import Mesh, MeshSequence

FPS, FRAMES = 24.0, 13
SIZE = (600, 400)  # width, height

READ_BACK = """
import json, sys
import bpy, numpy as np
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector
request = json.loads(sys.argv[1])
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.context.scene.render.fps = int(request["fps"])
path = request["path"]
if path.endswith(".glb"): bpy.ops.import_scene.gltf(filepath=path)
if path.endswith(".fbx"): bpy.ops.import_scene.fbx(filepath=path, anim_offset=0.0)
if path.endswith(".usd"): bpy.ops.wm.usd_import(filepath=path)
if path.endswith(".abc"): bpy.ops.wm.alembic_import(filepath=path, as_background_job=False)
found = {"textures": np.array(len([i for i in bpy.data.images if i.size[0]]))}
thing = next(t for t in bpy.context.scene.objects if t.type == "MESH")
for frame in request["frames"]:
    bpy.context.scene.frame_set(int(frame), subframe=frame - int(frame))
    graph = bpy.context.evaluated_depsgraph_get()
    evaluated = thing.evaluated_get(graph)
    mesh = evaluated.to_mesh()
    points = np.array([evaluated.matrix_world @ v.co for v in mesh.vertices])
    found[str(frame)] = np.stack([points[:, 0], points[:, 2], -points[:, 1]], 1)
    if path.endswith(".glb"):
        camera = next(t for t in bpy.context.scene.objects if t.type == "CAMERA")
        bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y = request["size"]
        graph.update()
        seen = [world_to_camera_view(bpy.context.scene, camera, Vector(point)) for point in points]
        found["seen" + str(frame)] = np.array([[x, 1 - y, depth] for x, y, depth in seen])
np.savez(request["out"], **found)
"""


def _sequence() -> MeshSequence:
    """A bumpy ball that is bent and turned, with two texture charts; the first pose is not the rest pose."""
    rng = np.random.default_rng(1)
    angles = np.linspace(0, np.pi, 9)[1:-1]
    ring = np.arange(12) * (2 * np.pi / 12)
    grid = np.array([[np.sin(a) * np.cos(b), np.cos(a), np.sin(a) * np.sin(b)] for a in angles for b in ring])
    vertices = np.concatenate([grid, [[0, 1, 0], [0, -1, 0]]]) * 0.4 + rng.normal(0, 0.01, (len(grid) + 2, 3))
    faces = []
    for row in range(len(angles) - 1):
        for col in range(12):
            a, b = row * 12 + col, row * 12 + (col + 1) % 12
            faces += [[a, b, a + 12], [b, b + 12, a + 12]]
    for col in range(12):
        faces += [
            [len(grid), (col + 1) % 12, col],
            [len(grid) + 1, len(grid) - 12 + col, len(grid) - 12 + (col + 1) % 12],
        ]
    rest = torch.tensor(vertices, dtype=torch.float32)
    faces = torch.tensor(faces)
    uvs = torch.rand(len(rest) + 40, 2, generator=torch.Generator().manual_seed(0))
    uv_faces = faces.clone()
    uv_faces[:20] = torch.arange(60).reshape(20, 3) % 40 + len(rest)
    mesh = Mesh(rest, faces, uvs, uv_faces, torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(2)))
    poses = []
    for time in (0.0, 5.0, 10.0, 12.0):
        turn = 0.3 + time / 6 * rest[:, 1]
        x, y, z = rest.unbind(1)
        poses.append(torch.stack([x * turn.cos() + z * turn.sin(), y + time / 20, z * turn.cos() - x * turn.sin()], 1))
    return MeshSequence(torch.stack(poses), mesh, np.array([0.0, 5.0, 10.0, 12.0]) / FPS)


def _play(path: Path, frames: list[float], folder: Path) -> dict[str, np.ndarray]:
    out = folder / "played.npz"
    request = {"path": str(path), "fps": FPS, "frames": frames, "out": str(out), "size": SIZE}
    python = blender_command(BLENDER)[0]
    script = folder / "read_back.py"
    script.write_text(READ_BACK)
    done = subprocess.run([python, str(script), json.dumps(request)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(out) as played:
        return dict(played)


@needs_blender
@pytest.mark.slow
def test_blender_plays_every_format(tmp_path: Path) -> None:
    sequence = _sequence()
    glb = tmp_path / "output_animation.glb"
    camera = Orbit.of(yaw=0.3, pitch=0.2, radius=2.5).camera(0.7, SIZE[0] / SIZE[1])
    write_animation_glb(glb, sequence, camera)
    written = export_with_blender(glb, BLENDER, fps=FPS, frames=FRAMES)
    assert [path.suffix for path in written] == list(FORMATS)
    assert not list(tmp_path.glob(".*"))
    frames = [0, 2, 5, 9, 12]
    truth = sequence.sampled(np.array(frames) / FPS).vertices.numpy()
    for path in (glb, *written):
        played = _play(path, frames, tmp_path)
        for frame, expected in zip(frames, truth, strict=True):
            found = played[str(frame)]
            assert cKDTree(found).query(expected)[0].max() < 2e-4, (path.suffix, frame)
            assert cKDTree(expected).query(found)[0].max() < 2e-4, (path.suffix, frame)
        assert bool(played["textures"] > 0) == (path.suffix != ".abc"), path.suffix
        if path == glb:  # and Blender's view through the file's camera is the video's
            for frame, expected in zip(frames, truth, strict=True):
                pixels, depth = camera.project(torch.from_numpy(expected), (1, 1))
                view = np.concatenate([pixels[0].numpy(), depth[0, :, None].numpy()], 1)
                assert cKDTree(played[f"seen{frame}"]).query(view)[0].max() < 1e-3, frame


def test_what_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    glb = tmp_path / "a.glb"
    with pytest.raises(FileNotFoundError, match=r"a\.glb: no such file"):
        export_with_blender(glb, tmp_path, fps=30, frames=2)
    glb.write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match="no Blender executable in this folder"):
        export_with_blender(glb, tmp_path, fps=30, frames=2)
    with pytest.raises(FileNotFoundError, match="not an executable"):
        export_with_blender(glb, tmp_path / "blender", fps=30, frames=2)
    with pytest.raises(ValueError, match=r"unknown formats \['\.gif'\]"):
        export_with_blender(glb, tmp_path, fps=30, frames=2, formats=[".gif"])


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Blender is a shell script")
def test_a_blender_that_fails_leaves_nothing_and_is_quoted(tmp_path: Path) -> None:
    glb, blender = tmp_path / "a.glb", tmp_path / "blender"
    glb.write_bytes(b"x")
    blender.write_text("#!/bin/sh\necho first >&2\necho 'Error: out of cheese' >&2\nexit 3\n")
    blender.chmod(blender.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(RuntimeError, match=r"wrote no a\.fbx \(exit code 3\): Error: out of cheese"):
        export_with_blender(glb, tmp_path, fps=30, frames=2, formats=[".fbx"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.glb", "blender"]


def test_command_for_blender_and_for_a_python_with_bpy(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("blender", "bin/python"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    assert "--background" in blender_command(tmp_path)
    assert "--background" not in blender_command(tmp_path / "bin" / "python")
    (tmp_path / "blender").unlink()
    assert blender_command(tmp_path)[0] == str(tmp_path / "bin" / "python")
