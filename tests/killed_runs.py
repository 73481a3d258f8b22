"""Kill runs of main.py at random moments, start them again, and compare their results with that of a run left alone.

    python -m tests.killed_runs FOLDER KILLS SEED -- OPTIONS OF MAIN.PY

The program is imported once; every run is a fork in a process group of its own, which is killed with SIGKILL, in turn:
after a random time; before a random change of a name or creation of a file, where a run is most vulnerable; a random
time after the beginning of a stage, of one stage after the other. Prints one JSON object: the kills by stage, and
whether the results are all the same.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path

import main
from v2m4 import console, partial_results
from v2m4.workspace import Workspace

# What main.py imports within its functions: a fork needs no second import.
IMPORTED = (
    *("camera_search", "generators", "motion324", "registration", "texture", "v2m4.absent_frames", "v2m4.export"),
    *("v2m4.further_outputs", "v2m4.io.clip", "v2m4.stages"),
)
CHANGES = {"os.rename", "os.remove", "os.link", "os.mkdir"}  # audit events


class Runs:
    """Runs of main.py with one set of options.

    Args:
        folder: for the outputs.
        arguments: of main.py, without ``--output``.
    """

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self.folder, self.arguments = folder, arguments

    def start(
        self, output: str, dies_at: int = 0, dies_in: tuple[str, float] = ("", 0.0), counted: Path | None = None
    ) -> int:
        """Fork a run and return its process number.

        Args:
            output: name of its output folder.
            dies_at: number of the file change before which it kills itself; 0 for none.
            dies_in: stage, and seconds after its beginning, where it kills itself; empty for none.
            counted: file for the number of its file changes.
        """
        process = os.fork()
        if process:
            return process
        os.setsid()
        partial_results.INTERVAL = 0.0
        sys.stdout = sys.stderr = (self.folder / "log.txt").open("a", encoding="utf-8")
        changes = 0

        def audit(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal changes
            creates = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wx")
            if event in CHANGES or creates:
                changes += 1
                if changes == dies_at:
                    os.killpg(os.getpid(), signal.SIGKILL)

        stage = Workspace.stage

        def timed(workspace: Workspace, name: str) -> AbstractContextManager[None]:
            if name == dies_in[0]:
                timer = threading.Timer(dies_in[1], os.killpg, (os.getpid(), signal.SIGKILL))
                timer.daemon = True
                timer.start()
            return stage(workspace, name)

        Workspace.stage = timed  # type: ignore[method-assign]
        code = 70
        try:
            sys.addaudithook(audit)
            code = main.main([*self.arguments, "--output", str(self.folder / output)])
            if counted is not None:
                counted.write_text(str(changes))
        finally:
            sys.stderr.flush()
            os._exit(code)

    def wait(self, process: int, seconds: float = 3600.0) -> int | None:
        """Exit code of a run; None where it is killed, at the latest after some seconds."""
        end = time.monotonic() + seconds
        while True:
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else None
            if time.monotonic() > end:
                os.killpg(process, signal.SIGKILL)
                os.waitpid(process, 0)
                return None
            time.sleep(0.01)

    def result(self, output: str) -> str:
        """Hash of the animation in an output folder."""
        (file,) = (self.folder / output).glob("*/output_animation.glb")
        return hashlib.sha256(file.read_bytes()).hexdigest()

    def stage(self, output: str) -> str:
        """The stage that a killed run was in."""
        manifests = list((self.folder / output).glob("*/manifest.json"))
        stages = json.loads(manifests[0].read_text("utf-8"))["stages"] if manifests else {}
        running = [name for name in console.STAGES if stages.get(name, {}).get("state") == "running"]
        return running[-1] if running else "between stages" if stages else "before the first stage"


def kill_runs(folder: Path, kills: int, seed: int, arguments: list[str]) -> dict[str, object]:
    """Kill a number of runs; every output is resumed, and killed again, until a run ends by itself.

    Raises:
        RuntimeError: a run ends with another code than 0.
    """
    runs, chance = Runs(folder, arguments), random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    if runs.wait(runs.start("whole", counted=folder / "changes")) != 0:
        raise RuntimeError(f"the run that was left alone failed; see {folder / 'log.txt'}")
    seconds, changes = time.monotonic() - start, int((folder / "changes").read_text())
    (manifest,) = (folder / "whole").glob("*/manifest.json")
    durations = {name: entry["seconds"] for name, entry in json.loads(manifest.read_text("utf-8"))["stages"].items()}
    stages: Counter[str] = Counter()
    results, number, chain = [], 0, 0
    while number < kills:
        output = f"killed_{chain}"
        while True:
            limit, dies_at, dies_in = 3600.0, 0, ("", 0.0)
            if number < kills and number % 3 == 0:
                limit = chance.uniform(0, seconds)
            elif number < kills and number % 3 == 1:
                dies_at = chance.randint(1, changes)
            elif number < kills:
                name = list(durations)[number // 3 % len(durations)]
                dies_in = (name, chance.uniform(0, durations[name]))
            code = runs.wait(runs.start(output, dies_at, dies_in), limit)
            if code is not None:
                break
            stages[runs.stage(output)] += 1
            number += 1
        if code != 0:
            raise RuntimeError(f"a resumed run failed with code {code}; see {folder / 'log.txt'}")
        results.append(runs.result(output))
        chain += 1
    whole = runs.result("whole")
    leftovers = [str(path) for path in folder.glob("killed_*/**/*") if ".part" in path.name or "_partial" in path.name]
    return {
        "kills": number,
        "outputs": chain,
        "stages": dict(stages),
        "same": all(result == whole for result in results),
        "leftovers": leftovers,
        "seconds of a run": round(seconds, 1),
        "file changes of a run": changes,
    }


if __name__ == "__main__":
    for module in IMPORTED:
        importlib.import_module(module)
    split = sys.argv.index("--")
    where, count, start_value = sys.argv[1:split]
    print(json.dumps(kill_runs(Path(where), int(count), int(start_value), sys.argv[split + 1 :]), indent=1))
