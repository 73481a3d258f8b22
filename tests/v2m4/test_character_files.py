from pathlib import Path

import pytest

from v2m4.character_files import EXCLUDED, HELD_OUT, find_sources, held_out

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "characters"


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
