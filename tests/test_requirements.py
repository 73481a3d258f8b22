"""Each bound and each commit stands in one file, and whatever else names it agrees."""

import re
from pathlib import Path

import pytest

from motion324.dino import TRANSFORMERS
from v2m4 import device, doctor, dreamsim, lpips
from v2m4.preflight import engine, foreground, generators, registration

ROOT = Path(__file__).resolve().parent.parent
FILES = [ROOT / "requirements.txt", *sorted((ROOT / "requirements").glob("*.txt"))]
LINE = re.compile(r"^([\w-]+)(?:\[\w+\])? *(@ .*|[<>=][^;]*)?(?:; python_version < .*)?$")


def requirements(file: Path) -> dict[str, str]:
    """Name and bound (or address) of each line."""
    lines = [line for line in file.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    matches = {line: LINE.match(line) for line in lines}
    assert all(matches.values()), [line for line, match in matches.items() if match is None]
    return {match.group(1): match.group(2) or "" for match in matches.values() if match is not None}


def bounds() -> dict[str, str]:
    return {name: bound for file in FILES for name, bound in requirements(file).items() if bound}


def test_each_bound_stands_in_one_file() -> None:
    named = [name for file in FILES for name, bound in requirements(file).items() if bound]
    assert len(named) == len(set(named))


def test_the_extras_are_the_files() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read pyproject.toml")
    dynamic = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["dynamic"]
    extras = {name: part["file"] for name, part in dynamic["optional-dependencies"].items()}
    used = {name for files in extras.values() for name in files}
    assert used == {file.relative_to(ROOT).as_posix() for file in FILES[1:]}
    lines = (ROOT / "requirements-gpu.txt").read_text("utf-8").splitlines()
    assert extras["gpu"] == [line.removeprefix("-r ") for line in lines if line.startswith("-r ")]
    assert dynamic["dependencies"]["file"] == ["requirements.txt"]


def test_the_doctor_wants_the_pythons_of_the_package() -> None:
    lower, upper = (".".join(map(str, bound)) for bound in doctor.PYTHON)
    assert f'requires-python = ">={lower},<{upper}"' in (ROOT / "pyproject.toml").read_text("utf-8")


def commands() -> list[str]:
    """What the program says when something is missing."""
    packages = [
        *(*foreground.REMBG_PACKAGES, *foreground.SAM2_PACKAGES, *dreamsim.PACKAGES, *lpips.PACKAGES),
        *(*registration.COTRACKER.packages, TRANSFORMERS, engine.RAY, engine.SUBMITIT),
        *(package for make in generators.PAINTERS.values() for needs in make() for package in needs.packages),
    ]
    return [foreground.SALIENT_COMMAND, device.NVDIFFRAST, doctor.PYTORCH3D, *(package.install for package in packages)]


def test_refusals_name_the_same_commits() -> None:
    wanted = dict(re.findall(r"github\.com/([\w-]+/[\w-]+)@([0-9a-f]{7})", " ".join(bounds().values())))
    told = dict(re.findall(r"github\.com/([\w-]+/[\w-]+)@([0-9a-f]{7})", " ".join(commands())))
    assert {name: told[name] for name in wanted} == wanted


def test_refusals_name_the_same_versions() -> None:
    source = Path(generators.__file__).read_text("utf-8")
    hunyuan = " ".join(re.findall(r'hy3dgen==\S+ "diffusers[^"]*"', source))
    text = " ".join([*commands(), hunyuan])
    told = re.findall(r"\b([a-z][\w-]*)((?:==|>=|<)[\d.]+)", text)
    assert {"dreamsim", "lpips", "transformers", "diffusers", "hy3dgen", "ray", "submitit"} <= {
        name for name, _ in told
    }
    for name, bound in told:
        assert bound in bounds()[name].split(","), (name, bound, bounds()[name])


def test_pythons_bounds_agree_with_the_doctors() -> None:
    (text,) = re.findall(r'^requires-python = "(.*)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    low, high = (".".join(map(str, version)) for version in doctor.PYTHON)
    assert text == f">={low},<{high}"
