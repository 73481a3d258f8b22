"""Mutated files of every kind: readers refuse them in time and memory, with an error that they document.

The long run is left out by default:

    python -m pytest -m fuzz tests/fuzz

``V2M4_FUZZ_SECONDS`` are the seconds for each reader (65, ten minutes for all), ``V2M4_FUZZ_SEED`` the seed.
"""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.child import fault, prepare
from tests.fuzz.readers import READERS

ROOT = Path(__file__).resolve().parents[2]
SECONDS = float(os.environ.get("V2M4_FUZZ_SECONDS", "65"))
SEED = os.environ.get("V2M4_FUZZ_SEED") or str(random.SystemRandom().randrange(1 << 32))


@pytest.mark.parametrize("name", READERS)
def test_files_that_are_not_mutated_are_read(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    for file, data in prepare(reader, tmp_path).items():
        path = tmp_path / "case" / file
        path.write_bytes(data)
        for call in reader.calls:
            call(path)
        path.unlink()


@pytest.mark.parametrize("name", READERS)
def test_a_few_mutated_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    reader, generator = READERS[name], random.Random(1)
    valid = prepare(reader, tmp_path)
    for file, data in sorted(valid.items()):
        path = tmp_path / "case" / file
        path.write_bytes(reader.mutation(data, generator))
        for call in reader.calls:
            assert fault(call, path) is None
        path.unlink(missing_ok=True)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", READERS)
def test_mutated_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.child", name, SEED, str(SECONDS), str(tmp_path / "files")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    kept = Path(os.environ.get("V2M4_FUZZ_KEEP", tmp_path)) / f"{name}-{SEED}"
    if done.returncode != 0:
        shutil.copytree(tmp_path / "files" / "case", kept, dirs_exist_ok=True)
    ending = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
    assert done.returncode == 0, f"{ending}, seed {SEED}, files in {kept}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
