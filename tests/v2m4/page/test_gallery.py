"""The gallery and its command."""

import json
import logging
from pathlib import Path

import pytest

import view
from tests.v2m4.page.results import make_result
from v2m4.workspace import REPORT


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gallery")
    make_result(root / "ball 10", 3, motion={"lost": {"1": "x"}, "iou": []})
    make_result(root / "ball 2 é#?", 2)
    (root / "broken").mkdir()
    failed = {"stages": {"camera_search": {"state": "failed", "seconds": 2.0}}, "artefacts": {}}
    (root / "broken/manifest.json").write_text(json.dumps(failed))
    return root


def test_every_animation_is_listed_and_missing_reports_are_made(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert view.main([str(results), "--no-open"]) == 0
    assert capsys.readouterr().out.strip() == str(results / "index.html")
    text = (results / "index.html").read_text("utf-8")
    assert text.index("ball 2 é#?") < text.index("ball 10") < text.index("broken")
    assert 'href="ball%202%20%C3%A9%23%3F/report.html"' in text
    assert (results / "ball 10" / REPORT).is_file()
    assert "broken/report.html" not in text
    assert "<dt>failed in</dt><dd>camera search</dd>" in text
    assert "<dd>1 frames</dd>" in text
    assert text.count("<img") == 2


def test_reports_are_made_anew_only_when_asked(results: Path) -> None:
    assert view.main([str(results), "--no-open"]) == 0
    file = results / "ball 10" / REPORT
    first = file.stat().st_mtime_ns
    assert view.main([str(results), "--no-open"]) == 0
    assert file.stat().st_mtime_ns == first
    assert view.main([str(results), "--no-open", "--remake"]) == 0
    assert file.stat().st_mtime_ns > first


def test_one_animations_folder_gives_its_report(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(view.webbrowser, "open", lambda address: opened.append(address) or True)
    assert view.main([str(results / "ball 10")]) == 0
    assert opened == [(results / "ball 10" / REPORT).as_uri()]


def test_without_results_one_line_and_exit_code_two(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert view.main([str(tmp_path), "--no-open"]) == 2
        assert view.main([str(tmp_path / "nothing"), "--no-open"]) == 2
    assert len(caplog.messages) == 2
    assert "no results in it" in caplog.messages[0]
    assert "no such folder" in caplog.messages[1]
    assert not (tmp_path / "index.html").exists()


def test_a_damaged_animation_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_result(tmp_path / "ball", 2)
    (tmp_path / "ball/output_animation.glb").write_bytes(b"glTF")
    with caplog.at_level(logging.WARNING):
        assert view.main([str(tmp_path), "--no-open"]) == 0
    assert any("was not written" in message for message in caplog.messages)
    assert "report.html" not in (tmp_path / "index.html").read_text("utf-8")
