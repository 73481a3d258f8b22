"""Requirements of --engine: packages, sbatch, one device for all nodes, options that fit together."""

import importlib.util
from pathlib import Path

import pytest

import main
from v2m4.config import ClusterConfig, parse
from v2m4.device import DeviceChoice
from v2m4.engines.batch import absolute
from v2m4.preflight import engine
from v2m4.weights import Unavailable


@pytest.fixture
def all_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "require_packages", lambda packages: None)
    monkeypatch.setattr(engine.shutil, "which", lambda name: f"/usr/bin/{name}")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("--jobs -1", "--jobs -1"),
        ("--ray_address auto", "--ray_address: needs --engine ray"),
        ("--slurm partition=gpu", "--slurm: needs --engine slurm"),
        ("--engine slurm --slurm partition", "KEY=VALUE"),
        ("--engine ray --cluster.memory -1", "--cluster.memory -1: must be at least 0"),
        ("--engine ray --cluster.gpus nan", "--cluster.gpus nan"),
        ("--engine slurm --cluster.gpus 0.5", "whole GPUs"),
        ("--engine ray --device cpu --cluster.gpus 1", "--device cpu --cluster.gpus 1"),
        ("--engine ray --device cuda --cluster.gpus 0", "--device cuda --cluster.gpus 0"),
    ],
)
@pytest.mark.usefixtures("all_installed")
def test_what_does_not_fit_is_refused(line: str, text: str) -> None:
    with pytest.raises(main.UsageError) as refused:
        main.check(parse(line.split()))
    assert text in str(refused.value)


@pytest.mark.parametrize(("name", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_is_told_with_its_command(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked, *more: None if asked == module else find(asked))
    with pytest.raises(Unavailable) as refused:
        engine.resolve(parse(["--engine", name]))
    assert str(refused.value).startswith(f"--engine {name}: {module} is not installed; pip install")


def test_slurm_needs_sbatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "require_packages", lambda packages: None)
    monkeypatch.setattr(engine.shutil, "which", lambda name: None)
    with pytest.raises(Unavailable, match="sbatch is not on PATH"):
        engine.resolve(parse(["--engine", "slurm"]))


@pytest.mark.parametrize(
    ("line", "here", "device", "gpus"),
    [
        ("", "cpu", "cpu", 0),
        ("", "cuda", "cuda", 1),
        ("--cluster.gpus 0", "cuda", "cpu", 0),
        ("--cluster.gpus 0.5", "cpu", "cuda", 0.5),
        ("--device cuda", "cpu", "cuda", 1),
        ("--device cpu", "cuda", "cpu", 0),
    ],
)
@pytest.mark.usefixtures("all_installed")
def test_all_nodes_have_one_device(
    line: str, here: str, device: str, gpus: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "choose_device", lambda asked: DeviceChoice(here))  # type: ignore[arg-type]
    resolved = engine.resolve(parse(["--engine", "ray", *line.split()]))
    assert (resolved.device, resolved.cluster.gpus) == (device, gpus)
    assert engine.is_checked_on_nodes(resolved) == (device == "cuda" and here == "cpu")


@pytest.mark.usefixtures("all_installed")
def test_a_machine_without_a_gpu_commands_nodes_that_have_one() -> None:
    config = main.check(parse(["--engine", "ray", "--device", "cuda", "--video", "clip.mp4"]))
    assert (config.device, config.root, config.preset) == ("cuda", Path("clip.mp4"), "fast")


def test_paths_for_other_machines_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    config = absolute(parse(["--root", "a", "--output", "b", "--mesh", "c.glb", "--weights_dir", "/w"]))
    assert (config.root, config.output, config.mesh) == (tmp_path / "a", tmp_path / "b", tmp_path / "c.glb")
    assert (config.weights_dir, config.video) == (Path("/w"), None)


def test_the_command_line_has_the_engines_options() -> None:
    line = "--engine slurm --jobs 3 --slurm partition=gpu time=2:00:00 --cluster.cpus 8 --cluster.gpus 1"
    config = parse(line.split())
    assert (config.engine, config.jobs, config.slurm) == ("slurm", 3, ("partition=gpu", "time=2:00:00"))
    assert config.cluster == ClusterConfig(cpus=8, gpus=1.0)
    assert isinstance(hash(config), int)
