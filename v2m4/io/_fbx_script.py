"""Convert an FBX to an animated GLB; runs inside Blender (or a Python with bpy), is never imported.

Arguments after ``--``: one JSON object with ``fbx`` and ``glb`` (paths).
"""

import json
import math
import sys

import bpy


def convert(fbx: str, glb: str) -> None:
    """Import the FBX and write its whole scene as one clip with a key at every frame."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    bpy.ops.import_scene.fbx(filepath=fbx)  # sets the scene's frame rate
    # The importer places keys at seconds times fps whatever fps_base is, and the exporter multiplies by fps_base where
    # it should divide. With 1 the times are right.
    scene.render.fps_base = 1.0
    ranges = [action.frame_range for action in bpy.data.actions]
    if ranges:
        scene.frame_start = round(min(start for start, _ in ranges))
        scene.frame_end = math.ceil(max(end for _, end in ranges) - 1e-3)
    bpy.ops.export_scene.gltf(
        filepath=glb,
        export_format="GLB",
        export_animations=True,
        export_animation_mode="SCENE",
        export_anim_scene_split_object=False,
        export_force_sampling=True,
        export_optimize_animation_size=False,
        export_morph_normal=False,
        export_cameras=False,
        export_lights=False,
    )


if __name__ == "__main__":
    convert(**json.loads(sys.argv[sys.argv.index("--") + 1]))
