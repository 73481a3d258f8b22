"""Options that are unknown, malformed, out of range or exclude each other."""

from pathlib import Path

import pytest
import torch

from tests.bad_input.table import Case, nothing, run
from v2m4.command_line import check_arguments, option_types
from v2m4.config import FAST, PAPER, Config, parse
from v2m4.preflight import ranges


class _Bomb:
    """What a hostile pickle would run."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("it_ran"),))


def checkpoint(name: str, content: object) -> object:
    def write(root: Path) -> None:
        if isinstance(content, bytes):
            (root / name).write_bytes(content)
        else:
            torch.save(content, root / name, _use_new_zipfile_serialization=name.endswith(".pt"))

    return write


def refused(line: str, says: str) -> Case:
    return Case(line, nothing, 2, says, tuple(line.split()))


def with_checkpoint(name: str, content: object, says: str) -> Case:
    options = ("--motion", "feedforward", "--checkpoint", f"{{root}}/{name}")
    return Case(f"checkpoint {name}", checkpoint(name, content), 2, says, options)


HEADER = b'{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4]}}'
CASES = [
    refused("--skipp 3", "^E --skipp: no such option; did you mean --skip"),
    refused("--samples 3", "did you mean --search.samples"),
    refused("--search.simlarity agreement", "did you mean --search.similarity"),
    refused("--nonsense 1", "^E --nonsense: no such option; --help lists them all"),
    refused("clips", "^E clips: belongs to no option"),
    refused("--model prior", "^E --model prior: not known; did you mean Prior. known are Inflate, Hunyuan"),
    refused("--model Hunyan", "did you mean Hunyuan"),
    refused("--preset fats", "did you mean fast"),
    refused("--device gpu", "--device gpu: not known; .*known are auto, cpu, cuda"),
    refused("--frames.foreground=rmbg", "did you mean rembg"),
    refused("--search.similarity dreamsm", "did you mean dreamsim"),
    refused("--formats glbb", "no format 'glbb'; did you mean glb"),
    refused("--skip", "^E --skip: its value is missing"),
    refused("--skip --overwrite", "^E --skip: its value is missing"),
    refused("--skip five", "--skip five: must be a whole number"),
    refused("--skip 2.5", "--skip 2.5: must be a whole number"),
    refused("--tolerance x", "--tolerance x: must be a number"),
    refused("--fov wide", "--fov wide: not known; known are auto or a number"),
    refused("--frames.sam2_box 0 0 1", "--frames.sam2_box: its value is missing"),
    refused("--skip 0", "--skip 0: must be at least 1"),
    refused("--N 2 --n 2", "--N 2 --n 2: n must lie between 0 and N - 1"),
    refused("--N 0", "--N 0 --n 0"),
    refused("--n -1", "--n -1"),
    refused("--threads -1", "--threads -1: must be at least 0"),
    refused("--seed -1", "--seed -1: must be from 0 to"),
    refused("--seed 99999999999999999999", "--seed 1e.20: must be from 0 to 9"),
    refused("--max_faces 3", "--max_faces 3: must be at least 200"),
    refused("--fov 4", "--fov 4: must lie between 5 and 120 degrees"),
    refused("--fov nan", "--fov nan"),
    refused("--tolerance -0.1", "--tolerance -0.1: must be at least 0, and below 1"),
    refused("--bones 0", "--bones 0: must be from 1 to 255"),
    refused("--frames.fps 0", "--frames.fps 0: must be from 0.01"),
    refused("--frames.fps nan", "--frames.fps nan"),
    refused("--frames.max_side -4", "--frames.max_side -4: must be from 0"),
    refused("--texture.size 100000000", "--texture.size 100000000: must be from 16 to 16384"),
    refused("--registration.weights.arap inf", "--registration.weights.arap inf: must be at least 0"),
    refused("--generation.grid 0", "--generation.grid 0: must be from 16"),
    refused("--web --baseline", "--web"),
    refused("--delight --baseline", "--delight changes the texture .*; with --baseline there is none"),
    refused("--blender_path /nowhere/at/all", "--blender_path /nowhere/at/all: no such file or folder"),
    refused("--model Hunyuan", "--model Hunyuan: "),
    refused("--model TRELLIS", "--model TRELLIS: "),
    refused("--use_vggt", "--use_vggt"),
    refused("--use_tracking", "--use_tracking"),
    refused("--write skeleton", "--write skeleton: needs --mesh"),
    refused("--motion feedforward", "--motion feedforward: give --checkpoint"),
    refused("--refine", "--refine .* needs --motion feedforward"),
    refused("--checkpoint a.pt", "--checkpoint .* needs --motion feedforward"),
    refused("--motion feedforward --checkpoint a.pt", "--checkpoint a.pt: no such file"),
    with_checkpoint("bomb.pt", {"model": _Bomb()}, "bomb.pt: not a checkpoint of tensors"),
    with_checkpoint("bomb.pth", {"model": _Bomb()}, "bomb.pth: not a safetensors file"),
    with_checkpoint("text.pt", b"a text", "text.pt: not a safetensors file"),
    with_checkpoint("zip.pt", b"PK\x03\x04" + bytes(99), "zip.pt: not a checkpoint of tensors"),
    with_checkpoint("other.pt", {"weights": torch.zeros(3)}, "it holds no 'model'"),
    with_checkpoint("cut.safetensors", len(HEADER).to_bytes(8, "little") + HEADER, "a broken safetensors file"),
    Case("hyphens in place of underscores", nothing, 0, options=("--max-faces", "500", "--no-verbose")),
    Case("values behind an equals sign", nothing, 0, options=("--skip=2", "--frames.foreground=alpha")),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_options(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(case, tmp_path, monkeypatch, capsys)
    assert not list(tmp_path.rglob("it_ran"))


def test_every_number_has_a_range_that_the_presets_keep() -> None:
    for preset in (FAST, PAPER):
        ranges.check(preset)
    found = {name for name, _ in ranges.numbers(Config())}
    assert set(ranges.LIMITS) == {name for name in found if not name.startswith(ranges.WEIGHTS)}
    assert all(least <= largest for least, largest in ranges.LIMITS.values())


def test_names_are_those_that_tyro_parses() -> None:
    """Each option is given its default value by the name that is checked."""
    line: list[str] = []
    for name in option_types(Config):
        value: object = FAST
        for part in name.split("."):
            value = getattr(value, part, None)
        if value is False:
            line.append(f"--no_{name}")
        elif value not in (None, "", ()):
            line += [f"--{name}", str(value)]
    check_arguments(line, Config)
    assert parse(line) == FAST


def test_an_option_may_take_several_values() -> None:
    line = ["--engine", "slurm", "--slurm", "partition=gpu", "time=1:00:00", "--jobs", "3"]
    check_arguments(line, Config)
    assert parse(line).slurm == ("partition=gpu", "time=1:00:00")
    with pytest.raises(ValueError, match="--slurm: its value is missing"):
        check_arguments(["--slurm", "--jobs", "3"], Config)
