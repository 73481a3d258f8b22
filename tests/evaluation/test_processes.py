"""Processes: what they took, what they said, and how they are ended."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from evaluation.processes import Processes, ProcessFailed, last_error

ROOT = Path(__file__).resolve().parents[2]
MEASURED = """
import sys
from pathlib import Path
from evaluation.processes import Processes
child = "x = b'x' * (300 * 2**20)"
parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
for script in ("pass", parent):
    usage = Processes().run([sys.executable, "-c", script], Path(sys.argv[1]) / "log", Path(sys.argv[1]))
    print(usage.peak_memory_mib, usage.seconds)
"""


def test_peak_memory_is_that_of_the_largest_process_in_the_tree(tmp_path):
    # In a small process, as the benchmark is one: a process counts what it was forked from as its own.
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    small, large = (float(line.split()[0]) for line in done.stdout.splitlines())
    assert 0 < small < 150
    assert 300 < large < 450


@pytest.mark.parametrize("module", ["benchmark", "batch_evaluation"])
def test_the_benchmark_is_a_small_process(module):
    script = f"import sys, evaluation.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_a_failure_tells_its_last_error(tmp_path):
    script = "import sys; print('E first: bad'); sys.stderr.write('E second: worse\\n'); print('done'); sys.exit(3)"
    with pytest.raises(ProcessFailed, match=r"^second: worse$"):
        Processes().run([sys.executable, "-u", "-c", script], tmp_path / "log", tmp_path)
    assert "first: bad" in (tmp_path / "log").read_text()
    with pytest.raises(ProcessFailed, match="ended with code 4 and said nothing"):
        Processes().run([sys.executable, "-c", "raise SystemExit(4)"], tmp_path / "log", tmp_path)
    with pytest.raises(ProcessFailed, match="no-such-program: No such file"):
        Processes().run(["no-such-program"], tmp_path / "log", tmp_path)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", ""),
        ("one\ntwo\n", "two"),
        ("x\rdone: 100%|████| 2/2 [00:18<00:00,  9.32s/result]\n", "x"),
        ("E a: ValueError: no\npeak memory 1.2 GiB\n", "a: ValueError: no"),
        ('Traceback\n  File "x.py"\nKeyError: 3\nafterwards', "KeyError: 3"),
    ],
)
def test_last_error(said, told):
    assert last_error(said) == told


def test_stop_ends_what_runs_and_starts_nothing_more(tmp_path):
    processes, ended = Processes(), []

    def sleep():
        try:
            processes.run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log", tmp_path)
        except ProcessFailed as error:
            ended.append(error)

    thread = threading.Thread(target=sleep)
    start = time.perf_counter()
    thread.start()
    while not processes._running and time.perf_counter() - start < 20:
        time.sleep(0.01)
    processes.stop()
    thread.join(20)
    assert len(ended) == 1
    assert time.perf_counter() - start < 30
    with pytest.raises(ProcessFailed, match="stopped"):
        processes.run([sys.executable, "-c", "pass"], tmp_path / "log", tmp_path)


def test_of_a_framed_message_the_text_is_told():
    lines = ("Unrecognized options:", "--nonsense", "─────────────────────", "help")
    framed = "".join(f"│ {line:<21} │\n" for line in lines)
    box = f"loading\n╭─ Unrecognized options ──╮\n{framed}╰──────────────────────────╯\n"
    assert last_error(box) == "Unrecognized options: --nonsense"
    assert last_error(f"{box}RuntimeError: burst\n") == "RuntimeError: burst"
