"""Ranges of options, and options that exclude each other."""

from __future__ import annotations

from v2m4.config import LARGEST_FOV, LEAST_FOV, MOST_BONES, Config


def check(config: Config) -> None:
    """Check the options that no file or package decides.

    Raises:
        ValueError: one is invalid; one line with what to do.
    """
    if not isinstance(config.fov, str) and not LEAST_FOV <= config.fov <= LARGEST_FOV:
        limits = f"must lie between {LEAST_FOV} and {LARGEST_FOV} degrees, or be auto"
        raise ValueError(f"--fov {config.fov:g}: {limits}")
    if config.skip < 1:
        raise ValueError(f"--skip {config.skip}: must be at least 1")
    if config.max_faces < 200:
        raise ValueError(f"--max_faces {config.max_faces}: must be at least 200")
    if not 0 <= config.tolerance < 1:
        raise ValueError(f"--tolerance {config.tolerance:g}: must be at least 0, and below 1")
    if not 0 <= config.n < config.N:
        raise ValueError(f"--N {config.N} --n {config.n}: n must lie between 0 and N - 1")
    if not 1 <= config.bones <= MOST_BONES:
        raise ValueError(f"--bones {config.bones}: must be from 1 to {MOST_BONES}")
    if config.mesh is not None and config.baseline:
        raise ValueError("--baseline generates meshes; it cannot be combined with --mesh")
    if config.delight and (config.mesh is not None or config.baseline):
        option = "--baseline" if config.mesh is None else "--mesh"
        raise ValueError(f"--delight changes the texture that stage 4 solves for; with {option} there is none")
    _check_stages(config)


def _check_stages(config: Config) -> None:
    """Check the options that name stages.

    Raises:
        ValueError: they exclude each other.
    """
    named = {"--stage": config.stage, "--from_stage": config.from_stage, "--until_stage": config.until_stage}
    given = {name: number for name, number in named.items() if number is not None}
    if config.stage is not None and len(given) > 1:
        raise ValueError(f"--stage {config.stage} runs one stage; it cannot be combined with {list(given)[1]}")
    if (config.from_stage or 0) > (config.until_stage or 4):
        raise ValueError(f"--from_stage {config.from_stage} --until_stage {config.until_stage}: no stage is left")
    if config.overwrite and config.from_stage is not None:
        raise ValueError("--overwrite computes everything again, --from_stage from a stage on; give one of them")
    if config.baseline and given:
        raise ValueError(f"--baseline has no stage but the first; {next(iter(given))} cannot be combined with it")
