"""What stands in for the reconstruction in tests of the engines: functions that other processes can import."""

import logging
import os
import signal
import time

from v2m4.config import Config
from v2m4.console import AnimationProgress, Outcome
from v2m4.io.sources import Source

log = logging.getLogger("v2m4.test")


def done(source: Source, config: Config, progress: AnimationProgress) -> Outcome:
    """Write a file with the animation's name, once more for each time that it is run."""
    log.debug("not shown")
    log.warning("odd %s", "pixels")
    folder = config.output / source.name
    folder.mkdir(parents=True, exist_ok=True)
    with progress.stage("frames"), (folder / "runs").open("a") as stream:
        progress.frames = source.count
        stream.write(f"{os.getpid()} {config.threads}\n")
    with progress.stage("generation"):
        time.sleep(0.05)
    manifest = {"figures": {"mean_psnr": 20.0}, "artefacts": {"much": "more"}}
    return Outcome(source.name, source.count, folder / "runs", manifest=manifest, seconds=progress.seconds)


def some_killed(source: Source, config: Config, progress: AnimationProgress) -> Outcome:
    """As ``done``, but "killed" loses its process, and "broken" raises what is not expected."""
    if source.name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if source.name == "broken":
        raise RuntimeError("never to be seen")
    return done(source, config, progress)


def endless(source: Source, config: Config, progress: AnimationProgress) -> Outcome:
    """Sleep until interrupted, which is written down."""
    folder = config.output / source.name
    folder.mkdir(parents=True)
    (folder / "pid").write_text(str(os.getpid()))
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        (folder / "interrupted").touch()
        raise
    return Outcome(source.name, source.count)


def killed_once(source: Source, config: Config, progress: AnimationProgress) -> Outcome:
    """As ``done``, but every process is killed once, after it has begun a stage."""
    first = config.output / source.name / "first"
    if not first.exists():
        with progress.stage("frames"):
            first.parent.mkdir(parents=True)
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return done(source, config, progress)


def second_endless(source: Source, config: Config, progress: AnimationProgress) -> Outcome:
    """As ``done``, but all except "first" never end."""
    return done(source, config, progress) if source.name == "first" else endless(source, config, progress)


def gpu(source: Source, config: Config, progress: AnimationProgress) -> Outcome:
    """Report which GPU the process sees."""
    time.sleep(1)
    return Outcome(source.name, source.count, manifest={"figures": {"gpu": os.environ["CUDA_VISIBLE_DEVICES"]}})


def overwriting(source: Source, config: Config, progress: AnimationProgress) -> Outcome:
    """Report whether earlier results are discarded."""
    raise ValueError(f"overwrite {config.overwrite}")
