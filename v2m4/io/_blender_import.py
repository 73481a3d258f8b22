"""Import an animated GLB into Blender; imported by the scripts that run inside Blender (or a Python with bpy)."""

import math
from pathlib import Path

import bpy
import numpy as np


def import_animation(glb: str, fps: float) -> "bpy.types.Scene":
    """A new scene with a GLB, frame 0 at time 0, its camera the scene's.

    Materials are simplified to what exporters read: a base colour, or a picture in its place.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    # The importer converts seconds to frames at the scene's rate, and multiplies by fps_base where it should divide:
    # so the rate is a whole number until the keys are there.
    scene.render.fps, scene.render.fps_base = math.ceil(fps), 1.0
    bpy.ops.import_scene.gltf(filepath=glb)
    if math.ceil(fps) != fps:
        scene.render.fps_base = math.ceil(fps) / fps
        scale_keys(fps / math.ceil(fps))
    shapes = bpy.data.collections.get("glTF_not_exported")  # meshes that the importer shows bones as
    for item in [] if shapes is None else list(shapes.objects):
        bpy.data.objects.remove(item)
    for item in scene.objects:
        if item.type == "MESH":
            item.data.shade_smooth()  # the exporters split the vertices of flat-shaded faces
        if item.type == "CAMERA":
            scene.camera = item
    for material in bpy.data.materials:
        if material.node_tree is not None:
            simplify_base_color(material.node_tree)
    for image in bpy.data.images:
        if image.packed_file is not None:  # FBX and USD name the pictures after these paths
            suffix = ".jpg" if image.file_format == "JPEG" else ".png"
            image.filepath_raw = f"//{Path(bpy.path.clean_name(image.name)).stem}{suffix}"
    return scene


def scale_keys(factor: float) -> None:
    """Multiply the frame numbers of all keys of all actions."""
    for action in bpy.data.actions:
        if hasattr(action, "layers"):  # since Blender 4.4
            bags = [bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags]
        else:
            bags = [action]
        for curve in (curve for bag in bags for curve in bag.fcurves):
            for key in curve.keyframe_points:
                for point in (key.co, key.handle_left, key.handle_right):
                    point[0] *= factor


def simplify_base_color(tree: "bpy.types.NodeTree") -> None:
    """Link a material's picture to its base colour directly, multiplied by the colours that it was multiplied by.

    The exporters read no other nodes. An unlit material becomes a matte one; vertex colours stay in the mesh.
    """
    shaders = [node for node in tree.nodes if node.bl_idname == "ShaderNodeBsdfPrincipled"]
    if shaders:
        color = shaders[0].inputs["Base Color"]
        source = color
    else:
        unlit = [node for node in tree.nodes if node.bl_idname in ("ShaderNodeEmission", "ShaderNodeBackground")]
        outputs = [node for node in tree.nodes if node.bl_idname == "ShaderNodeOutputMaterial"]
        if not unlit or not outputs:
            return
        shader = tree.nodes.new("ShaderNodeBsdfPrincipled")
        shader.inputs["Roughness"].default_value = 1.0
        tree.links.new(shader.outputs["BSDF"], outputs[0].inputs["Surface"])
        color, source = shader.inputs["Base Color"], unlit[0].inputs["Color"]
    if color is source and not color.is_linked:
        return
    picture, factor = factors_of(source)
    for link in list(color.links):
        tree.links.remove(link)
    color.default_value = (*factor, 1.0)
    if picture is not None:
        if not np.allclose(factor, 1):
            picture.image = multiplied(picture.image, factor)
        tree.links.new(picture.outputs["Color"], color)
        color.default_value = (1.0, 1.0, 1.0, 1.0)  # readers of FBX multiply by it


def factors_of(socket: "bpy.types.NodeSocket") -> "tuple[bpy.types.Node | None, np.ndarray]":
    """The picture's node in a product of colours, None without one, and the linear colour (3,) it is multiplied by."""
    if not socket.is_linked:
        return None, np.array(socket.default_value[:3])
    node = socket.links[0].from_node
    if node.bl_idname == "ShaderNodeTexImage":
        return node, np.ones(3)
    if node.bl_idname != "ShaderNodeMix" or node.blend_type != "MULTIPLY":
        return None, np.ones(3)
    colors = [each for each in node.inputs if each.enabled and each.type == "RGBA"]
    parts = [factors_of(each) for each in colors]
    return next((part for part, _ in parts if part is not None), None), np.prod([part for _, part in parts], axis=0)


def multiplied(image: "bpy.types.Image", factor: np.ndarray) -> "bpy.types.Image":
    """A copy of an sRGB picture, its linear colours multiplied by a factor (3,)."""
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    colors = pixels.reshape(-1, 4)
    srgb = colors[:, :3].astype(np.float64)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4) * factor
    linear = linear.clip(0, 1)
    colors[:, :3] = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    copy = bpy.data.images.new(f"{image.name}_multiplied", *image.size, alpha=image.depth % 32 == 0)
    copy.file_format = "PNG"
    copy.pixels.foreach_set(pixels)
    copy.pack()
    return copy
