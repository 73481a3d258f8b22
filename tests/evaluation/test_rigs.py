"""The table of rigs."""

from pathlib import Path

import pytest

from evaluation import rigs
from tests.v2m4.skinning import chain
from v2m4.io.gltf import write_animation_glb


def test_a_row_for_each_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tube.glb"
    write_animation_glb(path, chain.sequence(8, blend=0.02), name="bend")
    assert rigs.main([str(path), "--bones", "3", "--frames", "8"]) == 0
    header, _, row = capsys.readouterr().out.strip().splitlines()
    values = dict(zip(("file", "clip", "vertices", "frames", "bones", "rms"), row.split(), strict=False))
    assert header.startswith("file")
    assert values["clip"] == "bend"
    assert values["bones"] == "3"
    assert float(values["rms"]) < 1
    morph, rigged = (int(value) for value in row.split()[-2:])
    assert rigged > 0
    assert morph > 0


def test_what_cannot_be_measured_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tube.glb"
    write_animation_glb(path, chain.sequence(4), name="bend")
    assert rigs.main([str(path), "--clip", "walk"]) == 2
    assert "no clip 'walk'" in capsys.readouterr().err
    assert rigs.main([str(tmp_path / "missing.glb")]) == 2
