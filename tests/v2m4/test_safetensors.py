"""safetensors files: round trip, precision, broken files."""

from pathlib import Path

import pytest
import torch

from v2m4.safetensors import read_tensors, write_tensors

STATE = {
    "a": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "b.c": torch.zeros(0, 2),
    "d": torch.ones(()),
}


def test_single_precision_comes_back_exactly(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x.safetensors", STATE, {"note": "ä"})
    state, notes = read_tensors(tmp_path / "x.safetensors")
    assert notes == {"note": "ä"} and list(state) == list(STATE)
    assert all(torch.equal(state[name], value) for name, value in STATE.items())


def test_half_precision_is_rounded_and_half_as_large(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x.safetensors", {"a": torch.randn(1000)})
    write_tensors(tmp_path / "y.safetensors", {"a": STATE["a"], "b": torch.randn(1000).bfloat16()}, half=True)
    state, _ = read_tensors(tmp_path / "y.safetensors")
    assert torch.equal(state["a"], STATE["a"].half().float()) and state["b"].dtype == torch.float32
    assert (tmp_path / "y.safetensors").stat().st_size < 0.6 * (tmp_path / "x.safetensors").stat().st_size
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" * 5, (9).to_bytes(8, "little") + b'{"a": {}}'])
def test_other_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match="safetensors file"):
        read_tensors(tmp_path / "x")
