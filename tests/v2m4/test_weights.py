"""Packages and weights of learned parts, without any of them."""

import importlib
import os
import sys
from dataclasses import replace

import pytest

from v2m4 import weights
from v2m4.config import FAST
from v2m4.weights import Package, Unavailable, Weights

WEIGHTS = Weights("owner/Model-1", ("part/config.yaml", "part/model.safetensors"))


@pytest.fixture(autouse=True)
def no_cache_of_ones_own(monkeypatch):
    monkeypatch.setattr(weights, "_cached", lambda *_: [])


def _put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"12345")


def test_a_missing_package_is_named_with_its_command():
    weights.require_packages([Package("numpy", "pip install numpy")])
    with pytest.raises(Unavailable, match=r"no_such_thing is not installed; pip install no_such_thing==1\.0"):
        weights.require_packages([Package("no_such_thing", "pip install no_such_thing==1.0")])


@pytest.mark.parametrize("below", ["owner/Model-1", "Model-1"])
def test_weights_are_found_in_the_users_folder(tmp_path, below):
    config = replace(FAST, weights_dir=tmp_path)
    _put(tmp_path / below, WEIGHTS.files[0])
    assert weights.find_weights(WEIGHTS, config) is None  # half a copy is none
    _put(tmp_path / below, WEIGHTS.files[1])
    assert weights.find_weights(WEIGHTS, config) == (tmp_path / below).resolve()
    elsewhere = replace(WEIGHTS, places=(tmp_path / below,))
    assert weights.find_weights(elsewhere, FAST) == (tmp_path / below).resolve()


def test_a_copy_is_found_by_its_path(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_cached", lambda *_: pytest.fail("a path is no repository of the hub"))
    copy = replace(WEIGHTS, repository=str(tmp_path / "mine"))
    with pytest.raises(Unavailable, match=r"weights of /.*mine are missing: put part/config\.yaml"):
        weights.require_weights(copy, FAST)
    _put(tmp_path / "mine", *WEIGHTS.files)
    for config in (FAST, replace(FAST, weights_dir=tmp_path)):
        assert weights.find_weights(copy, config) == (tmp_path / "mine").resolve()


def test_weights_are_found_in_the_cache(tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.undo()
    snapshot = tmp_path / "models--owner--Model-1/snapshots/abc"
    _put(snapshot, *WEIGHTS.files)
    _put(tmp_path / "models--owner--Model-1", "refs/main")
    (tmp_path / "models--owner--Model-1/refs/main").write_text("abc")
    assert weights.find_weights(WEIGHTS, replace(FAST, weights_dir=tmp_path)) == snapshot.resolve()
    (snapshot / WEIGHTS.files[1]).unlink()
    assert weights.find_weights(WEIGHTS, replace(FAST, weights_dir=tmp_path)) is None


def test_missing_weights_are_told_in_one_line(tmp_path):
    _put(tmp_path / "owner/Model-1", WEIGHTS.files[0])
    with pytest.raises(Unavailable) as told:
        weights.require_weights(WEIGHTS, replace(FAST, weights_dir=tmp_path))
    message = str(told.value)
    assert "weights of owner/Model-1 are missing" in message and "\n" not in message
    assert "part/model.safetensors" in message and "config.yaml" not in message  # what is missing, not what is there
    assert str(tmp_path / "owner/Model-1") in message and "--download" in message
    with pytest.raises(Unavailable, match="--weights_dir FOLDER"):
        weights.require_weights(WEIGHTS, FAST)
    with pytest.raises(Unavailable, match="no such folder"):
        weights.require_weights(WEIGHTS, replace(FAST, weights_dir=tmp_path / "nowhere"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub's client that notes what it is asked for."""
    (tmp_path / "client" / "huggingface_hub").mkdir(parents=True)
    (tmp_path / "client" / "huggingface_hub" / "__init__.py").write_text(
        "asked = []\n"
        "def snapshot_download(repo_id, allow_patterns=None, local_dir=None):\n"
        "    asked.append((repo_id, allow_patterns, local_dir))\n"
        "    for name in ('part/config.yaml', 'part/model.safetensors'):\n"
        "        (local_dir / name).parent.mkdir(parents=True, exist_ok=True)\n"
        "        (local_dir / name).write_text('x')\n"
        "    return str(local_dir)\n"
    )
    (tmp_path / "client" / "huggingface_hub" / "constants.py").write_text("HF_HUB_OFFLINE = False\n")
    monkeypatch.syspath_prepend(tmp_path / "client")
    for name in [name for name in sys.modules if name.split(".")[0] == "huggingface_hub"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    yield importlib.import_module("huggingface_hub"), importlib.import_module("huggingface_hub.constants")
    for name in ("huggingface_hub", "huggingface_hub.constants"):
        sys.modules.pop(name, None)


def test_nothing_is_fetched_unless_the_user_says_so(tmp_path, hub):
    client, constants = hub
    config = replace(FAST, weights_dir=tmp_path, download=True)
    weights.require_weights(WEIGHTS, config)  # may be fetched, so nothing is wrong yet
    folder = weights.get_weights(WEIGHTS, config)
    assert client.asked == [("owner/Model-1", ["*"], tmp_path / "owner/Model-1")]
    assert weights.get_weights(WEIGHTS, replace(config, download=False)) == folder
    assert len(client.asked) == 1
    assert not constants.HF_HUB_OFFLINE  # nothing is left behind


@pytest.mark.parametrize("before", [None, "0", "1"])
@pytest.mark.parametrize("imported", [True, False])
def test_hub_is_offline_within_and_as_before_afterwards(hub, monkeypatch, before, imported):
    _, constants = hub
    constants.HF_HUB_OFFLINE = before == "1"
    if before is None:
        monkeypatch.delenv("HF_HUB_OFFLINE")
    else:
        monkeypatch.setenv("HF_HUB_OFFLINE", before)
    if not imported:
        monkeypatch.delitem(sys.modules, "huggingface_hub.constants")
    with pytest.raises(KeyError), weights.hub_offline():
        assert os.environ["HF_HUB_OFFLINE"] == "1"
        if not imported:  # the owner's code imports the client, which reads the variable
            constants.HF_HUB_OFFLINE = True
            sys.modules["huggingface_hub.constants"] = constants
        assert constants.HF_HUB_OFFLINE
        raise KeyError
    assert os.environ.get("HF_HUB_OFFLINE") == before
    assert (before == "1") == constants.HF_HUB_OFFLINE


def test_a_failed_fetch_keeps_its_cause(tmp_path, hub, monkeypatch):
    def refuse(*arguments, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr(hub[0], "snapshot_download", refuse)
    with pytest.raises(Unavailable, match="owner/Model-1 could not be fetched") as told:
        weights.get_weights(WEIGHTS, replace(FAST, weights_dir=tmp_path, download=True))
    assert isinstance(told.value.__cause__, ConnectionError)


def test_other_weights_have_another_fingerprint(tmp_path):
    _put(tmp_path, *WEIGHTS.files)
    first = weights.fingerprint("a", tmp_path, WEIGHTS.files)
    assert first == weights.fingerprint("a", tmp_path, [*WEIGHTS.files, "not there"])
    assert first == weights.fingerprint("a", tmp_path, ["part"])
    (tmp_path / WEIGHTS.files[1]).write_bytes(b"123456")
    assert first != weights.fingerprint("a", tmp_path, WEIGHTS.files)
    assert weights.fingerprint("b", tmp_path, ["part"]) != weights.fingerprint("a", tmp_path, ["part"])


def test_installed_does_not_import():
    assert weights.installed("numpy")
    assert not weights.installed("no_such_package_anywhere")
