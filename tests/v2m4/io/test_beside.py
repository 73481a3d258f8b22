from pathlib import Path

import pytest

from v2m4.io.beside import find_beside


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "model"
    (inside / "Textures" / "deep").mkdir(parents=True)
    for name in ("skin.PNG", "Textures/Body Paint.png", "Textures/deep/skin.png", "100%.png"):
        (inside / name).write_bytes(b"x")
    (tmp_path / "secret.png").write_bytes(b"x")
    return inside


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("skin.PNG", "skin.PNG"),
        ("SKIN.png", "skin.PNG"),
        ("C:\\Users\\me\\Skin.png", "skin.PNG"),
        ("/home/other/body paint.PNG", "Textures/Body Paint.png"),
        ("Textures/Body%20Paint.png", "Textures/Body Paint.png"),
        ("textures\\body paint.png", "Textures/Body Paint.png"),
        ("Textures/deep/skin.png", "Textures/deep/skin.png"),
        ('"skin.PNG" ', "skin.PNG"),
        ("100%.png", "100%.png"),
        ("absent.png", None),
        ("../secret.png", None),
        ("", None),
        ("..", None),
        ("a\0b", None),
        ("n" * 5000, None),
    ],
)
def test_found_by_path_then_by_name(folder: Path, reference: str, found: str | None):
    assert find_beside(folder, reference) == (None if found is None else folder / found)


def test_links_that_leave_the_folder_are_not_followed(folder: Path):
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "loop").symlink_to(folder)
    assert find_beside(folder, "link.png") is None
    assert find_beside(folder, "secret.png") is None


def test_relative_paths_begin_at_the_start(folder: Path):
    assert find_beside(folder, "skin.png", folder / "Textures" / "deep") == folder / "Textures" / "deep" / "skin.png"
    assert find_beside(folder, "../Body Paint.png", folder / "Textures" / "deep") == (
        folder / "Textures" / "deep" / "../Body Paint.png"
    )


def test_accents_are_the_same_however_they_are_stored(folder: Path):
    composed, decomposed = "K\u00f6rper.png", "Ko\u0308rper.png"
    (folder / decomposed).write_bytes(b"x")
    found = find_beside(folder, composed)
    assert found is not None and found.read_bytes() == b"x"
    assert find_beside(folder, "KO\u0308RPER.PNG") == found
