"""Artefacts: fresh, stale, killed half-way."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from v2m4.workspace import MissingResultError, Redo, Workspace, atomic, code_version, digest, folder_version


def test_arrays_are_made_once_and_again_when_the_key_changes(tmp_path: Path) -> None:
    made = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"a": np.arange(3.0) * len(made)}

    first = Workspace(tmp_path).make_arrays("s/x.npz", "k1", make)
    assert first["a"].tolist() == [0, 1, 2]
    assert Workspace(tmp_path).make_arrays("s/x.npz", "k1", make)["a"].tolist() == [0, 1, 2]
    assert Workspace(tmp_path).make_arrays("s/x.npz", "k2", make)["a"].tolist() == [0, 2, 4]
    assert Workspace(tmp_path, redo=Redo("--overwrite")).make_arrays("s/x.npz", "k2", make)["a"].tolist() == [0, 3, 6]


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


def test_a_changed_file_of_equal_size_is_made_again_and_a_copied_folder_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = []

    def write(path: Path) -> None:
        made.append(path)
        path.write_bytes(b"whole")

    first, second = tmp_path / "first", tmp_path / "second"
    Workspace(first).make_file("x.bin", "k", write)
    shutil.copytree(first, second, copy_function=shutil.copy)  # new times
    os.utime(second / "x.bin", (1, 1))
    Workspace(second).make_file("x.bin", "k", write)
    assert len(made) == 1 and not caplog.records
    (second / "x.bin").write_bytes(b"WHOLE")
    Workspace(second).make_file("x.bin", "k", write)
    assert len(made) == 2 and (second / "x.bin").read_bytes() == b"whole"
    assert [record.getMessage() for record in caplog.records] == [
        f"{second / 'x.bin'}: changed or damaged since it was written; made again"
    ]


def test_damaged_arrays_of_equal_size_and_time_are_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def make() -> dict[str, np.ndarray]:
        return {"a": np.arange(1000.0)}

    Workspace(tmp_path).make_arrays("x.npz", "k", make)
    file, time = tmp_path / "x.npz", (tmp_path / "x.npz").stat().st_mtime_ns
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)
    os.utime(file, ns=(time, time))
    np.testing.assert_array_equal(Workspace(tmp_path).make_arrays("x.npz", "k", make)["a"], np.arange(1000.0))
    assert "x.npz: damaged" in caplog.text
    assert np.load(file)["a"].shape == (1000,)


@pytest.mark.parametrize("damage", ["{", "[]", '{"artefacts": {"x.bin": 3}}', '{"stages": 1}', "\x00" * 50])
def test_a_damaged_manifest_is_replaced_by_its_copy_of_the_last_stage(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = Workspace(tmp_path)
    with workspace.stage("generation"):
        workspace.make_file("x.bin", "k", lambda path: path.write_bytes(b"whole"))
    (tmp_path / "manifest.json").write_text(damage)
    resumed = Workspace(tmp_path)
    assert resumed.fresh("x.bin", "k")
    assert "its copy from the end of the last stage is used" in caplog.text
    (tmp_path / ".manifest.backup.json").unlink()
    with pytest.raises(ValueError, match=r"damaged .*; delete it or use --overwrite"):
        Workspace(tmp_path)
    assert (tmp_path / "manifest.json").read_text() == damage  # it may be another program's
    assert not Workspace(tmp_path, redo=Redo("--overwrite")).fresh("x.bin", "k")


def test_a_redo_forgets_its_stages_once_also_where_it_is_interrupted(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for stage in ("generation", "registration"):
        with workspace.stage(stage):
            workspace.make_file(stage, "k", lambda path: path.write_bytes(b"whole"))
    partial = tmp_path / "3_registration" / "driven_partial"
    partial.mkdir(parents=True)
    redo = Redo("--from_stage 2", frozenset({"camera_search", "registration"}))
    workspace = Workspace(tmp_path, redo=redo)
    assert workspace.fresh("generation", "k") and not workspace.fresh("registration", "k") and not partial.exists()
    with workspace.stage("registration"):
        workspace.make_file("registration", "k", lambda path: path.write_bytes(b"again"))
    workspace = Workspace(tmp_path, redo=redo)  # the run before was killed
    assert workspace.fresh("registration", "k")
    workspace.finish()
    assert not Workspace(tmp_path, redo=redo).fresh("registration", "k")
    assert Workspace(tmp_path, redo=Redo("--overwrite")).manifest["artefacts"] == {}


def test_arrays_of_a_required_stage_are_not_computed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.required = frozenset({"generation"})
    with workspace.stage("camera_search"):
        workspace.make_arrays("y.npz", "k", lambda: {"a": np.zeros(1)})
    with pytest.raises(MissingResultError, match=r"x\.npz.*--until_stage"), workspace.stage("generation"):
        workspace.make_arrays("x.npz", "k", lambda: {"a": np.zeros(1)})
    assert not list(tmp_path.glob("*x.npz"))


def test_a_failure_on_a_full_disk_is_that_of_the_work_not_of_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)

    def refuse(durable: bool = False) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="of the work"), workspace.stage("generation"):
        monkeypatch.setattr(workspace, "save_manifest", refuse)
        raise OSError(errno.ENOSPC, "of the work")
    assert json.loads((tmp_path / "manifest.json").read_text())["stages"]["generation"]["state"] == "running"
