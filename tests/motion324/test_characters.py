import numpy as np
import pytest

from motion324.characters import INFLUENCES, mirrored_parts, part_parents, random_character
from v2m4.creatures.plans import PLANS, creature_of_parts

TIMES = np.arange(8) / 12


@pytest.mark.parametrize("seed", range(8))
def test_characters_move_smoothly_and_keep_their_topology(seed: int) -> None:
    character = random_character(np.random.default_rng(seed))
    poses = character.poses(TIMES)
    assert poses.shape == (8, len(character.colors), 3)
    assert poses.dtype == np.float32
    assert np.isfinite(poses).all()
    assert character.faces.max() < poses.shape[1]
    assert character.colors.min() >= 0
    assert character.colors.max() <= 1
    size = np.ptp(poses[0], axis=0).max()
    coarse = np.abs(np.diff(character.poses(TIMES[:3]), axis=0)).max() / size
    fine = np.abs(np.diff(character.poses(np.linspace(0, TIMES[2], 21)), axis=0)).max() / size
    assert fine < 0.4 * coarse + 1e-6  # a tenth of the time between frames: no jumps


def test_binding_weights_sum_to_one_and_the_rest_pose_is_the_creature() -> None:
    character = random_character(np.random.default_rng(1))
    np.testing.assert_allclose(character.binding.weights.sum(1), 1)
    assert character.binding.nodes.shape[1] <= INFLUENCES
    linear, origin = character.skeleton.world(character.skeleton.rest(1))
    rest = character.binding.skinned(linear, origin)[0]
    starts = origin[0][character.binding.nodes[:, 0]]
    np.testing.assert_allclose(rest, starts + character.binding.local[:, 0], atol=1e-9)


def test_same_seed_gives_the_same_motion() -> None:
    first, second = (random_character(np.random.default_rng(4)).poses(TIMES) for _ in range(2))
    assert np.array_equal(first, second)


def test_most_characters_move_and_their_plans_vary() -> None:
    plans, motions = set(), []
    for seed in range(30):
        character = random_character(np.random.default_rng(seed))
        poses = character.poses(TIMES)
        plans.add(character.plan)
        motions.append(np.linalg.norm(poses - poses[:1], axis=-1).mean() / np.ptp(poses[0], axis=0).max())
    assert len(plans) >= 6
    assert plans <= {*PLANS, "tree"}
    assert 0.03 < np.median(motions) < 0.4


@pytest.mark.parametrize("plan", ["biped", "quadruped", "bird", "tree", "insect"])
def test_parents_come_first_and_limbs_hang_where_they_start(plan: str) -> None:
    creature = creature_of_parts(np.random.default_rng(2), plan)
    parents = part_parents(creature)
    assert parents[0] == -1
    assert (parents[1:] >= 0).all()
    assert (parents < np.arange(len(parents))).all()
    for part in range(1, len(parents)):
        before = creature.parts[part - 1]
        if np.allclose(before.end, creature.parts[part].start) and before.radii[1] > 0.05:
            above = creature.parts[parents[part]]
            reached = np.linalg.norm(above.end - creature.parts[part].start) < above.radii[1] + 1e-9
            assert reached or parents[part] < part - 1  # the chain's part before, or one that holds it deeper


def test_arms_and_legs_of_a_biped_are_mirrored() -> None:
    creature = creature_of_parts(np.random.default_rng(0), "biped")
    mirror = mirrored_parts(creature, part_parents(creature))
    pairs = np.flatnonzero(mirror >= 0)
    assert len(pairs) >= 4
    for part in pairs:
        assert mirror[part] < part
        np.testing.assert_allclose(creature.parts[part].radii, creature.parts[mirror[part]].radii, rtol=0.5)  # hands
