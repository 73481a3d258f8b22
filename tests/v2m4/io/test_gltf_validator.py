"""Khronos' gltf-validator finds nothing to complain about in any kind of file that we write."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from v2m4.camera import Orbit
from v2m4.io.gltf import encode_texture, write_animation_glb, write_glb
from v2m4.mesh import Mesh, MeshSequence

FOLDER = Path(os.environ.get("V2M4_GLTF_VALIDATOR", "/opt/gltfval"))
SCRIPT = """
const validator = require('gltf-validator'), fs = require('fs');
Promise.all(process.argv.slice(1).map(path => validator.validateBytes(new Uint8Array(fs.readFileSync(path)))))
  .then(reports => console.log(JSON.stringify(reports.map(report => report.issues))));
"""

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (FOLDER / "node_modules" / "gltf-validator").is_dir(),
    reason=f"needs node and, in {FOLDER} (V2M4_GLTF_VALIDATOR), npm install gltf-validator",
)


def _ball() -> Mesh:
    rng = torch.Generator().manual_seed(0)
    ball = trimesh.creation.icosphere(3)
    vertices = torch.tensor(ball.vertices, dtype=torch.float32)
    # Two more: one that no face uses, and one that makes a face without an area.
    vertices = torch.cat([vertices, torch.full((1, 3), 0.2), vertices[1:2]])
    faces = torch.tensor(np.concatenate([ball.faces, [[0, 1, len(vertices) - 1]]]))
    uvs = torch.rand(200, 2, generator=rng)
    return Mesh(
        vertices,
        faces,
        uvs,
        torch.randint(0, 200, faces.shape, generator=rng),
        torch.rand(32, 16, 3, generator=rng),
        torch.rand(len(vertices), 3, generator=rng),
    )


def test_no_errors_warnings_or_remarks(tmp_path: Path) -> None:
    mesh = _ball()
    camera = Orbit.of(yaw=0.7, pitch=0.3).camera(aspect=1.5)
    plain = Mesh(mesh.vertices, mesh.faces)
    colored = Mesh(mesh.vertices, mesh.faces, colors=mesh.colors)
    rng = torch.Generator().manual_seed(1)
    poses = torch.stack(
        [mesh.vertices, *(mesh.vertices + torch.randn(len(mesh.vertices), 3, generator=rng) for _ in "ab")]
    )
    paths = []
    for quantize in (False, True):
        for name, kind in (("textured", mesh), ("colored", colored), ("plain", plain)):
            paths.append(tmp_path / f"{name}_{quantize}.glb")
            write_glb(paths[-1], kind, quantize=quantize, camera=camera)
            paths.append(tmp_path / f"{name}_{quantize}_animated.glb")
            moving = MeshSequence(poses, kind, np.array([0.0, 0.5, 0.7]))
            write_animation_glb(paths[-1], moving, camera, quantize=quantize)
    paths += [tmp_path / "one_pose.glb", tmp_path / "jpeg.glb", tmp_path / "unlit.glb"]
    write_animation_glb(paths[-3], MeshSequence(poses[:1], mesh, np.zeros(1)))
    write_glb(paths[-2], mesh, texture=encode_texture(mesh.texture, "jpeg"))
    write_glb(paths[-1], mesh, unlit=True, double_sided=False)
    done = subprocess.run(
        ["node", "-e", SCRIPT, *map(str, paths)], cwd=FOLDER, capture_output=True, text=True, check=True
    )
    for path, issues in zip(paths, json.loads(done.stdout), strict=True):
        assert issues["messages"] == [], path.name
