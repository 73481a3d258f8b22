"""Rigs: bones, skin weights and joint rotations that reproduce a mesh sequence, or fit a user's own skeleton."""
