"""docs/explanation/cost-models.md states every figure that `fleet simulate --scenarios` compares itself with."""

from __future__ import annotations

import pytest
from pages import ROOT

from fleet.lab.simulation.workload.files import Figure, load_figures, load_scenario
from fleet.lab.simulation.workload.study import SimulatedMechanism as Mechanism

PAGE = (ROOT / "docs" / "explanation" / "cost-models.md").read_text()
FIGURES = load_figures()


def dollars(cell: str) -> list[float]:
    return [float(number) for number in cell.replace(",", "").split("-") if number.strip()]


def row_of(figure: Figure) -> list[str]:
    """The cells of the figure's row in the chapter of its document, by the head of their columns."""
    chapter = PAGE.split(f"\n## {figure.document}: ", 1)[1].split("\n## ", 1)[0]
    [row] = [line for line in chapter.splitlines() if line.startswith(f"| {figure.what} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: f"{figure.document}: {figure.what}")
def test_every_figure_is_told_as_it_is_compared(figure: Figure) -> None:
    cells = row_of(figure)
    assert {*dollars(cells[1])} == {*figure.usd}
    assert figure.right_usd is None or dollars(cells[2]) == [figure.right_usd]


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: f"{figure.document}: {figure.what}")
def test_every_figure_says_why_ours_differs(figure: Figure) -> None:
    assert f"- *{figure.what}*: {figure.why}." in " ".join(PAGE.split())


MEASURES = {
    Mechanism.PATTERNS: "answers from a list of phrases",
    Mechanism.TOOLS: "unused function definitions left out",
    Mechanism.ROUTING: "cheaper model for simple messages",
    Mechanism.TRIMMING: "threads of over 1,500 tokens trimmed to 900",
    Mechanism.SEMANTIC: "semantic cache",
    Mechanism.DISCOUNTS: "batches for what nobody waits for",
}


@pytest.mark.parametrize("mechanism", MEASURES)
def test_every_claim_of_a_mechanism_is_told_as_it_is_compared(mechanism: Mechanism) -> None:
    study = load_scenario("messages").study
    assert study.claims.keys() == MEASURES.keys()
    assert f"| {MEASURES[mechanism]} | {study.claims[mechanism]:.0%}".replace("%", " %") in PAGE
