"""Video-driven deformation: the poses of one mesh in the frames of a video, by a deformation graph."""
