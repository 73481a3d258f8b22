"""The command line program: four stages reconstruct the moving object of a video as one animated, textured mesh."""

from __future__ import annotations

import v2m4  # noqa: F401  # isort: skip  # before torch: sets the OpenMP wait policy
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from v2m4 import lock, preflight
from v2m4.command_line import end_with
from v2m4.config import Config, parse, resolve_preset
from v2m4.console import AnimationProgress, Console, Outcome, summary, use_console
from v2m4.device import placement
from v2m4.engines.failure import EngineError
from v2m4.io.mesh_file import check_user_mesh
from v2m4.remaining_time import way_of
from v2m4.report import NOTICE
from v2m4.sharding import shard
from v2m4.weights import Unavailable

# PyTorch and the modules that import it take seconds to load: they are imported inside the functions that use them, so
# that an invalid command line is refused at once.
if TYPE_CHECKING:
    from v2m4.frame import Clip
    from v2m4.io.sources import Source
    from v2m4.io.user_mesh import UserMesh
    from v2m4.workspace import Workspace

log = logging.getLogger("v2m4")

Stage = Callable[[str], AbstractContextManager[None]]  # times a stage and records its state in the manifest


class UsageError(Exception):
    """An option is invalid, or requires what is not available on this machine; exit code 2, before any work."""


def check(config: Config) -> Config:
    """Validate the options and resolve ``auto`` values; on a cluster, what only its nodes can tell is left to them.

    Raises:
        UsageError: an option is invalid or requires what is missing; one line with what to do.
    """
    try:
        preflight.ranges.check(config)
        config = preflight.engine.resolve(config)
    except (ValueError, Unavailable) as error:
        raise UsageError(str(error)) from error
    if any(path.exists() and not path.is_dir() for path in (config.output, *config.output.parents)):
        raise UsageError(f"--output {config.output}: a file stands there; give a folder")
    if preflight.engine.is_checked_on_nodes(config):
        return replace(config, root=config.video or config.root, preset=resolve_preset(config.preset))
    checked = check_machine(config)
    return checked if config.engine == "local" else replace(checked, blender_path=config.blender_path)


def check_machine(config: Config) -> Config:
    """Check what the options require of this machine, and resolve what depends on it; as ``check``."""
    try:
        config = preflight.formats.resolve(config)
    except Unavailable as error:
        raise UsageError(str(error)) from error
    if config.mesh is not None:
        with errors_of_usage("--mesh"):
            check_user_mesh(config.mesh, config.blender_path)
    try:
        root = config.video or config.root
        config = preflight.resolve(replace(config, root=root, preset=resolve_preset(config.preset)))
    except Unavailable as error:
        raise UsageError(str(error)) from error
    if config.checkpoint is not None:
        from motion324 import check_checkpoint

        with errors_of_usage("--checkpoint"):
            check_checkpoint(config.checkpoint)
    return config


@contextmanager
def errors_of_usage(option: str) -> Iterator[None]:
    """Turn errors on a file that an option names into ``UsageError``."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        raise UsageError(f"{option} {error}") from error


def learned_parts(config: Config) -> dict[str, str]:
    """Return which learned parts are used, and what stands in for the others."""
    import camera_search
    import registration

    return {
        "generator": config.model if config.mesh is None else "none (a user mesh)",
        **camera_search.describe(config),
        "tracking": registration.describe(config),
        "motion": "none" if config.checkpoint is None else config.checkpoint.name,
    }


def reconstruct(
    source: Source, config: Config, progress: AnimationProgress, outcome: Outcome, user_mesh: UserMesh | None = None
) -> Path:
    """Process one animation, from its pictures to ``output_animation.glb``, ``report.html``; returns the GLB's path."""
    from v2m4.forecast import log_forecast
    from v2m4.further_outputs import write_report_page
    from v2m4.io.clip import open_clip
    from v2m4.io.segmenter import open_segmenter
    from v2m4.manifest import describe_run
    from v2m4.stages import ChangeNotice, StageSelection, Stopped
    from v2m4.workspace import Workspace

    selection = StageSelection.of(config)
    workspace = Workspace(config.output / source.name, redo=selection.redo)
    workspace.required = selection.required
    ChangeNotice(workspace, config)
    outcome.manifest = workspace.manifest
    workspace.manifest["warnings"] = progress.warnings.records

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        with progress.stage(name), workspace.stage(name):
            yield
        selection.check_end(name, workspace)

    with stage("frames"):
        clip = open_clip(source, workspace, config, open_segmenter(config))
        workspace.manifest |= describe_run(clip, config, learned_parts(config))
        for entry in ("motion", "figures"):  # of an earlier run, with other options
            workspace.manifest.pop(entry, None)
    outcome.frames = progress.frames = len(clip.frames)
    log.info("%s: %d frames, foreground: %s", source.name, len(clip.frames), clip.foreground, extra=NOTICE)
    log_forecast(clip, config)
    try:
        if user_mesh is None:
            result = four_stages(clip, workspace, config, stage)
        else:
            result = track_user_mesh(user_mesh, clip, workspace, config, stage)
        if not config.baseline:
            progress.warnings.stage = "report"
            write_report_page(workspace, config)
    except Stopped as stop:
        result = workspace.path(str(stop))
    workspace.finish()
    return result


