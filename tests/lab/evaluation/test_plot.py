"""The plot is one PNG of a known size, and shows what it is given."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.lab.evaluation.drawing import Drawing, PlottedCurve, Reliability
from fleet.lab.evaluation.plot import HEIGHT_PIXELS, WIDTH_PIXELS, plot
from fleet.lab.evaluation.replay import evaluate_replay
from fleet.lab.metrics.metrics import Bin

DRAWING = Drawing(
    title="made up",
    cost_label="US dollars per 1,000 requests",
    lines=(PlottedCurve("confidence", ((0.1, 0.6), (0.2, 0.8), (0.4, 0.9))),),
    weak=(0.1, 0.6),
    strong=(0.3, 0.9),
    oracle=(0.15, 0.95),
    chosen=(0.2, 0.8),
    reliability=(Reliability("calibrated", (Bin(20, 0.3, 0.4), Bin(20, 0.9, 0.85)), 0.07),),
    ece_floor=0.05,
)


def drawn(drawing: Drawing, path: Path) -> bytes:
    plot(drawing, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return drawn(DRAWING, tmp_path_factory.mktemp("plot") / "before.png")


@pytest.mark.parametrize("drawing", [DRAWING, replace(DRAWING, chosen=None, reliability=(), ece_floor=None)])
def test_it_is_a_png_of_the_promised_size(drawing: Drawing, tmp_path: Path) -> None:
    content = drawn(drawing, tmp_path / "out.png")
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (WIDTH_PIXELS, HEIGHT_PIXELS)


@pytest.mark.parametrize(
    "changed",
    [
        {"title": "another"},
        {"lines": (PlottedCurve("confidence", ((0.1, 0.6), (0.4, 0.9))),)},
        {"lines": (*DRAWING.lines, PlottedCurve("length", ((0.1, 0.6), (0.4, 0.9))))},
        {"oracle": (0.2, 0.95)},
        {"chosen": None},
        {"reliability": (Reliability("calibrated", (Bin(20, 0.3, 0.5), Bin(20, 0.9, 0.85)), 0.07),)},
        {"reliability": (Reliability("calibrated", DRAWING.reliability[0].bins, 0.08),)},
        {"ece_floor": 0.06},
    ],
)
def test_what_is_given_is_seen(changed: dict[str, object], before: bytes, tmp_path: Path) -> None:
    assert drawn(replace(DRAWING, **changed), tmp_path / "after.png") != before  # type: ignore[arg-type]


def test_the_same_drawing_is_the_same_file(before: bytes, tmp_path: Path) -> None:
    assert drawn(DRAWING, tmp_path / "again.png") == before


def test_a_replay_is_drawn_over_dollars_where_it_has_prices(write_replay: Callable[..., Path], tmp_path: Path) -> None:
    drawing = evaluate_replay(write_replay()).drawing
    assert drawing.cost_label == "US dollars per 1,000 requests"
    assert [line.name for line in drawing.lines] == ["confidence", "length"]
    assert drawing.weak[0] == pytest.approx(0.03)
    assert drawing.strong[0] == pytest.approx(0.3)
    assert drawing.chosen in drawing.lines[0].points
    assert [series.name for series in drawing.reliability] == ["calibrated", "recorded"]
    assert drawn(drawing, tmp_path / "out.png").startswith(b"\x89PNG")


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        plot(DRAWING, tmp_path / "nowhere" / "out.png")
