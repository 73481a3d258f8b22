"""Render an animated GLB; runs inside Blender (or a Python with bpy), is never imported.

Argument after ``--``: a JSON file with the arguments of ``render``; a command line may be too short for them.
"""

import json
import math
import sys
from pathlib import Path

import bpy
from mathutils import Matrix, Vector

sys.path.insert(0, str(Path(__file__).parent))  # Blender does not, a Python with bpy does
from _blender_import import import_animation

DEPTH = 2.0  # of the object's middle in the first frame, after scaling: clip planes and shaders expect this magnitude
FROM_GLTF = Matrix(((1, 0, 0, 0), (0, 0, -1, 0), (0, 1, 0, 0), (0, 0, 0, 1)))  # y up to Blender's z up


def render(
    glb: str,
    fps: float,
    seconds: list[float],
    poses: list[list[list[float]]],
    origin: list[float],
    fov: float,
    size: list[int],
    engine: str,
    samples: int,
    outputs: list[str],
) -> None:
    """Write an RGBA picture of the animation at each time.

    Args:
        glb: the animation.
        fps: frames per second.
        seconds: (T,) times of the pictures.
        poses: (T, 4, 4) of the camera in the GLB's world relative to ``origin`` (x right, y up, z backwards).
        origin: (3,) in the GLB's world.
        fov: vertical field of view, radians.
        size: width and height, pixels.
        engine: workbench (the colours alone, without light) or cycles (in even white light).
        samples: per pixel, of cycles.
        outputs: (T,) paths of the pictures, ending in .png.
    """
    scene = import_animation(glb, fps)
    meshes = [item for item in scene.objects if item.type == "MESH"]
    cameras = [FROM_GLTF @ Matrix(pose) for pose in poses]
    set_frame(scene, seconds[0] * fps)
    middle = FROM_GLTF @ Vector(origin)
    corners = [item.matrix_world @ Vector(corner) - middle for item in meshes for corner in item.bound_box]
    centre = Vector([(min(values) + max(values)) / 2 for values in zip(*corners, strict=True)])
    depth = -(cameras[0].inverted() @ centre).z
    scale = DEPTH / depth if depth > 0 else 1.0
    normalizing = Matrix.Scale(scale, 4) @ Matrix.Translation(-middle)
    for item in scene.objects:
        if item.parent is None:
            item.matrix_world = normalizing @ item.matrix_world
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    camera.data.sensor_fit, camera.data.angle_y = "VERTICAL", fov
    camera.data.clip_start, camera.data.clip_end = DEPTH * 1e-2, DEPTH * 1e2
    scene.camera = camera
    set_picture(scene, size)
    ENGINES[engine](scene, samples)
    for second, pose, output in zip(seconds, cameras, outputs, strict=True):
        camera.matrix_world = Matrix.Translation(pose.translation * scale) @ pose.to_3x3().to_4x4()
        set_frame(scene, second * fps)
        scene.render.filepath = output
        bpy.ops.render.render(write_still=True)


def set_frame(scene: "bpy.types.Scene", frame: float) -> None:
    """Show a frame, which may lie between two."""
    whole = math.floor(frame + 1e-6)
    scene.frame_set(whole, subframe=max(frame - whole, 0.0))


def set_picture(scene: "bpy.types.Scene", size: list[int]) -> None:
    """RGBA pictures with a transparent background, colours as the textures have them."""
    scene.render.resolution_x, scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    scene.render.film_transparent = True
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.image_settings.color_depth = "8"
    scene.view_settings.view_transform = "Standard"
    scene.render.dither_intensity = 0.0


def use_workbench(scene: "bpy.types.Scene", _samples: int) -> None:
    """Colours alone: of the textures; where there is none, of the vertices, or of the materials."""
    scene.render.engine = "BLENDER_WORKBENCH"
    shading = scene.display.shading
    shading.light = "FLAT"
    textured = False
    for material in bpy.data.materials:
        if material.node_tree is None:
            continue
        for node in material.node_tree.nodes:
            if node.bl_idname != "ShaderNodeBsdfPrincipled":
                continue
            color = node.inputs["Base Color"]
            material.diffuse_color = color.default_value
            if color.is_linked and color.links[0].from_node.bl_idname == "ShaderNodeTexImage":
                material.node_tree.nodes.active = color.links[0].from_node  # the picture that Workbench shows
                textured = True
    painted = any(item.data.color_attributes for item in scene.objects if item.type == "MESH")
    shading.color_type = "VERTEX" if painted and not textured else "TEXTURE"


def use_cycles(scene: "bpy.types.Scene", samples: int) -> None:
    """Path tracing on the CPU, in white light from everywhere."""
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = samples
    scene.cycles.use_adaptive_sampling = False
    world = bpy.data.worlds.new("white")
    scene.world = world
    world.use_nodes = True
    background = next(node for node in world.node_tree.nodes if node.bl_idname == "ShaderNodeBackground")
    background.inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)
    for material in bpy.data.materials:
        if material.node_tree is not None:
            paint_with_vertex_colors(material.node_tree)


def paint_with_vertex_colors(tree: "bpy.types.NodeTree") -> None:
    """Link the vertices' colours, where there are any, to a base colour without a picture."""
    painted = [node for node in tree.nodes if node.bl_idname == "ShaderNodeVertexColor"]
    for node in tree.nodes:
        if node.bl_idname == "ShaderNodeBsdfPrincipled" and painted and not node.inputs["Base Color"].is_linked:
            tree.links.new(painted[0].outputs["Color"], node.inputs["Base Color"])


ENGINES = {"workbench": use_workbench, "cycles": use_cycles}

if __name__ == "__main__":
    render(**json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text("utf-8")))
