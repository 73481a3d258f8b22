"""The command line: V2M4's names and defaults, presets, bad usage."""

import re
from pathlib import Path

import pytest

from v2m4.config import FAST, PAPER, parse


def test_defaults_are_the_published_ones() -> None:
    config = parse([])
    assert (config.skip, config.seed, config.N, config.n, config.max_faces) == (5, 42, 1, 0, 10000)
    assert (config.tracking_camera_radius, config.model, config.baseline) == (8, "Prior", False)
    assert (str(config.root), str(config.output)) == ("examples", "results")


def test_v2m4s_own_command_line_is_understood() -> None:
    line = (
        "--root examples --output out --model Hunyuan --N 2 --n 1 --skip 3 --seed 7 --use_vggt --use_tracking "
        "--tracking_camera_radius 8 --blender_path blender-4.2.1-linux-x64/ --baseline --max_faces 5000"
    )
    config = parse(line.split())
    assert config.use_vggt
    assert config.use_tracking
    assert config.baseline
    assert (config.N, config.n, config.skip, config.max_faces, config.model) == (2, 1, 3, 5000, "Hunyuan")


@pytest.mark.parametrize(
    ("line", "expected"),
    [("", FAST), ("--preset paper", PAPER), ("--device cuda", FAST), ("--preset auto --device cuda", FAST)],
)
def test_auto_is_fast_on_every_device(line: str, expected) -> None:
    config = parse(line.split())
    assert config.registration == expected.registration
    assert config.search == expected.search


def test_the_page_on_the_published_method_gives_the_presets_values() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/paper.md").read_text("utf-8").split("## Networks")[0]
    told = [pair for code in re.findall(r"`(--[^`]*)`", page) for pair in re.findall(r"--([\w.]+) ([\w.]+)", code)]
    assert len(told) > 25
    for option, value in told:
        found: object = PAPER
        for name in option.split("."):
            found = getattr(found, name)
        assert found == (type(found)(value) if isinstance(found, int | float) else value), option


def test_an_option_stands_over_the_preset() -> None:
    config = parse(["--preset", "paper", "--registration.fine_steps", "7"])
    assert config.registration.fine_steps == 7
    assert config.registration.views == PAPER.registration.views
