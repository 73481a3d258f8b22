"""The page on the use from Python: its code runs as it stands."""

import re
from pathlib import Path

import pytest

from data_preparation_tools import make_examples

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/library.md").read_text("utf-8")


def test_the_page_has_one_block_of_about_ten_lines() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert 8 <= len(block.splitlines()) <= 14
    compile(block, "library.md", "exec")


@pytest.mark.slow
def test_the_code_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (command,) = re.findall(r"`python data_preparation_tools/make_examples\.py ([^`]*)`", PAGE)
    monkeypatch.chdir(tmp_path)
    assert make_examples.main(command.split()) == 0
    names: dict[str, object] = {}
    exec(compile(block, "library.md", "exec"), names)
    assert names["sequence"].vertices.shape[0] == 6  # type: ignore[attr-defined]
    assert re.search(r"^6 poses of \d+ faces$", capsys.readouterr().out, re.MULTILINE)
    assert (tmp_path / "results/waving_robot/output_animation.glb").is_file()
