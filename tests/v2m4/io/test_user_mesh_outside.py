"""What others say of the files that we write for users: Khronos' validator, and Blender frame by frame."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from evaluation import gltf_validator
from tests.v2m4.io.blender_here import BLENDER, needs_blender
from tests.v2m4.io.user_mesh_documents import external, instances, poses_of, two_parts
from v2m4.camera import Orbit
from v2m4.io._gltf_container import load_document
from v2m4.io._gltf_nodes import scene_nodes
from v2m4.io.blender import blender_command, export_with_blender
from v2m4.io.gltf import write_glb
from v2m4.io.gltf_animation import read_animation
from v2m4.io.user_mesh import open_user_mesh

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
FPS = 24
# Remarks that are true of the user's own file already.
THEIRS = {"NODE_EMPTY", "MESH_PRIMITIVE_GENERATED_TANGENT_SPACE", "UNUSED_MESH_TANGENT"}
EVALUATE = """
import json, sys
import bpy, numpy as np
request = json.loads(sys.argv[1])
found = {}
for number, path in enumerate(request["paths"]):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps = request["fps"]
    bpy.ops.import_scene.gltf(filepath=path, merge_vertices=False)
    for frame in range(request["frames"]):
        bpy.context.scene.frame_set(frame)
        graph = bpy.context.evaluated_depsgraph_get()
        for name in request["names"][number]:
            evaluated = bpy.data.objects[name].evaluated_get(graph)
            mesh = evaluated.to_mesh()
            points = np.empty(len(mesh.vertices) * 3)
            mesh.vertices.foreach_get("co", points)
            matrix = np.array(evaluated.matrix_world)
            points = points.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
            found[f"{number}_{frame}_{name}"] = np.stack([points[:, 0], points[:, 2], -points[:, 1]], 1)
np.savez(request["out"], **found)
"""


def source_files(folder: Path) -> list[Path]:
    found = [two_parts(folder / "parts.glb"), instances(folder / "instances.glb"), external(folder)]
    shared = (DATA / "animated/Fox.glb", DATA / "animated/RobotExpressive.glb", DATA / "existing/chili.glb")
    return found + [path for path in shared if path.is_file()]


def written(folder: Path, frames: int) -> list[Path]:
    """Each source moving, as small as it may be and not, and standing still."""
    paths = []
    camera = Orbit.of(yaw=0.3, radius=2.0).camera()
    for source in source_files(folder):
        user_mesh = open_user_mesh(source)
        poses = poses_of(user_mesh, frames)
        stem = folder / f"out_{source.parent.name}_{source.stem}"
        paths += [stem.with_name(f"{stem.name}_{kind}.glb") for kind in ("moving", "plain", "still")]
        user_mesh.write_animation(paths[-3], poses, np.arange(frames) / FPS, camera)
        user_mesh.write_animation(paths[-2], poses, np.arange(frames) / FPS, quantize=False)
        user_mesh.write_static(paths[-1], poses[0], camera)
    return paths


@pytest.mark.skipif(not gltf_validator.is_installed(), reason=gltf_validator.MISSING)
def test_the_validator_finds_nothing_that_is_ours(tmp_path: Path) -> None:
    paths = written(tmp_path, 3)
    for path, issues in zip(paths, gltf_validator.validate(paths), strict=True):
        others = [issue for issue in issues["messages"] if issue["code"] not in THEIRS]
        ours = [issue for issue in others if issue["severity"] < 2 or "/attributes/" not in issue["pointer"]]
        assert not ours and issues["numErrors"] == 0, (path.name, ours[:3])


@pytest.mark.slow
@needs_blender
def test_blender_shows_every_frame(tmp_path: Path) -> None:
    frames = 4
    paths = [path for path in written(tmp_path, frames) if not path.name.endswith("_still.glb")]
    names = []
    for path in paths:
        document = load_document(path)
        nodes = document.items("nodes")
        names.append([nodes[index]["name"] for index in scene_nodes(document) if "mesh" in nodes[index]])
    request = {"paths": [str(path) for path in paths], "frames": frames, "names": names, "fps": FPS}
    request["out"] = str(tmp_path / "out.npz")
    command = [blender_command(BLENDER)[0], "-c", EVALUATE, json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(tmp_path / "out.npz")
    for number, path in enumerate(paths):
        ours = read_animation(path).vertices.numpy()
        size = np.ptp(ours.reshape(-1, 3), axis=0).max()
        for frame in range(frames):
            theirs = np.concatenate([found[f"{number}_{frame}_{name}"] for name in names[number]])
            mine = ours[frame]
            if len(theirs) != len(mine):  # Blender leaves out rows that no face uses
                mine = mine[np.abs(theirs[:, None] - mine).sum(2).argmin(1)]
            assert np.abs(mine - theirs).max() < 1e-5 * size, path.name


@pytest.mark.slow
@needs_blender
def test_an_fbx_is_opened_through_blender(tmp_path: Path) -> None:
    user_mesh = open_user_mesh(two_parts(tmp_path / "a.glb"))
    user_mesh.write_animation(tmp_path / "b.glb", user_mesh.mesh.vertices[None], [0.0])
    (fbx,) = export_with_blender(tmp_path / "b.glb", BLENDER, fps=FPS, frames=1, formats=(".fbx",))
    back = open_user_mesh(fbx, BLENDER)
    assert len(back.mesh.vertices) == len(user_mesh.mesh.vertices) and len(back.mesh.faces) == len(user_mesh.mesh.faces)
    distance = np.abs(back.mesh.vertices.numpy()[:, None] - user_mesh.mesh.vertices.numpy()).sum(2).min(1)
    assert distance.max() < 1e-4
    back.write_animation(tmp_path / "c.glb", poses_of(back, 2), [0.0, 1.0])
    assert len(read_animation(tmp_path / "c.glb")) == 2
    write_glb(tmp_path / "d.glb", back.mesh)
