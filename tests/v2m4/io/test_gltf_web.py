"""The compressed copy for web pages: the same animation, smaller; and what is told where the tool is missing."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

import main
from v2m4.io import gltf_web
from v2m4.io.gltf import write_animation_glb
from v2m4.io.gltf_animation import list_animations, read_animation
from v2m4.io.gltf_web import INSTALL, gltf_transform_command, write_web_glb
from v2m4.mesh import Mesh, MeshSequence


@pytest.fixture
def animation(tmp_path: Path) -> Path:
    """A textured ball that swells in four steps."""
    ball = trimesh.creation.icosphere(4)
    vertices = torch.tensor(ball.vertices, dtype=torch.float32)
    uvs = vertices[:, :2] * 0.5 + 0.5
    texture = torch.linspace(0, 1, 16)[:, None, None].expand(16, 16, 3).contiguous()
    mesh = Mesh(vertices, torch.tensor(ball.faces), uvs, None, texture)
    swelling = torch.stack([vertices * (1 + 0.1 * step) for step in range(4)])
    write_animation_glb(tmp_path / "ball.glb", MeshSequence(swelling, mesh, np.arange(4) / 8))
    return tmp_path / "ball.glb"


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH without Node's programs."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def program(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


@pytest.mark.skipif(gltf_transform_command() is None, reason=f"needs gltf-transform: {INSTALL}")
def test_the_copy_is_smaller_and_moves_alike(animation: Path, tmp_path: Path) -> None:
    write_web_glb(animation, tmp_path / "web.glb")
    assert (tmp_path / "web.glb").stat().st_size < 0.7 * animation.stat().st_size
    before, after = read_animation(animation), read_animation(tmp_path / "web.glb")
    assert len(after) == 4
    (one,), (other,) = list_animations(animation), list_animations(tmp_path / "web.glb")
    np.testing.assert_allclose(one.key_times, other.key_times)
    radii = after.vertices.norm(dim=-1)  # the tool orders vertices anew
    torch.testing.assert_close(radii.mean(1), before.vertices.norm(dim=-1).mean(1), atol=1e-3, rtol=0)
    assert float((radii - radii.mean(1, keepdim=True)).abs().max()) < 1e-3


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_a_failure_is_told_with_the_tools_last_line(animation: Path, nowhere: Path, tmp_path: Path) -> None:
    program(nowhere, "gltf-transform", "echo something >&2; echo out of memory >&2; exit 3")
    with pytest.raises(RuntimeError, match=r"ball\.glb \(exit code 3\): out of memory"):
        write_web_glb(animation, tmp_path / "web.glb")
    program(nowhere, "gltf-transform", "exit 0")
    with pytest.raises(RuntimeError, match="failed"):  # it wrote nothing
        write_web_glb(animation, tmp_path / "web.glb")


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_npx_is_asked_without_installing_anything(nowhere: Path) -> None:
    program(nowhere, "npx", 'test "$1 $2 $3" = "--offline --no-install gltf-transform" && echo 4.0.0')
    gltf_web._version.cache_clear()
    command = gltf_transform_command()
    assert command is not None and command[1:] == ("--offline", "--no-install", "gltf-transform")
    assert gltf_web.tool_version() == "4.0.0"
    program(nowhere, "npx", "exit 1")
    gltf_web._version.cache_clear()
    assert gltf_transform_command() is None
    gltf_web._version.cache_clear()


@pytest.mark.usefixtures("nowhere")
def test_a_missing_tool_exits_with_two_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clips").mkdir()
    assert main.main(["--root", str(tmp_path / "clips"), "--output", str(tmp_path / "out"), "--web"]) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.strip())
    assert line == "E --web: gltf-transform is not installed; npm install -g @gltf-transform/cli"
    assert not (tmp_path / "out").exists()
