"""A real animal from one pose to another, between meshes of different topology."""

from pathlib import Path

import fast_simplification
import numpy as np
import pytest
import torch
import trimesh

from registration.elasticity.arap import Arap, shape_graph
from registration.elasticity.large_steps import LargeSteps
from registration.keyframes.descent import descend
from registration.keyframes.energy import Chamfer, EdgeLength, NormalMaps, Rigidity
from registration.keyframes.rigid_fit import fit_rigid
from v2m4.geometry import nearest, sample_surface
from v2m4.io.gltf_animation import read_animation
from v2m4.mesh import Mesh

FOX = Path(__file__).resolve().parents[3] / "shared" / "data" / "animated" / "Fox.glb"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOX.exists(), reason=f"{FOX} is not there"),
]


def fox(time: float, faces: int, size: float | None = None) -> tuple[Mesh, float]:
    """The walking fox at a moment, remeshed to about so many faces; scaled to 1 by the given size or its own."""
    mesh = read_animation(FOX, "Walk", [time], weld=True)[0]
    shape = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy())
    dense = shape.subdivide().subdivide()
    points, triangles = fast_simplification.simplify(dense.vertices, dense.faces, target_count=faces)
    size = size or float(np.ptp(points, axis=0).max())
    return Mesh(torch.tensor(points / size, dtype=torch.float32), torch.tensor(triangles).long()), size


def two_way(first: Mesh, second: Mesh) -> float:
    """Mean distance one way plus mean distance the other way, by dense points."""
    total = 0.0
    for here, there in ((first, second), (second, first)):
        queries = sample_surface(here.vertices, here.faces, 5000, torch.Generator().manual_seed(0))[0]
        dense = sample_surface(there.vertices, there.faces, 200_000, torch.Generator().manual_seed(1))[0]
        total += float(nearest(queries, dense)[0].mean())
    return total


def test_one_pose_becomes_another() -> None:
    source, size = fox(0.0, 5000)
    target, _ = fox(0.35, 4200, size)
    assert len(source.vertices) != len(target.vertices)
    before = two_way(source, target)
    generator = torch.Generator().manual_seed(0)
    faces = source.faces
    shape = [
        Chamfer(10.0, faces, target, 1.0, torch.Generator().manual_seed(0), count=4000, kept_share=1.0),
        NormalMaps(0.02, faces, target, 2, 96),
    ]
    moved_to_mask = fit_rigid(source.vertices, shape, 40, generator)(source.vertices)
    terms = [
        *shape,
        Rigidity(0.02, Arap(shape_graph(source.vertices, faces, 0.2))),
        EdgeLength(1.0, source.vertices, faces, 1.0),
    ]
    steps = LargeSteps(faces, len(source.vertices), 15.0)
    found = source.with_vertices(descend(moved_to_mask, terms, steps, 250, 0.02, generator).vertices)
    after = two_way(found, target)
    assert before > 0.02
    assert after < 0.01
