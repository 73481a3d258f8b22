"""Print Blender's version; runs inside Blender (or a Python with bpy), is never imported."""

import bpy

print("v2m4-blender", bpy.app.version_string)
