"""Artefacts: fresh, stale, killed half-way."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from v2m4.workspace import Workspace, atomic, code_version, digest, folder_version


def test_arrays_are_made_once_and_again_when_the_key_changes(tmp_path: Path) -> None:
    made = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"a": np.arange(3.0) * len(made)}

    first = Workspace(tmp_path).make_arrays("s/x.npz", "k1", make)
    assert first["a"].tolist() == [0, 1, 2]
    assert Workspace(tmp_path).make_arrays("s/x.npz", "k1", make)["a"].tolist() == [0, 1, 2]
    assert Workspace(tmp_path).make_arrays("s/x.npz", "k2", make)["a"].tolist() == [0, 2, 4]
    assert Workspace(tmp_path, overwrite=True).make_arrays("s/x.npz", "k2", make)["a"].tolist() == [0, 3, 6]


def test_deleted_or_cut_files_are_made_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.make_file("x.bin", "k", lambda path: path.write_bytes(b"whole"))
    (tmp_path / "x.bin").write_bytes(b"cut")
    assert not Workspace(tmp_path).fresh("x.bin", "k")
    (tmp_path / "x.bin").unlink()
    assert not Workspace(tmp_path).fresh("x.bin", "k")


def test_many_files_of_one_key_are_written_where_stale(tmp_path: Path) -> None:
    names, written = [f"{index}.bin" for index in range(7)], []

    def write(index: int, path: Path) -> None:
        written.append(index)
        path.write_bytes(bytes([index]))

    Workspace(tmp_path).make_files(names, "k1", write, threads=3)
    assert sorted(written) == list(range(7))
    assert [(tmp_path / name).read_bytes() for name in names] == [bytes([index]) for index in range(7)]
    (tmp_path / "4.bin").unlink()
    Workspace(tmp_path).make_files(names, "k1", write, threads=3)
    assert written[7:] == [4]
    assert all(Workspace(tmp_path).fresh(name, "k1") for name in names)
    Workspace(tmp_path).make_files(names, "k2", write, threads=3)
    assert len(written) == 15


def test_files_written_by_a_run_that_was_killed_do_not_pass_for_the_old_ones(tmp_path: Path) -> None:
    Workspace(tmp_path).make_files(["a", "b"], "old", lambda _, path: path.write_bytes(b"old"), threads=1)

    def killed(index: int, path: Path) -> None:
        if index:
            raise KeyboardInterrupt
        path.write_bytes(b"new")  # as long as before

    with pytest.raises(KeyboardInterrupt):
        Workspace(tmp_path).make_files(["a", "b"], "new", killed, threads=1)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert not Workspace(tmp_path).fresh("a", "old")


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text("old")
    with pytest.raises(RuntimeError, match="full"), atomic(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError("full")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_a_failed_stage_says_why_and_leftovers_are_swept(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(KeyError), workspace.stage("generation"):
        raise KeyError("no mesh")
    entry = json.loads((tmp_path / "manifest.json").read_text())["stages"]["generation"]
    assert entry["state"] == "failed"
    assert "no mesh" in entry["reason"]
    (tmp_path / ".y.1.part.npz").write_bytes(b"")
    Workspace(tmp_path)
    assert not (tmp_path / ".y.1.part.npz").exists()


def test_digest_tells_values_dtypes_and_shapes_apart() -> None:
    array = np.arange(6.0)
    same = digest(array, {"b": 1, "a": 2}, "x")
    assert same == digest(array.copy(), {"a": 2, "b": 1}, "x")
    others = [
        digest(array.reshape(2, 3), {"b": 1, "a": 2}, "x"),
        digest(array.astype(np.float32), {"b": 1, "a": 2}, "x"),
        digest(array, {"b": 1, "a": 3}, "x"),
        digest(array, {"b": 1, "a": 2}, "y"),
    ]
    assert len({same, *others}) == 5


def test_code_version_differs_between_rooms() -> None:
    assert code_version("texture") != code_version("registration")
    assert code_version("texture") == code_version("texture", "v2m4")
    assert folder_version("v2m4", "texture") == code_version("texture")
    assert folder_version("v2m4/io") not in (folder_version("v2m4"), folder_version("v2m4/render"))
