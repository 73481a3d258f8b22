"""Ranges of options, and options that exclude each other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from v2m4.cluster_config import ClusterConfig
from v2m4.config import LARGEST_FOV, LEAST_FOV, MOST_BONES, Config

ANY = math.inf
# Least and largest value of each number by the option's name; sizes in pixels, texels, cells or faces.
LIMITS: dict[str, tuple[float, float]] = {
    "N": (1, ANY),
    "skip": (1, ANY),
    "threads": (0, ANY),
    "seed": (0, 2**63 - 1),
    "tracking_camera_radius": (0.1, ANY),
    "bones": (1, MOST_BONES),
    "max_faces": (200, ANY),
    "frames.fps": (0.01, 10_000),
    "frames.max_side": (0, 16_384),
    "generation.grid": (16, 2048),
    "generation.texture_size": (16, 16_384),
    "generation.steps": (0, ANY),
    "generation.resolution": (0, 4096),
    "generation.batch": (1, ANY),
    "search.accepted": (0, 1),
    "search.samples": (1, ANY),
    "search.islands": (0, ANY),
    "search.particles": (1, ANY),
    "search.swarm_steps": (0, ANY),
    "search.guessed_from": (0, ANY),
    "search.refined": (1, ANY),
    "search.refine_steps": (0, ANY),
    "search.size": (16, 4096),
    "search.proxy_faces": (50, ANY),
    "search.refine_faces": (50, ANY),
    "registration.coarse_steps": (0, ANY),
    "registration.half_turn_steps": (0, ANY),
    "registration.fine_steps": (0, ANY),
    "registration.fine_rate": (1e-9, ANY),
    "registration.smoothness": (0, ANY),
    "registration.views": (1, ANY),
    "registration.coarse_views": (1, ANY),
    "registration.size": (8, 4096),
    "registration.video_size": (8, 4096),
    "registration.points": (16, ANY),
    "registration.chamfer_kept": (0.01, 1),
    "registration.joint_steps": (0, ANY),
    "registration.joint_frames": (1, ANY),
    "registration.thickness": (0, ANY),
    "registration.trusted_residual": (0, ANY),
    "registration.trusted_stretch": (0, ANY),
    "registration.settle_rounds": (0, ANY),
    "registration.tracked_views": (1, ANY),
    "registration.tracked_size": (16, 4096),
    "registration.tracked_points": (1, ANY),
    "drive.nodes": (4, ANY),
    "drive.size": (16, 4096),
    "drive.points": (1, ANY),
    "drive.rounds": (1, ANY),
    "drive.passes": (0, ANY),
    "drive.window": (2, ANY),
    "drive.rigidity": (0, ANY),
    "drive.smoothness": (0, ANY),
    "texture.size": (16, 16_384),
    "texture.views": (0, ANY),
    "texture.view_size": (16, 4096),
    "texture.asset_weight": (0, ANY),
    "texture.smoothness": (0, ANY),
    "texture.alignments": (0, ANY),
    "texture.steps": (1, ANY),
    "texture.total_variation": (0, ANY),
}
WEIGHTS = "registration.weights."  # any of them is at least 0
# Checked below, by preflight.engine, or by their type.
ELSEWHERE = ("n", "fov", "tolerance", "jobs", "stage", "from_stage", "until_stage")


def check(config: Config) -> None:
    """Check the options that no file or package decides.

    Raises:
        ValueError: one is invalid; one line with what to do.
    """
    if not isinstance(config.fov, str) and not LEAST_FOV <= config.fov <= LARGEST_FOV:
        limits = f"must lie between {LEAST_FOV} and {LARGEST_FOV} degrees, or be auto"
        raise ValueError(f"--fov {config.fov:g}: {limits}")
    if not 0 <= config.tolerance < 1:
        raise ValueError(f"--tolerance {config.tolerance:g}: must be at least 0, and below 1")
    if not 0 <= config.n < config.N:
        raise ValueError(f"--N {config.N} --n {config.n}: n must lie between 0 and N - 1")
    for name, value in numbers(config):
        least, largest = limits_of(name)
        if not (least <= value <= largest and math.isfinite(value)):
            must = f"must be at least {least:g}" if largest == ANY else f"must be from {least:g} to {largest:.15g}"
            raise ValueError(f"--{name} {value:.15g}: {must}")
    if config.mesh is not None and config.baseline:
        raise ValueError("--baseline generates meshes; it cannot be combined with --mesh")
    if config.delight and (config.mesh is not None or config.baseline):
        option = "--baseline" if config.mesh is None else "--mesh"
        raise ValueError(f"--delight changes the texture that stage 4 solves for; with {option} there is none")
    _check_stages(config)


def numbers(options: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Name and value of each option that is a single number and is not checked by itself."""
    for field in dataclasses.fields(options):
        value, name = getattr(options, field.name), f"{prefix}{field.name}"
        if isinstance(value, ClusterConfig):
            continue
        if dataclasses.is_dataclass(value):
            yield from numbers(value, f"{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name not in ELSEWHERE:
            yield name, value


def limits_of(name: str) -> tuple[float, float]:
    """Least and largest value of an option; a KeyError is one that has none yet."""
    return (0, ANY) if name.startswith(WEIGHTS) else LIMITS[name]


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
