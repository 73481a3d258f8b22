from pathlib import Path

import pytest
import torch

from v2m4.io.safetensors import read_notes, read_weights, write_weights


def test_weights_and_notes_come_back_in_half_precision(tmp_path: Path) -> None:
    state = {"a": torch.randn(3, 4), "b.c": torch.randn(5)}
    write_weights(tmp_path / "w.safetensors", state, {"made": "by a test"})
    stored = read_weights(tmp_path / "w.safetensors")
    assert stored.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(stored[name], value.half().float())
    assert read_notes(tmp_path / "w.safetensors") == {"made": "by a test"}


def test_another_file_has_no_notes(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"not such a file at all")
    with pytest.raises(ValueError, match="not a safetensors file"):
        read_notes(tmp_path / "x.safetensors")
