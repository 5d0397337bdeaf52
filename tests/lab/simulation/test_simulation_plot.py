"""A plot is a picture of the size it says, with a column for each scenario."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from fleet.lab.simulation.report.figures import run
from fleet.lab.simulation.report.plot import COLUMN_PIXELS, HEIGHT_PIXELS, plot
from fleet.lab.simulation.workload.files import load_scenario


@pytest.mark.parametrize("scenarios", [("day",), ("day", "day@phase1", "day@fixed")])
def test_a_plot_has_a_column_for_each_scenario(scenarios: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "plot.png"
    plot([run(load_scenario(name), 2000, 1) for name in scenarios], file)
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert struct.unpack(">II", content[16:24]) == (COLUMN_PIXELS * len(scenarios), HEIGHT_PIXELS)
