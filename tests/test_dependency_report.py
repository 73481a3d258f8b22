"""The report on dependencies that CI prints: whole, and plain about what it could not find out."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent
SPEC = importlib.util.spec_from_file_location("dependency_report", ROOT / ".ci" / "dependencies.py")
report = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(report)


def answered(monkeypatch: pytest.MonkeyPatch, **answer: object) -> list[str]:
    """The report's lines for an answer of pip-audit."""
    monkeypatch.setattr(report.shutil, "which", lambda name: "/somewhere/pip-audit")
    monkeypatch.setattr(report.subprocess, "run", lambda *_, **__: SimpleNamespace(**answer))
    return report.audit()


def test_every_dependency_has_a_licence() -> None:
    names = report.required(ROOT / "requirements.txt")
    assert "torch" in names and "pillow" in names
    found = report.with_dependencies(names)
    assert {"torch", "numpy", "pillow", "sympy"} <= set(found)  # sympy by way of torch
    lines = report.table(found)
    assert len(lines) == len(found)
    assert all(len(line.split("  ")) >= 3 for line in lines)


@pytest.mark.parametrize(("text", "marked"), [("MIT", False), ("LGPLv3", False), ("GPL-3.0", True), ("unknown", True)])
def test_licences_that_bind_are_marked(text: str, marked: bool) -> None:
    assert bool(report.TO_LOOK_AT.search(text)) == marked


def test_vulnerabilities_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    vulnerable = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
    text = json.dumps({"dependencies": [vulnerable, {"name": "b", "version": "1", "vulns": []}]})
    lines = answered(monkeypatch, stdout=text, stderr="", returncode=1)
    assert lines == ["vulnerabilities: 1 known in 2 packages", "a 1: CVE-1, fixed in 2"]


def test_without_an_answer_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = answered(monkeypatch, stdout="", stderr="x\nConnectionError: no route", returncode=1)
    assert "could not reach the advisory database (ConnectionError: no route)" in line
    monkeypatch.setattr(report.shutil, "which", lambda name: None)
    assert "pip-audit is not installed" in report.audit()[0]


def test_the_command_never_fails() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "dependencies.py"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert "pip-audit is not installed" in done.stdout.splitlines()[-1]
