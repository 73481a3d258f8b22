"""Run Khronos' glTF validator on files; it is installed by ``npm ci`` in ``.ci/gltf-validator``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("V2M4_GLTF_VALIDATOR", Path(__file__).resolve().parent.parent / ".ci" / "gltf-validator"))
MISSING = f"needs node, and npm ci in {FOLDER} (or another folder of it in V2M4_GLTF_VALIDATOR)"
SCRIPT = """
const validator = require('gltf-validator'), fs = require('fs');
Promise.all(process.argv.slice(1).map(path => validator.validateBytes(new Uint8Array(fs.readFileSync(path)))))
  .then(reports => console.log(JSON.stringify(reports.map(report => report.issues))));
"""
TIMEOUT = 300.0  # seconds


def is_installed() -> bool:
    """Whether the validator can be run here."""
    return shutil.which("node") is not None and (FOLDER / "node_modules" / "gltf-validator").is_dir()


def validate(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The validator's issues of each file: ``numErrors``, ``numWarnings``, ``messages`` (severity 0 is an error).

    Raises:
        RuntimeError: the validator failed.
    """
    command = ["node", "-e", SCRIPT, *(str(Path(path).resolve()) for path in paths)]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    if done.returncode != 0:
        raise RuntimeError(f"gltf-validator failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def errors_and_warnings(paths: Sequence[Path]) -> dict[str, list[str]]:
    """Errors and warnings by file name, for the files that have some; each as code and pointer."""
    found = {}
    for path, issues in zip(paths, validate(paths), strict=True):
        messages = [f"{each['code']} at {each.get('pointer')}" for each in issues["messages"] if each["severity"] < 2]
        if messages or issues["numErrors"] or issues["numWarnings"]:
            found[Path(path).name] = messages
    return found
