import numpy as np
import pytest
import torch
import trimesh

from v2m4.camera import DEFAULT_FOV
from v2m4.frame import Frame
from v2m4.mesh import Mesh
from v2m4.render import render_mesh


def make_creature() -> Mesh:
    """A body, a head in front, an arm to one side: no symmetry; coloured by place."""
    body = trimesh.creation.icosphere(2, 0.25)
    body.apply_scale([0.8, 1.4, 0.7])
    head = trimesh.creation.icosphere(2, 0.16)
    head.apply_translation([0.02, 0.28, 0.22])
    arm = trimesh.creation.box((0.4, 0.08, 0.08))
    arm = arm.subdivide().subdivide()
    arm.apply_translation([0.3, 0.1, 0.0])
    whole = trimesh.util.concatenate([body, head, arm])
    vertices = torch.tensor(np.array(whole.vertices), dtype=torch.float32)
    colors = 0.5 + 0.45 * torch.sin(vertices @ torch.tensor([[9.0, 2, 1], [1, 11, 3], [2, 1, 8]]))
    mesh = Mesh(vertices, torch.tensor(np.array(whole.faces), dtype=torch.int64), colors=colors)
    return mesh.transformed(mesh.normalizing())


def photograph(mesh, orbit, size=160, name="f", index=0, fov=DEFAULT_FOV) -> Frame:
    with torch.no_grad():
        seen = render_mesh(mesh, orbit.camera(fov), size, channels=("color", "mask"))
    rgba = torch.cat([seen.color / seen.mask.clamp_min(1e-3), seen.mask], -1)[0].clamp(0, 1)
    return Frame(name, index, (rgba * 255).round().to(torch.uint8).numpy(), fov)


@pytest.fixture(scope="session")
def creature() -> Mesh:
    return make_creature()


@pytest.fixture(scope="session")
def camera_of():
    return photograph
