from collections import namedtuple
from pathlib import Path

import pytest

from v2m4 import forecast as module
from v2m4.forecast import Forecast, forecast, machine_factor, shortages
from v2m4.remaining_time import TYPICAL


@pytest.mark.parametrize("way", TYPICAL)
def test_more_frames_need_more_and_more_threads_less_time(way: str) -> None:
    few, many = (forecast(way, frames, 512 * 512, 2, 1.0) for frames in (10, 60))
    assert few.seconds < many.seconds
    assert few.memory_mib < many.memory_mib
    assert few.disk_mib < many.disk_mib
    assert forecast(way, 10, 512 * 512, 8, 1.0).seconds < few.seconds
    assert forecast(way, 10, 512 * 512, 2, 2.5).seconds == pytest.approx(2.5 * few.seconds)


def test_the_sentence_has_units() -> None:
    assert str(Forecast(59.6, 1536.0, 40.2)) == "about 60 s, 1.5 GiB of memory, 40 MiB on disk"
    assert str(Forecast(600.0, 2048.0, 1000.0)).startswith("about 10 min, 2.0 GiB")


def test_the_machines_factor_is_measured() -> None:
    assert 0.05 < machine_factor() < 100


def test_too_little_disk_or_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = Forecast(1.0, 1000.0, 50.0)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(0, 0, 10 * 2**20))
    monkeypatch.setattr(module, "available_memory_mib", lambda: 500.0)
    disk, memory = shortages(needed, tmp_path / "not" / "there")
    assert "10 MiB left" in disk
    assert "500 MiB of memory are free" in memory
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(0, 0, 10 * 2**30))
    monkeypatch.setattr(module, "available_memory_mib", lambda: None)
    assert shortages(needed, tmp_path) == []
