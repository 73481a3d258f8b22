"""Key-frame registration as in V2M4: one mesh is registered to the generated mesh of every key frame."""