def four_stages(clip: Clip, workspace: Workspace, config: Config, stage: Stage) -> Path:
    """Run the four stages (generation, camera search, registration, texture) and export; returns the GLB's path."""
    import camera_search
    import generators
    import motion324
    import registration
    import texture
    from v2m4.absent_frames import Timeline, poses_for_export
    from v2m4.export import export_animation
    from v2m4.further_outputs import write_further_outputs
    from v2m4.keyframes import key_indices

    keys = key_indices(clip, config)
    key_frames = [clip.frames[index] for index in keys]
    workspace.manifest["key_frames"] = [frame.name for frame in key_frames]
    with stage("generation"):
        assets = generators.run(key_frames, workspace, config)
    if config.baseline:
        return workspace.root
    with stage("camera_search"):
        posed = camera_search.run(key_frames, assets, workspace, config)
        posed = generators.refine(key_frames, posed, workspace, config)
    with stage("registration"):
        if config.motion == "video" or config.refine:
            predict = motion324.predictor(clip.frames, workspace, config) if config.refine else None
            sequence = registration.track_video(clip.frames, posed[0], workspace, config, predict=predict)
        elif config.motion == "feedforward":
            sequence = motion324.run(clip.frames, posed[0], workspace, config)
        else:
            sequence = registration.run(clip.frames, keys, posed, workspace, config)
            sequence = registration.fit_inbetweens(clip.frames, sequence, workspace, config)
    with stage("texture"):
        whole = sequence.sampled(range(len(clip.frames)))
        mesh = texture.run(clip.frames, whole, posed[0].mesh, workspace, config)
    with stage("export"):
        sequence, whole = replace(sequence, mesh=mesh), replace(whole, mesh=mesh)
        extrinsics = posed[0].extrinsics
        timeline = Timeline.of(clip)
        result = export_animation(
            workspace,
            poses_for_export(sequence, clip),
            timeline.names,
            timeline.positions,
            extrinsics,
            fov=clip.fov,
            aspect=clip.frames[0].aspect,
            fps=clip.fps,
            seconds=timeline.times,
            bones=config.bones if config.rig == "auto" else 0,
            tolerance=config.tolerance,
        )
        write_further_outputs(workspace, result, whole, extrinsics, clip, config)
    return result


def track_user_mesh(user_mesh: UserMesh, clip: Clip, workspace: Workspace, config: Config, stage: Stage) -> Path:
    """Animate a user mesh: search its camera and pose in the first frame, track it through the video, and export it."""
    import camera_search
    import motion324
    import registration
    from v2m4.absent_frames import Timeline, poses_for_export
    from v2m4.export_user_mesh import export_user_mesh, file_axes_extrinsics
    from v2m4.further_outputs import write_further_outputs
    from v2m4.mesh import Asset
    from v2m4.subdivide import working_copy

    workspace.manifest["key_frames"] = [clip.frames[0].name]
    with stage("generation"):
        unit = user_mesh.mesh.normalizing()
        working = working_copy(user_mesh.mesh, config.max_faces)
        asset = Asset(working.mesh.transformed(unit))
    with stage("camera_search"):
        posed = camera_search.pose_user_mesh(clip.frames[0], asset, workspace, config)
    with stage("registration"):
        if config.motion == "feedforward" and not config.refine:
            tracked = motion324.run(clip.frames, posed, workspace, config)
        else:
            predict = motion324.predictor(clip.frames, workspace, config) if config.refine else None
            tracked = registration.track_video(clip.frames, posed, workspace, config, user_mesh=True, predict=predict)
    with stage("export"):
        sequence, timeline = working.coarse_sequence(tracked), Timeline.of(clip)
        to_camera = posed.matrix() @ unit
        result = export_user_mesh(
            workspace,
            user_mesh,
            poses_for_export(sequence, clip),
            timeline.names,
            to_camera,
            fov=clip.fov,
            aspect=clip.frames[0].aspect,
            fps=clip.fps,
            times=timeline.times,
            write=config.write,
            bones=config.bones if config.rig == "auto" else 0,
            tolerance=config.tolerance,
        )
        write_further_outputs(workspace, result, sequence, file_axes_extrinsics(to_camera), clip, config)
    return result


