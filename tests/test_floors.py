"""Who may import whom (DESIGN section 1), read from the imports themselves."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STAGES = {"generators", "camera_search", "registration", "texture", "motion324"}
COMMANDS = {"main", "rendering_video", "view", "evaluation", "data_preparation_tools"}
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
    files = [ROOT / "main.py", ROOT / "rendering_video.py", ROOT / "view.py"]
    for room in sorted(ROOMS - {"main", "rendering_video", "view"}):
        files += sorted((ROOT / room).rglob("*.py"))
    return [file for file in files if file.exists()]


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_module_imports_only_from_its_floor_and_below(file: Path) -> None:
    room = file.relative_to(ROOT).parts[0].removesuffix(".py")
    above = imported_rooms(file.read_text("utf-8")) - allowed(room)
    assert not above, f"{file.relative_to(ROOT)} imports {sorted(above)}"


REGISTRATION = ("keyframes", "video", "deformation_graph", "correspondences", "elasticity")
SHARED = {"deformation_graph", "correspondences", "elasticity"}  # rooms of stage 3 that know nothing of the two others


def imported_modules(source: str) -> set[str]:
    """Full names of what a module imports: of modules, and of names in modules."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def forbidden_in_registration(room: str, source: str) -> set[str]:
    """What a room of stage 3 imports although it may not."""
    return {
        name
        for name in imported_modules(source)
        if name.startswith("registration.") and name.split(".")[1] not in SHARED | {room}
        if name.split(".")[1] in REGISTRATION
    }


def private_of_others(package: str, source: str) -> set[str]:
    """Private modules and names (``_x``) that a module of ``package`` imports from other packages of ours."""
    found: set[str] = set()
    for name in imported_modules(source):
        parts = name.split(".")
        if parts[0] not in ROOMS:
            continue
        for place, part in enumerate(parts):
            if not part.startswith("_") or part.startswith("__"):
                continue
            owner = parts[:place]
            if not (ROOT / Path(*owner)).is_dir():  # a name in a module: its package is one up
                owner = owner[:-1]
            if ".".join(owner) != package:
                found.add(name)
    return found


@pytest.mark.parametrize("room", REGISTRATION)
def test_rooms_of_registration_keep_apart(room: str) -> None:
    files = sorted((ROOT / "registration" / room).rglob("*.py"))
    assert files
    for file in files:
        wrong = forbidden_in_registration(room, file.read_text("utf-8"))
        assert not wrong, f"{file.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_private_is_imported_from_another_package(file: Path) -> None:
    package = ".".join(file.relative_to(ROOT).parent.parts)
    wrong = private_of_others(package, file.read_text("utf-8"))
    assert not wrong, f"{file.relative_to(ROOT)} imports {sorted(wrong)}"


def test_checks_of_rooms_see_a_breach() -> None:
    assert forbidden_in_registration("video", "from registration.keyframes.stage import run")
    assert forbidden_in_registration("elasticity", "import registration.video.tracker")
    assert not forbidden_in_registration("video", "from registration.elasticity.arap import Arap")
    assert private_of_others("texture", "from v2m4.render._raster import draw") == {"v2m4.render._raster.draw"}
    assert private_of_others("texture", "from v2m4.camera import _x") == {"v2m4.camera._x"}
    assert not private_of_others("v2m4.render", "from v2m4.render._raster import draw")


def test_check_sees_a_breach() -> None:
    assert imported_rooms("def f():\n    from texture.solve import solve\n") - allowed("registration") == {"texture"}
    assert imported_rooms("import main") - allowed("v2m4") == {"main"}
    assert not imported_rooms("import v2m4.mesh\nfrom registration import run") - allowed("main")
