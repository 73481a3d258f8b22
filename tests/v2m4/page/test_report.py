"""The page as text: complete, safe, small enough, and never the end of a run."""

import json
import logging
import re
from pathlib import Path

import pytest

from tests.v2m4.page.results import make_result
from v2m4.config import Config
from v2m4.further_outputs import write_report_page
from v2m4.page import write_report
from v2m4.page.html import ASSETS, json_element
from v2m4.page.report import read_summary
from v2m4.page.sections import flattened
from v2m4.workspace import REPORT, Workspace

NAME = "ball <b> & é 球"
CONFIG = Config(skip=3, mesh=Path("a <b>.obj")).describe()
WARNINGS = [{"stage": "camera_search", "level": "warning", "message": "a < b & c"}]
STAGES = {"frames": {"state": "done", "seconds": 1.5, "peak_memory_mib": 200.0}, "export": {"state": "running"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = tmp_path_factory.mktemp("report") / NAME
    make_result(result, 4, config=CONFIG, warnings=WARNINGS, stages=STAGES, versions={"numpy": "9.8.7"})
    write_report(result)
    return result


def test_the_page_holds_everything_and_refers_to_nothing_outside(folder: Path) -> None:
    text = (folder / REPORT).read_text("utf-8")
    assert "<h1>ball &lt;b&gt; &amp; é 球</h1>" in text
    for part in (
        "a &lt; b &amp; c",
        "camera search",
        "9.8.7",
        "--skip",
        "User mesh a &lt;b&gt;.obj",
        "Mask IoU by frame",
    ):
        assert part in text
    assert re.findall(r"""(?:src|href)=["'](?!data:|#|["'])[^"']*""", text) == []
    assert not re.search(r"@import|url\(", text)
    assert len(re.findall("<script", text)) == len(re.findall("</script>", text))
    data = json.loads(re.search(r'id="data">(.*?)</script>', text).group(1))  # type: ignore[union-attr]
    assert data["names"] == ["000", "001", "002", "003"]
    assert len(data["pictures"]) == 4
    assert len(data["extrinsics"]) == 1


def test_only_changed_options_stand_in_the_first_table(folder: Path) -> None:
    text = (folder / REPORT).read_text("utf-8")
    first, others = text.split("All other options")
    changed = first.split("Options that differ")[1]
    assert "<code>--skip</code></td><td>3</td><td>5</td>" in changed
    assert "--max_faces" not in changed
    assert "<code>--max_faces</code>" in others


def test_the_figures_are_read_back(folder: Path, tmp_path: Path) -> None:
    summary = read_summary(folder / REPORT)
    assert set(summary) == {"mean_iou", "mean_psnr", "worst_stretch_99", "flagged_frames"}
    assert summary["mean_iou"] > 0.9
    (tmp_path / "other.html").write_text("<p>")
    assert read_summary(tmp_path / "other.html") == {}


def test_two_reports_are_the_same_bytes(folder: Path) -> None:
    before = (folder / REPORT).read_bytes()
    write_report(folder)
    assert (folder / REPORT).read_bytes() == before


def test_the_limit_of_size_holds_or_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("v2m4.page.report.MARGIN", 3000)
    make_result(tmp_path / "ball", 40)
    write_report(tmp_path / "ball")
    size = (tmp_path / "ball" / REPORT).stat().st_size
    assert "smaller copy" not in (tmp_path / "ball" / REPORT).read_text("utf-8")
    write_report(tmp_path / "ball", limit=size - 50_000)
    assert (tmp_path / "ball" / REPORT).stat().st_size < size - 50_000
    assert "smaller copy" in (tmp_path / "ball" / REPORT).read_text("utf-8")
    with pytest.raises(ValueError, match="fit"):
        write_report(tmp_path / "ball", limit=500_000)


def test_an_error_is_a_warning_and_the_run_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_result(tmp_path / "ball", 2)
    (tmp_path / "ball/001_rmbg.png").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        write_report_page(Workspace(tmp_path / "ball"), Config())
    (message,) = caplog.messages
    assert REPORT in message
    assert "001_rmbg.png" in message
    assert not (tmp_path / "ball" / REPORT).exists()


def test_the_option_leaves_it_out_and_the_figures_go_into_the_manifest(tmp_path: Path) -> None:
    make_result(tmp_path / "ball", 2)
    (tmp_path / "ball" / REPORT).write_text("of an earlier run")
    write_report_page(Workspace(tmp_path / "ball"), Config(report="off"))
    assert not (tmp_path / "ball" / REPORT).exists()
    write_report_page(Workspace(tmp_path / "ball"), Config())
    assert Workspace(tmp_path / "ball").manifest["figures"] == read_summary(tmp_path / "ball" / REPORT)


def test_what_is_not_an_animation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no output_animation\.glb"):
        write_report(tmp_path)


def test_scripts_and_data_cannot_end_their_element_early() -> None:
    for file in ASSETS.glob("*.js"):
        assert "</script" not in file.read_text("utf-8").lower()
    assert "</script><b>" not in json_element("x", "</script><b>\u2028").removesuffix("</script>")
    assert "Copyright" in (ASSETS / "three.LICENSE.txt").read_text("utf-8")


def test_the_lock_of_the_bundle_names_no_registry() -> None:
    text = (ASSETS.parent / "build/package-lock.json").read_text("utf-8")
    assert re.findall(r'"resolved": "(?!https://registry\.npmjs\.org/)', text) == []
    wanted = json.loads((ASSETS.parent / "build/package.json").read_text("utf-8"))["devDependencies"]
    assert json.loads(text)["packages"]["node_modules/three"]["version"] == wanted["three"]


def test_nested_options_become_one_level() -> None:
    assert flattened({"a": 1, "b": {"c": (1, 2), "d": {"e": None}}}) == {"a": 1, "b.c": [1, 2], "b.d.e": None}
