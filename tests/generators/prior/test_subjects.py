from pathlib import Path

import numpy as np
import pytest
import trimesh

from generators.prior.creatures import PLANS, random_creature
from generators.prior.subjects import EXCLUDED, HELD_OUT, find_sources, held_out

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "characters"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/characters")
def test_split_is_by_family_and_disjoint() -> None:
    sources = find_sources(DATA)
    names = [source.name for source in sources]
    assert len(set(names)) == len(names)
    assert not {Path(name).name for name in names} & set(EXCLUDED)
    packs = {name.split("__")[0] for name in names if held_out(name) and "__" in name}
    assert packs
    assert not packs & {name.split("__")[0] for name in names if not held_out(name)}
    for entry in HELD_OUT:
        assert any(held_out(name) and name.startswith(entry.rstrip("*")) for name in names), entry


def test_held_out_names_match_whole_names_or_prefixes() -> None:
    assert held_out("quaternius_showcase/mech__George")
    assert held_out("quaternius_free2019/Cat")
    assert not held_out("quaternius_free2019/Catfish")
    assert not held_out("kenney_cube_pets/cat")


def test_folder_without_models_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="files"):
        find_sources(tmp_path)


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
