"""Who may import whom (DESIGN section 1), read from the imports themselves."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STAGES = {"generators", "camera_search", "registration", "texture", "motion324"}
COMMANDS = {"main", "rendering_video", "evaluation", "data_preparation_tools"}
ROOMS = {"v2m4", *STAGES, *COMMANDS}


def imported_rooms(source: str) -> set[str]:
    """Top-level names of our own rooms that a module imports, absolute imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names & ROOMS


def allowed(room: str) -> set[str]:
    if room == "v2m4":
        return {"v2m4"}
    if room in STAGES:
        return {"v2m4", room}
    return {"v2m4", room, *STAGES}


def modules() -> list[Path]:
    files = [ROOT / "main.py", ROOT / "rendering_video.py"]
    for room in sorted(ROOMS - {"main", "rendering_video"}):
        files += sorted((ROOT / room).rglob("*.py"))
    return [file for file in files if file.exists()]


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_module_imports_only_from_its_floor_and_below(file: Path) -> None:
    room = file.relative_to(ROOT).parts[0].removesuffix(".py")
    above = imported_rooms(file.read_text("utf-8")) - allowed(room)
    assert not above, f"{file.relative_to(ROOT)} imports {sorted(above)}"


def test_check_sees_a_breach() -> None:
    assert imported_rooms("def f():\n    from texture.solve import solve\n") - allowed("registration") == {"texture"}
    assert imported_rooms("import main") - allowed("v2m4") == {"main"}
    assert not imported_rooms("import v2m4.mesh\nfrom registration import run") - allowed("main")
