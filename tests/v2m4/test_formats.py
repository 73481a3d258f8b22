"""The list of --formats, and what is refused before any work."""

from dataclasses import replace
from pathlib import Path

import pytest

from v2m4.config import FAST, parse
from v2m4.formats import need_blender, parse_formats
from v2m4.io.blender_install import Blender
from v2m4.preflight import formats
from v2m4.weights import Unavailable


@pytest.fixture
def no_blender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_blender", lambda: None)


def test_the_list_is_read_in_one_order_with_glb_always() -> None:
    assert parse_formats("glb") == ("glb",)
    assert parse_formats("ply, OBJ,.fbx") == ("glb", "fbx", "obj", "ply")
    assert need_blender(parse_formats("usdz,abc,obj")) == ["usdz", "abc"]
    assert parse(["--formats", "obj,ply"]).format_names == ("glb", "obj", "ply")


@pytest.mark.parametrize(
    ("text", "near"), [("fbxx", "did you mean fbx"), ("udsz", "did you mean usdz"), ("q", "known")]
)
def test_an_unknown_format_is_named_with_the_nearest(text: str, near: str) -> None:
    with pytest.raises(ValueError, match=rf"no format '{text}'.*{near}"):
        parse_formats(f"glb,{text}")
    with pytest.raises(Unavailable, match=rf"^--formats glb,{text}: no format"):
        formats.resolve(replace(FAST, formats=f"glb,{text}"))


@pytest.mark.usefixtures("no_blender")
def test_without_blender_its_formats_are_refused_and_the_others_are_not() -> None:
    with pytest.raises(Unavailable, match=r"--formats fbx,abc: needs Blender; .*--blender_path.*blender install"):
        formats.resolve(replace(FAST, formats="abc,fbx,obj"))
    assert formats.resolve(FAST).formats == "glb"
    assert formats.resolve(replace(FAST, formats="obj,ply")).formats == "glb,obj,ply"
    assert formats.resolve(FAST).blender_path is None


@pytest.mark.usefixtures("no_blender")
def test_a_given_blender_alone_asks_for_three_formats(tmp_path: Path) -> None:
    assert formats.resolve(replace(FAST, blender_path=tmp_path)).format_names == ("glb", "fbx", "usd", "abc")
    only = formats.resolve(replace(FAST, blender_path=tmp_path, formats="glb"))
    assert only.format_names == ("glb",) and only.blender_path == tmp_path
    with pytest.raises(Unavailable, match=r"--blender_path .*nowhere: no such file or folder"):
        formats.resolve(replace(FAST, blender_path=tmp_path / "nowhere"))


def test_a_found_blender_is_used_and_asks_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_blender", lambda: Blender(tmp_path, "PATH"))
    resolved = formats.resolve(FAST)
    assert resolved.format_names == ("glb",) and resolved.blender_path == tmp_path
    again = formats.resolve(formats.resolve(replace(FAST, formats="usdz")))
    assert again.format_names == ("glb", "usdz") and again.blender_path == tmp_path
    monkeypatch.setattr(
        formats, "find_blender", lambda: Blender(tmp_path / "gone", "environment variable V2M4_BLENDER")
    )
    with pytest.raises(Unavailable, match=r"environment variable V2M4_BLENDER .*gone: no such file"):
        formats.resolve(replace(FAST, formats="fbx"))
    assert formats.resolve(FAST).blender_path is None
