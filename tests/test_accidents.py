"""Accidents of whole runs: full disk, read-only folder, damaged files, two processes, Ctrl-C, no memory."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import generators
import main
from tests.processes import heeding_ctrl_c
from tests.quick_runs import QUICK, result, run
from tests.test_main import write_clip
from v2m4.lock import LOCK, locked
from v2m4.workspace import Workspace

FIRST_STAGE = ("--until_stage", "1")


def error_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("E ")]


@pytest.fixture
def small_disk(whole: Path, tmp_path: Path) -> Iterator[Path]:
    """A file system in memory that holds a part of a run's results."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file()) // 2
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_room(
    clips: Path, whole: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(clips, small_disk) == 1
    (line,) = error_lines(capsys)
    assert "the disk is full" in line and str(small_disk / "arms") in line and "the same command" in line
    finished = {path: path.read_bytes() for path in small_disk.rglob("*.npz")}
    assert finished
    remount(small_disk, "size=64m")
    assert run(clips, small_disk) == 0
    assert result(small_disk) == result(whole)
    assert {path: path.read_bytes() for path in finished} == finished


def test_a_read_only_output_is_one_line_and_nothing_is_lost(
    clips: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remount(small_disk, "size=64m")
    assert run(clips, small_disk, *FIRST_STAGE) == 0
    before = {path: path.read_bytes() for path in small_disk.rglob("*") if path.is_file()}
    capsys.readouterr()
    remount(small_disk, "ro")
    try:
        assert run(clips, small_disk, *FIRST_STAGE, "--max_faces", "250") == 1
    finally:
        remount(small_disk, "rw")
    (line,) = error_lines(capsys)
    assert f"no permission to write in {small_disk / 'arms'}" in line and "--output" in line
    assert {path: path.read_bytes() for path in small_disk.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(os.name != "posix", reason="the limit is one of POSIX systems")
def test_a_limit_on_the_size_of_files_is_one_line_and_the_run_goes_on(
    clips: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(result(whole)) - 1, hard))
    try:
        assert run(clips, tmp_path) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (line,) = error_lines(capsys)
    assert "a limit on it is reached" in line and str(tmp_path / "arms") in line
    assert run(clips, tmp_path) == 0
    assert result(tmp_path) == result(whole)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_line(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    assert run(clips, tmp_path / "out") == 1
    (line,) = error_lines(capsys)
    assert f"no permission to write in {tmp_path / 'out' / 'arms'}" in line


def test_files_that_were_cut_or_changed_are_made_again(
    clips: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    folder = output / "arms"
    changed = [folder / "output_animation.glb", folder / "1_rmbg.png", folder / "4_texture" / "texture.npz"]
    for file in changed:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)  # of equal size
    cut = folder / "3_registration" / "joint.npz"
    cut.write_bytes(cut.read_bytes()[:50])
    capsys.readouterr()
    assert run(clips, output) == 0
    told = capsys.readouterr().err
    for file in (*changed, cut):
        assert f"{file}: changed or damaged since it was written; made again" in told
    assert result(output) == result(whole)


def test_a_damaged_manifest_costs_nothing(
    clips: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output, made, record = tmp_path / "out", [], Workspace.record
    shutil.copytree(whole, output)
    manifest = output / "arms" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:100])
    monkeypatch.setattr(Workspace, "record", lambda self, name, key: (made.append(name), record(self, name, key)))
    assert run(clips, output) == 0
    assert f"{manifest}: damaged" in capsys.readouterr().err
    assert made == []
    assert json.loads(manifest.read_text("utf-8"))["stages"]["export"]["state"] == "done"


def test_two_processes_do_not_work_on_one_animation(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "clips"
    shutil.copytree(clips, root)
    write_clip(root / "others")
    with locked(tmp_path / "out" / "arms"):
        assert run(root, tmp_path / "out", *FIRST_STAGE) == 1
    (line,) = error_lines(capsys)
    assert f"process {os.getpid()} on" in line and "choose another --output" in line
    assert not (tmp_path / "out" / "arms" / "manifest.json").exists()
    assert list((tmp_path / "out" / "others" / "1_generation").glob("*.npz"))
    assert run(root, tmp_path / "out", *FIRST_STAGE) == 0
    assert not list((tmp_path / "out").rglob(LOCK))


@pytest.mark.skipif(os.name != "posix", reason="sends the signal of Ctrl-C")
def test_ctrl_c_ends_cleanly_with_one_line(clips: Path, tmp_path: Path) -> None:
    command = [sys.executable, "main.py", "--root", str(clips), "--output", str(tmp_path), *QUICK]
    with heeding_ctrl_c():
        process = subprocess.Popen(
            [*command, "--registration.fine_steps", "100000", "--registration.trust", "no"],
            cwd=Path(main.__file__).parent,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    end = time.monotonic() + 300
    while not list(tmp_path.glob("arms/2_camera_search/3.png")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert told.splitlines()[-1] == "E interrupted; run the same command again to resume"
    assert "Traceback" not in told and out == ""
    assert not (tmp_path / "arms" / LOCK).exists()


ALLOCATOR = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"


@pytest.mark.parametrize("error", [MemoryError("Unable to allocate 9.1 TiB"), RuntimeError(ALLOCATOR)])
def test_an_animation_without_memory_is_told_and_the_next_one_is_made(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    root, generate = tmp_path / "clips", generators.run
    shutil.copytree(clips, root)
    write_clip(root / "others")

    def run_out(frames: list, workspace: Workspace, config: object) -> list:
        if workspace.root.name == "arms":
            raise error
        return generate(frames, workspace, config)

    monkeypatch.setattr(generators, "run", run_out)
    assert run(root, tmp_path / "out", *FIRST_STAGE) == 1
    (line,) = error_lines(capsys)
    assert line.startswith("E arms: out of memory (") and "--frames.max_side" in line
    assert list((tmp_path / "out" / "others" / "1_generation").glob("*.npz"))
