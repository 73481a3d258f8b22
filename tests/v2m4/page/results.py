"""A small result of the program: a ball with a coloured half that moves to the right, and the frames that show it."""

import json
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import torch
import trimesh

from v2m4.camera import DEFAULT_FOV, Camera, Orbit
from v2m4.export import ANIMATION, CAMERAS, export_animation
from v2m4.io._gltf_bytes import split_file
from v2m4.io._gltf_container import glb_header
from v2m4.mesh import Mesh, MeshSequence
from v2m4.render import render_mesh
from v2m4.workspace import MANIFEST, Workspace

HEIGHT = 96


def ball(radius: float = 0.3) -> Mesh:
    """Red above, blue below."""
    sphere = trimesh.creation.icosphere(3, radius)
    vertices = torch.tensor(sphere.vertices, dtype=torch.float32)
    colors = torch.where(vertices[:, 1:2] < 0, torch.tensor([0.8, 0.2, 0.1]), torch.tensor([0.1, 0.3, 0.9]))
    return Mesh(vertices, torch.tensor(sphere.faces), colors=colors)


def make_result(
    folder: Path, frames: int = 4, aspect: float = 4 / 3, seconds: np.ndarray | None = None, **manifest: Any
) -> list[str]:
    """Write animation, cameras, frames and manifest; returns the names of the frames."""
    mesh = ball()
    offsets = torch.tensor([[-0.3 + 0.6 * index / max(frames - 1, 1), 0.0, 2.0] for index in range(frames)])
    sequence = MeshSequence(mesh.vertices + offsets[:, None], mesh, np.arange(frames, dtype=np.float64))
    names = [f"{index:03d}" for index in range(frames)]
    workspace = Workspace(folder)
    export_animation(
        workspace,
        sequence,
        names,
        range(frames),
        Orbit.of(yaw=0.4, pitch=0.2).camera().extrinsics[0],
        fov=DEFAULT_FOV,
        aspect=aspect,
        fps=10.0,
        seconds=seconds,
    )
    camera = Camera.identity(DEFAULT_FOV, aspect)
    for index, name in enumerate(names):
        view = render_mesh(sequence[index], camera, (HEIGHT, round(HEIGHT * aspect)), channels=("color", "mask"))
        rgba = torch.cat([view.color / view.mask.clamp_min(1e-3), view.mask], -1)[0]
        iio.imwrite(folder / f"{name}_rmbg.png", (rgba.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
    stored = json.loads((folder / MANIFEST).read_text("utf-8"))
    stored |= {"key_frames": names[:1], "input": {"frames": frames}, "warnings": []} | manifest
    (folder / MANIFEST).write_text(json.dumps(stored), "utf-8")
    return names


def move_away(folder: Path, origin: list[float]) -> None:
    """Move a result's world so far from its origin that float32 cannot hold it, as a user mesh may lie."""
    file = folder / ANIMATION
    document, binary = split_file(file.read_bytes(), file)
    for node in document["nodes"]:
        node["translation"] = [a + b for a, b in zip(node["translation"], origin, strict=True)]
    file.write_bytes(glb_header(document, len(binary or b"")) + (binary or b""))
    cameras = json.loads((folder / CAMERAS).read_text("utf-8"))
    for frame in cameras["frames"]:
        matrix = np.array(frame["extrinsics"])
        matrix[:3, 3] -= matrix[:3, :3] @ origin
        frame["extrinsics"] = matrix.tolist()
    (folder / CAMERAS).write_text(json.dumps({**cameras, "origin": origin}), "utf-8")
