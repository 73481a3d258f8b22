from itertools import pairwise

import numpy as np
import pytest
import torch

from registration.arap import Arap, shape_graph
from registration.energy import Chamfer, NormalMaps, Rigidity, State
from registration.fine import cosine, descend
from registration.large_steps import LargeSteps
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
        Chamfer(10.0, faces, goal, 1.0, count=1500),
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
        name, weight = "lift", 2.0

        def __call__(self, state: State) -> torch.Tensor:
            return (state.vertices.mean(0) - torch.tensor([0.0, 0.5, 0.0])).square().sum()

    found = descend(vertices, [Lift()], LargeSteps(faces, len(vertices), 5.0), 80, 0.05, torch.Generator())
    assert torch.allclose(found.vertices.mean(0), torch.tensor([0.0, 0.5, 0.0]), atol=0.02)
    assert torch.allclose(found.vertices - found.vertices.mean(0), vertices, atol=0.02)  # and nothing else
    assert found.curves["lift"][-1] < found.curves["lift"][0]


def test_same_seed_same_bytes(sphere) -> None:
    vertices, faces = sphere
    goal = Mesh(vertices * 1.2, faces)

    def once() -> np.ndarray:
        terms = [Chamfer(1.0, faces, goal, 1.0, count=500), NormalMaps(0.1, faces, goal, views=2, size=32)]
        steps = LargeSteps(faces, len(vertices), 5.0)
        return descend(vertices, terms, steps, 8, 0.02, torch.Generator().manual_seed(5)).vertices.numpy()

    assert once().tobytes() == once().tobytes()


def test_rate_falls_from_one_to_its_last() -> None:
    rates = [cosine(step, 10, last=0.1) for step in range(11)]
    assert rates[0] == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert all(a > b for a, b in pairwise(rates))
