import importlib
import sys
import time
from types import ModuleType

import pytest

from evaluation.speed import KERNELS, Meter, metered, replace_everywhere


def test_a_kernel_that_calls_another_is_charged_for_its_own_time_alone() -> None:
    meter = Meter()
    with meter.running("registration"), meter.kernel("linear solves"):
        time.sleep(0.03)
        with meter.kernel("rasterisation"):
            time.sleep(0.05)
    own, inner = meter.seconds["registration", "linear solves"], meter.seconds["registration", "rasterisation"]
    assert 0.03 <= own < 0.045
    assert 0.05 <= inner < 0.07
    assert own + inner <= meter.walls["registration"]
    assert meter.calls["registration", "linear solves"] == meter.calls["registration", "rasterisation"] == 1


def test_the_table_adds_up() -> None:
    meter = Meter()
    meter.walls |= {"texture": 5.0, "export": 1.0}
    meter.seconds["texture", "files"] = 0.5
    meter.seconds["texture", "rasterisation"] = 1.25
    rows = [line.strip("| ").split(" | ") for line in meter.table().splitlines()]
    head, texture, total = rows[0], rows[2], rows[-1]
    assert dict(zip(head, texture, strict=True)) | {"floor": "1.75", "rest": "3.25"} == dict(
        zip(head, texture, strict=True)
    )
    assert dict(zip(head, total, strict=True))["seconds"] == "6.00"


def test_a_function_is_replaced_wherever_it_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def double(value: int) -> int:
        return 2 * value

    one, other = ModuleType("one_module"), ModuleType("other_module")
    one.double, other.alias = double, double  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "one_module", one)
    monkeypatch.setitem(sys.modules, "other_module", other)
    meter = Meter()
    replace_everywhere(double, metered(double, "files", meter))
    assert one.double(4) == other.alias(4) == 8
    assert meter.calls["", "files"] == 2


def test_all_kernels_exist() -> None:
    for places in KERNELS.values():
        for module_name, names in places:
            for name in names:
                owner = importlib.import_module(module_name)
                for part in name.split("."):
                    owner = getattr(owner, part)
                assert callable(owner)
