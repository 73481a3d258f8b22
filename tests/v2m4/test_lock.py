"""One process at a time works on a folder; locks of processes that have ended are taken over."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from v2m4 import lock
from v2m4.lock import LOCK, STALE, LockedError, Owner, locked

HOLD = """
import sys, time
from pathlib import Path
from v2m4.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.1)


@pytest.fixture
def holder(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(lock.__file__).parents[1],
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def write_lock(folder: Path, owner: Owner, age: float = 0.0) -> None:
    file = folder / LOCK
    file.write_text(json.dumps(asdict(owner)), "utf-8")
    os.utime(file, (time.time() - age,) * 2)


def test_a_lock_is_held_once_and_removed(tmp_path: Path) -> None:
    with locked(tmp_path / "new"):
        assert os.listdir(tmp_path / "new") == [LOCK]
        with pytest.raises(LockedError, match=f"process {os.getpid()} on"), locked(tmp_path / "new"):
            pass
        assert (tmp_path / "new" / LOCK).exists()
    assert os.listdir(tmp_path / "new") == []


def test_a_live_process_is_named_and_a_killed_one_taken_over(
    tmp_path: Path, holder: subprocess.Popen, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LockedError) as told, locked(tmp_path):
        pass
    assert f"process {holder.pid} on" in str(told.value) and "\n" not in str(told.value)
    os.utime(tmp_path / LOCK, (0, 0))  # suspended for long: it still is alive
    with pytest.raises(LockedError), locked(tmp_path):
        pass
    holder.kill()
    monkeypatch.setattr(lock, "PATIENCE", 60.0)
    with locked(tmp_path):  # at once, before its parent has waited for it
        assert json.loads((tmp_path / LOCK).read_text("utf-8"))["process"] == os.getpid()
    assert os.listdir(tmp_path) == []


def test_another_process_of_the_same_number_is_not_the_owner(tmp_path: Path) -> None:
    own = Owner.this()
    if not own.started:
        pytest.skip("this system does not tell when a process started")
    write_lock(tmp_path, replace(own, started="0"))
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {"boot": "another container"}, {"boot": ""}])
def test_on_another_machine_the_age_decides(tmp_path: Path, other: dict[str, str]) -> None:
    owner = replace(Owner.this(), process=1, **other)
    write_lock(tmp_path, owner, STALE - 20)
    with pytest.raises(LockedError, match=r"last sign of it 10[0-9] s ago"), locked(tmp_path):
        pass
    write_lock(tmp_path, owner, STALE + 5)
    with locked(tmp_path):
        pass


def test_an_empty_lock_is_taken_over_once_it_is_old(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    with pytest.raises(LockedError, match="another process"), locked(tmp_path):
        pass
    os.utime(tmp_path / LOCK, (0, 0))
    with locked(tmp_path):
        pass


def test_a_held_lock_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "RENEWAL", 0.02)
    with locked(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        end = time.monotonic() + 10
        while (tmp_path / LOCK).stat().st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_without_links_the_lock_is_created_exclusively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    with locked(tmp_path):
        assert Owner(**json.loads((tmp_path / LOCK).read_text("utf-8"))).process == os.getpid()
        with pytest.raises(LockedError), locked(tmp_path):
            pass
    assert os.listdir(tmp_path) == []


def test_a_lock_that_another_process_looks_at_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that found a stale lock may rename a new one for a moment, before it puts it back."""
    created = lock._created

    def renamed_for_a_moment(file: Path, own: Owner) -> bool:
        done = created(file, own)
        os.rename(file, file.with_name("aside"))
        return done

    monkeypatch.setattr(lock, "_created", renamed_for_a_moment)
    with locked(tmp_path):
        os.rename(tmp_path / "aside", tmp_path / lock.LOCK)
    assert not (tmp_path / lock.LOCK).exists()


def test_of_many_processes_one_takes_over(tmp_path: Path) -> None:
    write_lock(tmp_path, replace(Owner.this(), host="elsewhere"), STALE + 5)
    code = HOLD.replace("60", "8")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(lock.__file__).parents[1],
        )
        for _ in range(4)
    ]
    told = [process.communicate(timeout=60) for process in processes]
    assert sum(out == "held\n" for out, _ in told) == 1
    assert all("LockedError" in error for out, error in told if not out)
