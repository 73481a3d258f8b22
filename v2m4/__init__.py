"""The ground floor: meshes, cameras, rendering, files and workspaces. It holds no stage."""
