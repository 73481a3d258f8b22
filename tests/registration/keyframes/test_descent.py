from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from registration.elasticity.arap import Arap, shape_graph
from registration.elasticity.large_steps import LargeSteps
from registration.keyframes.descent import cosine, descend
from registration.keyframes.energy import Chamfer, EdgeLength, FaceArea, NormalMaps, Rigidity, State
from registration.keyframes.energy_image import Colour, FlowTracks, Silhouette, VideoView
from tests.registration.shapes import painted, photographed
from v2m4.camera import image_fractions
from v2m4.geometry import nearest, sample_surface
from v2m4.mesh import Mesh


def two_way(first: Mesh, second: Mesh) -> float:
    """Mean distance one way plus mean distance the other way."""
    here, there = (
        sample_surface(mesh.vertices, mesh.faces, 20000, torch.Generator().manual_seed(seed))[0]
        for seed, mesh in enumerate((first, second))
    )
    return float(nearest(here, there)[0].mean() + nearest(there, here)[0].mean())


def test_sphere_becomes_an_ellipsoid(sphere) -> None:
    vertices, faces = sphere
    goal = Mesh(vertices * torch.tensor([1.3, 0.7, 1.0]), faces)
    terms = [
        Chamfer(10.0, faces, goal, 1.0, torch.Generator().manual_seed(0), count=1500),
        NormalMaps(0.05, faces, goal, views=2, size=64),
        Rigidity(0.02, Arap(shape_graph(vertices, faces))),
    ]
    steps = LargeSteps(faces, len(vertices), 5.0)
    before = two_way(Mesh(vertices, faces), goal)
    found = descend(vertices, terms, steps, 120, 0.02, torch.Generator().manual_seed(0))
    after = two_way(Mesh(found.vertices, faces), goal)
    floor = two_way(goal, goal)  # two draws of points of one surface
    assert after - floor < 0.05 * before
    assert set(found.curves) == {"chamfer", "normals", "arap"}
    assert all(len(values) == 120 for values in found.curves.values())


def test_a_new_term_needs_no_change_of_the_loop(sphere) -> None:
    vertices, faces = sphere

    class Lift:
        name, weight = "lift_pixels", 2.0

        def __call__(self, state: State) -> torch.Tensor:
            return (state.vertices.mean(0) - torch.tensor([0.0, 0.5, 0.0])).square().sum()

    found = descend(vertices, [Lift()], LargeSteps(faces, len(vertices), 5.0), 80, 0.05, torch.Generator())
    assert torch.allclose(found.vertices.mean(0), torch.tensor([0.0, 0.5, 0.0]), atol=0.02)
    assert torch.allclose(found.vertices - found.vertices.mean(0), vertices, atol=0.02)  # and nothing else
    assert found.curves["lift_pixels"][-1] < found.curves["lift_pixels"][0]


def test_same_seed_same_bytes(sphere) -> None:
    vertices, faces = sphere
    goal = Mesh(vertices * 1.2, faces)

    def once() -> np.ndarray:
        terms = [
            Chamfer(1.0, faces, goal, 1.0, torch.Generator().manual_seed(0), count=500),
            NormalMaps(0.1, faces, goal, views=2, size=32),
        ]
        steps = LargeSteps(faces, len(vertices), 5.0)
        return descend(vertices, terms, steps, 8, 0.02, torch.Generator().manual_seed(5)).vertices.numpy()

    assert once().tobytes() == once().tobytes()


def test_rate_falls_from_one_to_its_last() -> None:
    rates = [cosine(step, 10, last=0.1) for step in range(11)]
    assert rates[0] == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert all(a > b for a, b in pairwise(rates))


class Reads(TorchDispatchMode):
    """Counts what makes a GPU wait: a number read back, a mask turned into indices."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        masks = name in ("aten.index.Tensor", "aten.index_put.default") and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in (args[1] or [])
        )
        self.count += masks or name.startswith(("aten._local_scalar_dense", "aten.nonzero", "aten.is_nonzero"))
        return function(*args, **(kwargs or {}))


def test_no_step_reads_back_from_the_device(capsule, monkeypatch) -> None:
    vertices, faces = capsule
    mesh = painted(vertices + torch.tensor([0.0, 0.0, 3.0]), faces)
    view = VideoView.of(photographed(mesh, 0), (0.2, 0.2, 0.8, 0.8), 48, mesh)
    monkeypatch.setattr(Arap, "evaluate", Arap.reference)  # as on a GPU
    index = torch.arange(0, len(vertices), 7)
    targets = image_fractions(view.camera.cropped((0, 0, 1, 1)), mesh.vertices[index]) + 0.02
    camera = view.camera.cropped((0.0, 0.0, 1.0, 1.0))
    terms = [
        Chamfer(1.0, faces, mesh, 1.0, torch.Generator().manual_seed(0), count=200, redraw_every=100),  # draws once
        Rigidity(1.0, Arap(shape_graph(mesh.vertices, faces))),
        EdgeLength(1.0, mesh.vertices, faces, 1.0),
        FaceArea(1.0, mesh.vertices, faces, 1.0),
        FlowTracks(1.0, camera, index, targets, torch.ones(len(index)), 0.5),
        Silhouette(1.0, view),
        Colour(1.0, view),
    ]
    steps, counts = LargeSteps(faces, len(vertices), 5.0), []
    for count in (1, 6):
        with Reads() as reads:
            found = descend(mesh.vertices, terms, steps, count, 1e-3, torch.Generator().manual_seed(0))
        counts.append(reads.count)
    assert len(found.curves) == len(terms) and len(found.curves["arap"]) == 6
    assert counts[0] > 0 and counts[1] == 0  # the draw in the first step does
