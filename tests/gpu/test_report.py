"""The page of measurements, without a GPU."""

import time

import pytest
import torch

from tests.gpu.report import PAGE, Performance


def test_the_page_has_every_stage_the_sums_and_the_checks() -> None:
    measured = Performance(torch.device("cpu"))
    with measured.stage("fast", "texture"):
        time.sleep(0.06)
    with pytest.raises(RuntimeError), measured.stage("fast", "export"):
        raise RuntimeError("failed")
    measured.stages.append(("fast", "registration", 2.0, 512.4))
    measured.stages.append(("paper", "registration", 9.0, 4096.0))
    measured.check("ids equal", "99.97 %")
    page = measured.page()
    assert "a CPU (no GPU)" in page and "PyTorch" in page
    assert "| fast | registration | 2.0 | 512 |" in page and "| ids equal | 99.97 % |" in page
    assert "| fast | all | 2.1 | 512 |" in page and "| paper | all | 9.0 | 4096 |" in page
    assert "export" not in page and 0.05 < measured.stages[0][2] < 2


def test_the_page_lies_in_the_repository() -> None:
    assert PAGE.is_file() and PAGE.read_text("utf-8").startswith("# Performance on a GPU")
