"""What a frame shows of a mesh: constraints from appearance, outline, shading and point tracks."""
