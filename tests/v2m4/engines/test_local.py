"""Several processes of this machine: all is done, one that is killed loses its own animation only, Ctrl-C ends all."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.processes import heeding_ctrl_c
from tests.v2m4.engines import works
from v2m4.config import FAST, Config
from v2m4.console import AnimationProgress, Console, Outcome, use_console
from v2m4.engines import batch, local
from v2m4.engines.batch import run_batch
from v2m4.io.sources import Source

ROOT = Path(__file__).resolve().parents[3]


def sources(*names: str) -> list[Source]:
    return [Source(name, Path(name), "folder", 3 + index) for index, name in enumerate(names)]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return replace(FAST, device="cpu", output=tmp_path / "out", jobs=2)


@pytest.fixture
def console(restored_logging: None) -> Console:
    return use_console(False, "registration")


def test_every_animation_is_run_once_in_the_order_asked_for(
    config: Config, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = sources("a", "b", "c", "d", "e")
    outcomes = run_batch(mine, config, console, works.done)
    assert [outcome.name for outcome in outcomes] == ["a", "b", "c", "d", "e"]
    runs = [(config.output / source.name / "runs").read_text().splitlines() for source in mine]
    assert [len(lines) for lines in runs] == [1] * 5
    processes = {line.split()[0] for lines in runs for line in lines}
    assert len(processes) == 2 and str(os.getpid()) not in processes
    assert {outcome.error for outcome in outcomes} == {None}
    assert [list(outcome.seconds) for outcome in outcomes] == [["frames", "generation"]] * 5
    assert [outcome.manifest for outcome in outcomes] == [{"figures": {"mean_psnr": 20.0}}] * 5
    assert all(outcome.peak_memory_mib > 1 for outcome in outcomes)
    told = capsys.readouterr().err.splitlines()
    assert sorted(line for line in told if line.startswith("W")) == [f"W {name}: odd pixels" for name in "abcde"]
    assert [line[:7] for line in told if line.startswith("I")] == [f"I [{n}/5]" for n in range(1, 6)]
    assert not any("not shown" in line for line in told)


def test_one_process_begins_with_the_shortest_and_reports_in_the_order_asked_for(
    config: Config, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "compile_kernels", lambda: None)
    mine = [replace(source, count=count) for source, count in zip(sources("a", "b", "c"), (9, 4, 6), strict=True)]
    begun = []

    def work(source: Source, config: Config, progress: AnimationProgress) -> Outcome:
        begun.append(source.name)
        return Outcome(source.name, source.count)

    outcomes = run_batch(mine, replace(config, jobs=1), console, work)
    assert begun == ["b", "c", "a"]
    assert [outcome.name for outcome in outcomes] == ["a", "b", "c"]


def test_a_killed_process_and_a_broken_animation_do_not_stop_the_others(config: Config, console: Console) -> None:
    mine = sources("a", "b", "killed", "c", "broken", "d")
    outcomes = {outcome.name: outcome for outcome in run_batch(mine, config, console, works.some_killed)}
    assert list(outcomes) == [source.name for source in mine]
    errors = {name: outcome.error for name, outcome in outcomes.items() if outcome.error}
    assert set(errors) == {"killed", "broken"}
    assert errors["killed"].startswith("the process was ended by SIGKILL (memory may have run out")
    assert errors["broken"] == "RuntimeError: never to be seen"
    for name in "abcd":
        assert len((config.output / name / "runs").read_text().splitlines()) == 1


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.v2m4.engines import works
from v2m4.config import FAST
from v2m4.console import use_console
from v2m4.engines.batch import run_batch
from v2m4.io.sources import Source
if __name__ == "__main__":
    console = use_console(False, "registration")
    sources = [Source(name, Path(name), "folder", 3) for name in "abc"]
    try:
        run_batch(sources, replace(FAST, device="cpu", output=Path(sys.argv[1]), jobs=2), console, works.endless)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
@pytest.mark.parametrize(("way", "code"), [("INT", 130), ("KILL", -9)])
def test_what_ends_the_parent_ends_all_processes(tmp_path: Path, way: str, code: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with heeding_ctrl_c():
        parent = subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / "out")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
    deadline = time.monotonic() + 120
    while len(files := list(tmp_path.glob("out/*/pid"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.2)
    pids = [int(file.read_text()) for file in files]
    assert len(pids) == 2 and all(map(alive, pids))
    subprocess.run(["kill", f"-{way}", str(parent.pid)], check=True)
    _, told = parent.communicate(timeout=60)
    assert (parent.returncode, told) == (code, "")
    deadline = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, pids))
    assert len(list(tmp_path.glob("out/*/interrupted"))) == (2 if way == "INT" else 0)
    assert len(list(tmp_path.glob("out/*/pid"))) == 2


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (None, "no longer answers"),
        (3, "has ended with exit code 3"),
        (-11, "was ended by SIGSEGV"),
        (-9, f"was ended by SIGKILL ({local.MEMORY})"),
        (-250, "was ended by signal 250"),
    ],
)
def test_how_a_process_has_ended_is_told(code: int | None, text: str) -> None:
    assert local.ending(code) == text


def test_processes_are_spread_over_the_gpus(config: Config, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert local.visible_gpus() == ["3", "5"]
    outcomes = run_batch(sources("a", "b"), replace(config, device="cuda"), console, works.gpu)
    assert sorted(outcome.manifest["figures"]["gpu"] for outcome in outcomes) == ["3", "5"]
