"""Open a file in Blender and return what it plays."""

import json
import subprocess
from pathlib import Path

import numpy as np

from tests.v2m4.io.blender_here import BLENDER
from v2m4.io.blender import blender_command

SCRIPT = """
import json, sys
import bpy, numpy as np
request = json.loads(sys.argv[1])
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
path, fps = request["path"], request["fps"]
if path.endswith((".glb", ".abc")):  # both are in seconds: the rate is the scene's
    scene.render.fps, scene.render.fps_base = int(np.ceil(fps)), np.ceil(fps) / fps
if path.endswith(".glb"): bpy.ops.import_scene.gltf(filepath=path)
if path.endswith(".fbx"): bpy.ops.import_scene.fbx(filepath=path, anim_offset=0.0)
if path.endswith((".usd", ".usdz")): bpy.ops.wm.usd_import(filepath=path)
if path.endswith(".abc"): bpy.ops.wm.alembic_import(filepath=path, as_background_job=False, set_frame_range=True)
if path.endswith(".obj"): bpy.ops.wm.obj_import(filepath=path)
if path.endswith(".ply"): bpy.ops.wm.ply_import(filepath=path, forward_axis="NEGATIVE_Z", up_axis="Y")
hidden = bpy.data.collections.get("glTF_not_exported")
hidden = set() if hidden is None else set(hidden.objects)
meshes = [item for item in scene.objects if item.type == "MESH" and item not in hidden]
pictures = [image for image in bpy.data.images if image.size[0]]
found = {
    "fps": scene.render.fps / scene.render.fps_base,
    "frame_end": scene.frame_end,
    "objects": len(meshes),
    "materials": len({slot.material.name for item in meshes for slot in item.material_slots if slot.material}),
    "bones": sum(len(item.data.bones) for item in scene.objects if item.type == "ARMATURE"),
    "shape_keys": sum(len(item.data.shape_keys.key_blocks) for item in meshes if item.data.shape_keys),
    "uv_layers": sum(len(item.data.uv_layers) > 0 for item in meshes),
    "color_layers": sum(len(item.data.color_attributes) > 0 for item in meshes),
    "pictures": len(pictures),
}
if path.endswith((".usd", ".usdz")):  # Blender's importer leaves the scene's rate as it is
    bpy.utils.expose_bundled_modules()
    from pxr import Usd, UsdGeom
    stage = Usd.Stage.Open(path)
    found["fps"], found["up"] = stage.GetTimeCodesPerSecond(), str(UsdGeom.GetStageUpAxis(stage))
    found["playback"] = stage.GetFramesPerSecond()
if pictures:
    image = max(pictures, key=lambda each: each.size[0])
    found["picture"] = np.array(image.pixels[:], np.float32).reshape(image.size[1], image.size[0], 4)[::-1, :, :3]
uvs, colors = [], []
for item in meshes:
    corners = np.array([loop.vertex_index for loop in item.data.loops])
    if item.data.uv_layers:
        uvs.append(np.array([entry.vector for entry in item.data.uv_layers[0].uv]))
    if item.data.color_attributes:
        layer = item.data.color_attributes[0]
        values = np.array([entry.color_srgb[:3] for entry in layer.data])
        colors.append(values if layer.domain == "POINT" else values[np.unique(corners, return_index=True)[1]])
for frame in request["frames"]:
    moment = frame * scene.render.fps_base if path.endswith(".fbx") else frame  # the importer ignores fps_base
    scene.frame_set(int(moment), subframe=moment - int(moment))
    graph = bpy.context.evaluated_depsgraph_get()
    every, of_corners = [], []
    for item in meshes:
        evaluated = item.evaluated_get(graph)
        mesh = evaluated.to_mesh()
        points = np.empty(len(mesh.vertices) * 3)
        mesh.vertices.foreach_get("co", points)
        matrix = np.array(evaluated.matrix_world)
        points = points.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
        every.append(np.stack([points[:, 0], points[:, 2], -points[:, 1]], 1))
        corners = np.array([loop.vertex_index for loop in mesh.loops])
        if item.data.uv_layers:
            of_corners.append(every[-1][corners])
        evaluated.to_mesh_clear()
    found[str(frame)] = np.concatenate(every)
    if of_corners:
        found[f"corners{frame}"] = np.concatenate(of_corners)
if uvs: found["uvs"] = np.concatenate(uvs)
if colors: found["colors"] = np.concatenate(colors)
np.savez(request["out"], **found)
"""


def play(path: Path, frames: list[float], fps: float, folder: Path) -> dict[str, np.ndarray]:
    """Vertices of all meshes at each frame (by frame number as text, y up), and what else the file has."""
    out, script = folder / "played.npz", folder / "read_back.py"
    script.write_text(SCRIPT)
    request = {"path": str(path), "fps": fps, "frames": frames, "out": str(out)}
    command = [blender_command(BLENDER)[0], str(script), json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(out) as played:
        return dict(played)
