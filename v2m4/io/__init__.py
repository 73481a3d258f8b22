"""What comes in and what goes out: videos and pictures, meshes and animations."""
