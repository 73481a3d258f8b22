"""Texts of any encoding: decoded so that the files they name are found."""

import codecs

import pytest

from v2m4.io._text_encoding import decode_text, printable, split_lines

LINES = "newmtl {0}\nmap_Kd {0}.png\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["skin", "贴图", "Körper"])
def test_unicode_needs_no_hint(encoding: str, name: str) -> None:
    data = LINES.format(name).encode(encoding)
    assert decode_text(data).text == LINES.format(name)
    if encoding == "utf-16-be":
        assert decode_text(codecs.BOM_UTF16_BE + data).text == LINES.format(name)


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("gbk", "红色机器人"),
        ("gb18030", "贴图㐀"),
        ("cp932", "テクスチャ"),
        ("cp949", "텍스처"),
        ("big5", "貼圖"),
        ("cp1252", "Körper"),
        ("cp1251", "Текстура"),
        ("cp1250", "kůže"),
        ("latin-1", "piña"),
    ],
)
def test_the_named_file_decides(encoding: str, name: str) -> None:
    text = LINES.format(name)
    decoded = decode_text(text.encode(encoding), lambda candidate: f"{name}.png" in candidate)
    assert decoded.text == text
    assert decoded.raw(name) == name.encode(encoding)


def test_without_a_file_the_likely_family_is_taken() -> None:
    assert decode_text(LINES.format("Körper").encode("cp1252")).encoding == "cp1252"
    assert decode_text(LINES.format("贴图").encode("gbk")).text == LINES.format("贴图")


def test_names_on_the_disk_that_are_no_text_are_found() -> None:
    data = b"map_Kd \xff\xd5\xb3.png\n"
    as_python_lists_it = data.decode("utf-8", "surrogateescape")
    decoded = decode_text(data, lambda candidate: candidate.strip() == as_python_lists_it.strip())
    assert decoded.text == as_python_lists_it and decoded.raw(decoded.text) == data
    assert printable(decoded.text).encode("utf-8")


def test_only_ends_of_lines_split() -> None:
    assert split_lines("a\nb\r\nc\rd\x0be\x85f") == ["a", "b", "c", "d\x0be\x85f"]
    assert decode_text(b"").text == ""
