"""V2M4's way: a mesh for every key frame, registered to one topology."""
