"""Jobs through submitit: on this machine in place of Slurm, and what sbatch would be given."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.v2m4.engines import works
from v2m4.config import FAST, ClusterConfig, Config
from v2m4.console import Console, use_console
from v2m4.engines import slurm
from v2m4.engines.batch import run_batch
from v2m4.engines.failure import EngineError
from v2m4.engines.slurm_options import minutes, sbatch_options
from v2m4.engines.task import Task
from v2m4.io.sources import Source
from v2m4.python_path import PROGRAM

MISSING = "submitit is not installed; pip install -r requirements/slurm.txt"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    cluster = ClusterConfig(cpus=2, gpus=0.0, memory=3.0)
    return replace(FAST, device="cpu", engine="slurm", output=tmp_path / "out", cluster=cluster)


@pytest.fixture
def console(restored_logging: None) -> Console:
    return use_console(False, "registration")


def sources(*names: str) -> list[Source]:
    return [Source(name, Path(name), "folder", 3) for name in names]


def test_every_animation_has_a_job_and_a_killed_one_stops_no_other(
    config: Config, console: Console, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit", reason=MISSING)
    monkeypatch.setattr(slurm, "EXECUTOR", "local")
    monkeypatch.setattr("submitit.local.local.LocalJob._results_timeout_s", 1)
    outcomes = run_batch(sources("a", "killed", "broken", "b"), config, console, works.some_killed)
    assert [outcome.name for outcome in outcomes] == ["a", "killed", "broken", "b"]
    assert [outcome.error is None for outcome in outcomes] == [True, False, False, True]
    assert "its log: " in str(outcomes[1].error)
    assert "never to be seen" in str(outcomes[2].error)
    assert all((config.output / name / "runs").read_text().count("\n") == 1 for name in "ab")
    told = capsys.readouterr().err
    assert "W a: odd pixels" in told and "[4/4]" in told
    assert not list(config.output.glob(".progress*"))


def test_ctrl_c_cancels_all_jobs(config: Config, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    local = pytest.importorskip("submitit.local.local", reason=MISSING)
    monkeypatch.setattr(slurm, "EXECUTOR", "local")
    cancelled: list[str] = []
    cancel = local.LocalJob.cancel
    monkeypatch.setattr(
        local.LocalJob, "cancel", lambda job, check=True: (cancelled.append(job.job_id), cancel(job, check))
    )

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(slurm, "time", SimpleNamespace(sleep=interrupted))
    with pytest.raises(KeyboardInterrupt):
        run_batch(sources("a", "b"), config, console, works.endless)
    assert len(cancelled) == 2


def test_sbatch_is_given_the_resources_and_the_options(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit", reason=MISSING)
    monkeypatch.setattr("submitit.slurm.slurm.SlurmExecutor.affinity", classmethod(lambda cls: 2))
    asked = replace(
        config, jobs=3, slurm=("partition=gpu", "time=1-2:30", "qos=high"), cluster=replace(config.cluster, gpus=1.0)
    )
    executor = slurm._executor(submitit, asked)._executor
    executor.parameters["map_count"] = 8
    lines = executor._make_submission_file_text("command", "id").splitlines()
    for line in ("partition=gpu", "time=1-2:30", "qos=high", "cpus-per-task=2", "mem=3GB", "gpus-per-node=1"):
        assert f"#SBATCH --{line}" in lines
    assert "#SBATCH --array=0-7%3" in lines
    assert any(line.startswith(f"export PYTHONPATH={PROGRAM}") for line in lines)
    assert executor.parameters["time"] == 1590


def test_without_slurm_it_is_told_in_one_line(
    config: Config, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason=MISSING)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EngineError, match="srun"):
        run_batch(sources("a"), config, console, works.done)


def test_an_interrupted_job_is_followed_by_the_same(config: Config) -> None:
    pytest.importorskip("submitit", reason=MISSING)
    task = Task(sources("a")[0], config, "module:function", "registration", 2)
    following = slurm.Animation().checkpoint(task, "events")
    assert isinstance(following.function, slurm.Animation)
    assert following.args == (task, "events")


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("2:30", 3), ("1:30:00", 90), ("2-0", 2880), ("1-2:30", 1590), ("0-0:1:1", 2)]
)
def test_time_limits_are_sbatchs(text: str, expected: int) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize("pair", ["partition", "=gpu", "partition=", "time=soon", "time=1:2:3:4"])
def test_what_is_no_option_of_sbatch_is_refused(pair: str) -> None:
    with pytest.raises(ValueError, match="--slurm"):
        sbatch_options([pair])


def test_time_has_a_default_and_the_last_value_counts() -> None:
    assert sbatch_options([]) == {"time": "4:00:00"}
    assert sbatch_options(["--time=10", "time=20"]) == {"time": "20"}


def test_the_options_are_read_without_submitit() -> None:
    code = "import sys; sys.modules['submitit'] = None; from v2m4.engines import slurm; print(slurm.EXECUTOR)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROGRAM)
    assert told.stdout == "slurm\n"