@lru_cache(maxsize=1)
def user_mesh_of(config: Config) -> UserMesh | None:
    """Read the mesh of ``--mesh``, once in each process; None without one.

    Raises:
        UsageError: it cannot be read, or has no skin for ``--write skeleton``.
    """
    from v2m4.io.user_mesh import open_user_mesh

    with errors_of_usage("--mesh"):
        user_mesh = None if config.mesh is None else open_user_mesh(config.mesh, config.blender_path)
    if config.write == "skeleton" and (user_mesh is None or user_mesh.skeleton() is None):
        raise UsageError("--write skeleton: needs --mesh with a file that has a skin")
    return user_mesh


def attempt(source: Source, config: Config, progress: AnimationProgress) -> Outcome:
    """Call ``reconstruct``; log an exception as one line and return it in the outcome, so that others still run."""
    from v2m4 import failures

    outcome, folder = Outcome(source.name, source.count, seconds=progress.seconds), config.output / source.name
    try:
        with lock.locked(folder, lock.PATIENCE if config.engine == "local" else lock.PATIENCE_ON_CLUSTERS):
            if config.engine != "local":  # a node of a cluster
                config = check_machine(config)
            outcome.result = reconstruct(source, config, progress, outcome, user_mesh_of(config))
        progress.end("done")
    except Exception as error:  # one failing video must not stop the others
        outcome.error = failures.describe(error, folder)
        progress.end("failed")
        log.error("%s: %s", source.name, outcome.error, exc_info=config.verbose)
    if outcome.error is not None:
        failures.release_memory()
    return outcome


def run(config: Config, console: Console) -> int:
    """Process this process's shard of the animations and print the summary.

    Returns:
        Exit code: 0, or 1 when an animation failed.

    Raises:
        UsageError: there is no animation, ``--video`` holds several, or the user mesh cannot be read.
        EngineError: the engine cannot be reached, or has not the resources.
    """
    from v2m4 import threads
    from v2m4.engines.batch import run_batch
    from v2m4.io.sources import find_animations

    try:
        sources = find_animations(config.root)
    except OSError as error:
        raise UsageError(str(error)) from error
    if config.video is not None and len(sources) > 1:
        raise UsageError(f"--video {config.video}: {len(sources)} animations in it; give one, or --root for all")
    mine = shard(sources, config.N, config.n)
    if not mine:
        log.warning(
            "%s: no animation for process %d of %d (%d animations)", config.root, config.n, config.N, len(sources)
        )
        return 0
    threads.use(config.threads)
    if config.engine == "local":  # the nodes of a cluster say so themselves
        user_mesh_of(config)
        parts = ", ".join(f"{name.replace('_', ' ')}: {part}" for name, part in learned_parts(config).items())
        log.info("%s; %s", placement(config), parts, extra=NOTICE)
    outcomes = run_batch(mine, config, console, attempt)
    print(summary(outcomes))
    memory = max(outcome.peak_memory_mib for outcome in outcomes) / 1024
    print(f"peak memory {memory:.2f} GiB, {config.device}, preset {config.preset}")
    return 1 if any(outcome.error for outcome in outcomes) else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 on success, 1 when an animation failed, 2 on bad usage, 130 on Ctrl-C."""
    config = parse(sys.argv[1:] if arguments is None else arguments)
    console = use_console(config.verbose, way_of(config))
    try:
        return run(check(config), console)
    except (UsageError, EngineError) as error:
        log.error("%s", error, exc_info=config.verbose)
        return 2
    except KeyboardInterrupt:
        log.error("interrupted; run the same command again to resume")
        return 130


if __name__ == "__main__":
    end_with(main)
