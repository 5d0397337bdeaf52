"""docs/glossary.md has the words that a reader meets, in order, each with a sentence or two."""

from __future__ import annotations

import re

import pytest
from pages import ROOT

ENTRIES = dict(re.findall(r"^### (.+)\n\n((?:.+\n)+)", (ROOT / "docs" / "glossary.md").read_text(), re.M))
MET = (
    "Backend",
    "best_effort",
    "Breaker",
    "Calibration",
    "Dead letter",
    "Drift",
    "Gate",
    "Intake",
    "Ladder",
    "Lane",
    "Lease",
    "Ledger",
    "Orphan",
    "Plan",
    "Probe",
    "Region",
    "Runner",
    "Rung",
    "Shadow",
    "Sojourn",
    "Suspect",
    "Target",
    "Threshold",
    "Tier",
    "Unfamiliar",
)
"""Words of our own or of the field, in the order of the alphabet; links to others are checked in test_links."""


@pytest.mark.parametrize("word", MET)
def test_a_word_that_a_reader_meets_is_explained(word: str) -> None:
    assert ENTRIES[word].endswith(".\n")


def test_the_words_are_in_the_order_of_the_alphabet() -> None:
    assert list(ENTRIES) == sorted(ENTRIES, key=str.lower)
