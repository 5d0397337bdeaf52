"""docs/explanation/scaling.md knows every word that a scaling decision may give as its reason."""

from pathlib import Path

import pytest

from fleet.model.scaling import ScalingReason

PAGE = (Path(__file__).parents[2] / "docs" / "explanation" / "scaling.md").read_text()


@pytest.mark.parametrize("reason", ScalingReason)
def test_every_reason_has_its_meaning(reason):
    rows = [line for line in PAGE.splitlines() if line.startswith("| `") and f"`{reason}`" in line.split("|")[1]]
    assert len(rows) == 1
