"""Video-driven deformation: one mesh, moved frame by frame as the video shows."""
