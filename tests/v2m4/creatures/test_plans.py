import numpy as np
import pytest
import trimesh

from v2m4.creatures.plans import PLANS, creature_of_parts, random_creature
from v2m4.creatures.surfaces import part_distances


@pytest.mark.parametrize("seed", range(6))
def test_every_vertex_lies_near_the_surface_of_its_part(seed: int) -> None:
    creature = creature_of_parts(np.random.default_rng(seed))
    assert creature.part_of_vertex.shape == (len(creature.vertices),)
    size = np.ptp(creature.vertices, axis=0).max()
    colors = np.stack([part.color for part in creature.parts])
    np.testing.assert_array_equal(creature.colors, colors[creature.part_of_vertex])
    if all(part.power == 2 and part.flat == 1 for part in creature.parts):
        own = part_distances(creature.parts, creature.vertices)[
            np.arange(len(creature.vertices)), creature.part_of_vertex
        ]
        assert np.abs(own).max() < 0.1 * size


def test_parts_do_not_change_the_surface() -> None:
    creature = creature_of_parts(np.random.default_rng(3))
    vertices, faces, colors, plan = random_creature(np.random.default_rng(3))
    np.testing.assert_array_equal(vertices, creature.vertices)
    np.testing.assert_array_equal(faces, creature.faces)
    np.testing.assert_array_equal(colors, creature.colors)
    assert plan == creature.plan


def test_creatures_are_closed_oriented_and_of_many_plans() -> None:
    rng = np.random.default_rng(0)
    plans = set()
    for _ in range(30):
        vertices, faces, colors, plan = random_creature(rng)
        mesh = trimesh.Trimesh(vertices, faces, process=False)
        assert mesh.is_watertight
        assert mesh.volume > 0
        assert colors.shape == vertices.shape
        assert colors.min() >= 0
        assert colors.max() <= 1
        plans.add(plan)
    assert plans <= set(PLANS)
    assert len(plans) >= 5


def test_same_seed_gives_the_same_creature() -> None:
    first, second = (random_creature(np.random.default_rng(5)) for _ in range(2))
    for one, other in zip(first[:3], second[:3], strict=True):
        assert np.array_equal(one, other)
