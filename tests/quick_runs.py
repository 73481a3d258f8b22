"""The quickest honest run of main.py, for tests of what happens between stages and to files."""

from pathlib import Path

import main

QUICK = [
    *("--preset", "fast", "--device", "cpu", "--skip", "2", "--key_frames", "even", "--max_faces", "300"),
    *("--model", "Inflate", "--generation.grid", "40", "--generation.texture_size", "64", "--threads", "2"),
    *("--search.samples", "16", "--search.particles", "8", "--search.swarm_steps", "1", "--search.refine_steps", "2"),
    *("--search.size", "32", "--search.proxy_faces", "200", "--registration.coarse_steps", "3"),
    *("--registration.half_turn_steps", "1", "--registration.fine_steps", "6", "--registration.views", "1"),
    *("--registration.size", "32", "--registration.video_size", "48", "--registration.points", "200"),
    *("--registration.joint_steps", "10", "--registration.settle_rounds", "4", "--drive.nodes", "12"),
    *("--drive.size", "64", "--drive.points", "100", "--drive.rounds", "1", "--drive.window", "3", "--bones", "4"),
    *("--texture.size", "64", "--texture.views", "2", "--texture.view_size", "48"),
]


def run(root: Path, output: Path, *more: str) -> int:
    """Run main.py on the animations of a folder; returns the exit code."""
    return main.main(["--root", str(root), "--output", str(output), *QUICK, *more])


def result(output: Path, name: str = "arms") -> bytes:
    """The animation of a finished run."""
    return (output / name / "output_animation.glb").read_bytes()
