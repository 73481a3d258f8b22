"""Work on a node: --overwrite after an interruption, errors with the node's name, results that do not arrive."""

import logging
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from tests.v2m4.engines import works
from v2m4.config import FAST
from v2m4.console import Outcome
from v2m4.engines import node
from v2m4.engines.events import Event, has_ended_a_stage, sender_to
from v2m4.engines.task import Task, name_of
from v2m4.io.sources import Source


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize("ended", [False, True])
def test_overwrite_holds_until_a_stage_has_ended(ended: bool, tmp_path: Path) -> None:
    file = tmp_path / "events"
    assert not has_ended_a_stage(file)
    sender_to(file)(Event("a", level=logging.WARNING, message="odd"))
    sender_to(file)(Event("a", "frames", seconds=1.0 if ended else None))
    file.write_bytes(file.read_bytes() + b'{"animation": ')
    assert has_ended_a_stage(file) == ended
    config = replace(FAST, output=tmp_path, overwrite=True, threads=1)
    task = Task(Source("a", tmp_path, "folder", 1), config, name_of(works.overwriting), "registration", 1)
    outcome = node.perform_on_node(task, str(tmp_path / "events"))
    assert outcome.error == f"ValueError: overwrite {not ended} (on {platform.node()})"


def test_a_result_that_is_not_here_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "PATIENCE", 0.0)
    here = Outcome("a", 1, tmp_path)
    assert node.arrived(here) is here
    assert node.arrived(Outcome("a", 1, error="bad")).error == "bad"
    elsewhere = node.arrived(Outcome("a", 1, tmp_path / "none.glb"))
    assert elsewhere.result is None
    assert "--output that all share" in str(elsewhere.error)
