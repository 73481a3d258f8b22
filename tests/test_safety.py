"""What foreign files and names must never do: run code, reach files elsewhere, or make the program use the network."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.bad_input.table import clip
from v2m4.export import read_cameras
from v2m4.io.names import safe_name
from v2m4.io.picture import MAX_PIXELS

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("v2m4", "generators", "camera_search", "registration", "texture", "motion324", "evaluation")
SOURCES = sorted(
    path
    for place in (*ROOMS, "data_preparation_tools", ".ci")
    for path in (ROOT / place).rglob("*.py")
    if "node_modules" not in path.parts
) + sorted(ROOT.glob("*.py"))
SAFE_IF = {  # calls that are safe with this argument alone
    ("torch", "load"): ("weights_only", True),
    ("np", "load"): ("allow_pickle", False),
    ("numpy", "load"): ("allow_pickle", False),
}
UNPICKLING = {"load", "loads", "Unpickler", "_Unpickler", "_load", "_loads"}
NEVER = {
    *(("pickle", name) for name in UNPICKLING),
    *(("marshal", name) for name in UNPICKLING),
    *(("yaml", name) for name in ("load", "load_all", "unsafe_load", "full_load", "Loader", "UnsafeLoader")),
    *(("joblib", "load"), ("shelve", "open"), ("dill", "load"), ("cloudpickle", "load"), ("torch.jit", "load")),
    *(("os", "system"), ("os", "popen"), ("subprocess", "getoutput"), ("subprocess", "getstatusoutput")),
    *(("", "eval"), ("", "exec")),
}
ALLOWED = {
    ("generators/_checkpoint.py", "pickle.Unpickler"),  # the one that resolves nothing but tensors and containers
    ("evaluation/backbones.py", "torch.jit.load"),  # CLIP's published file; TorchScript runs in its own interpreter
}
NETWORK = {"urllib.request", "requests", "socket", "http", "http.client", "ftplib", "httpx", "aiohttp", "urllib3"}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def dotted(node: ast.expr) -> tuple[str, str]:
    """What is called: its module as written, and its name."""
    if isinstance(node, ast.Attribute):
        return ast.unparse(node.value), node.attr
    return "", node.id if isinstance(node, ast.Name) else ""


def keyword(call: ast.Call, name: str) -> object:
    found = next((each.value for each in call.keywords if each.arg == name), None)
    return found.value if isinstance(found, ast.Constant) else None


def violations(path: Path) -> list[str]:
    """The lines of a source that unpickle, evaluate or run a shell."""
    name, found = path.relative_to(ROOT).as_posix(), []
    nodes = list(ast.walk(parsed(path)))
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        module, function = dotted(call.func)
        wanted = SAFE_IF.get((module, function))
        if (
            (wanted is not None and keyword(call, wanted[0]) is not wanted[1])
            or ((module, function) in NEVER and (name, f"{module}.{function}") not in ALLOWED)
            or keyword(call, "shell") is True
            or keyword(call, "allow_pickle") is True
        ):
            found.append(f"{name}:{call.lineno}: {ast.unparse(call)[:80]}")
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and any((node.module, each.name) in NEVER for each in node.names):
            found.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.ClassDef) and any(dotted(base) in NEVER for base in node.bases):
            base = next(".".join(dotted(base)) for base in node.bases if dotted(base) in NEVER)
            if (name, base) not in ALLOWED:
                found.append(f"{name}:{node.lineno}: class {node.name}({base})")
    return found


def test_nothing_is_unpickled_evaluated_or_given_to_a_shell() -> None:
    assert len(SOURCES) > 300
    assert [line for path in SOURCES for line in violations(path)] == []


@pytest.mark.parametrize(
    "line",
    [
        "import torch; torch.load('x')",
        "torch.load('x', weights_only=False)",
        "np.load('x')",
        "np.load('x', allow_pickle=True)",
        "pickle.load(file)",
        "class A(pickle.Unpickler): pass",
        "from pickle import loads",
        "yaml.load(text)",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
        "eval(text)",
    ],
)
def test_the_scan_sees_violations(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "a.py").write_text(line)
    assert violations(tmp_path / "a.py")
    (tmp_path / "a.py").write_text("torch.load('x', weights_only=True); np.load('x', allow_pickle=False)")
    assert violations(tmp_path / "a.py") == []


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(parsed(path)))
    names = {each.name for node in nodes if isinstance(node, ast.Import) for each in node.names}
    return names | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_no_module_opens_connections_itself() -> None:
    """Weights are fetched by huggingface_hub and torch.hub, both with ``--download`` alone."""
    found = {path.relative_to(ROOT).as_posix(): imported(path) & NETWORK for path in SOURCES}
    assert {path: names for path, names in found.items() if names} == {}


OFFLINE = """
import sys
def refuse(event, arguments):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "socket.gethost", "socket.sendto", "urllib.Request")):
        print("NETWORK", event, arguments, file=sys.stderr)
        raise OSError("no network in this test")
sys.addaudithook(refuse)
import main
sys.exit(main.main(sys.argv[1:]))
"""


def test_import_and_a_tiny_run_use_no_network(tmp_path: Path) -> None:
    clip(tmp_path / "in", 2)
    tiny = "--model Inflate --baseline --device cpu --threads 1 --max_faces 200 --generation.grid 32"
    command = [sys.executable, "-c", OFFLINE, "--root", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    environment = os.environ | {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"}
    done = subprocess.run(
        [*command, *tiny.split()], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "NETWORK" not in done.stderr
    assert len(list((tmp_path / "out" / "clip").glob("*_baseline_sample.glb"))) == 2


@pytest.mark.parametrize(
    "name", ["..", ".", "../x", "/etc/passwd", "a/b", "a\\b", "C:x", "", "\0", "a\n", "con", "\udcff"]
)
def test_names_are_names_of_files_in_their_folder(name: str, tmp_path: Path) -> None:
    safe = safe_name(name)
    (tmp_path / safe).write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == [safe]
    assert safe_name(safe) == safe


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", 3])
def test_cameras_do_not_name_files_elsewhere(name: object, tmp_path: Path) -> None:
    """Pictures are written under the names of their frames."""
    frame = {"name": name, "extrinsics": np.eye(4).tolist()}
    (tmp_path / "cameras.json").write_text(json.dumps({"fov": 0.7, "aspect": 1, "fps": 10, "frames": [frame]}))
    with pytest.raises(ValueError, match=r"cameras\.json: not a cameras\.json of this program"):
        read_cameras(tmp_path / "cameras.json")


def test_both_decoders_of_pictures_have_one_limit() -> None:
    assert Image.MAX_IMAGE_PIXELS == MAX_PIXELS == int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])
