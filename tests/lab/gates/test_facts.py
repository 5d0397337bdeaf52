"""Facts of a text: what a change of style may not touch, and what it may."""

from __future__ import annotations

import pytest

from fleet.lab.gates.facts import keeps_facts, names_in, numbers_in

ASKED = "Write to Ada Bold: the party of Team Mira is on 12.03.2027 at 18:30 and costs 1,250 euros."
PLAIN = "The party of Team Mira is on 12.03.2027 at 18:30, Ada. It costs 1,250 euros."


@pytest.mark.parametrize(
    ("answer", "keeps"),
    [
        ("Hey Ada! Team Mira parties on 12.03.2027, 18:30. All it takes is 1250 euros.", True),
        ("Ada, come to the party of team MIRA: 12.03.2027, 18:30, 1,250 euros!", True),
        ("Hey Ada! Team Mira parties on 12.03.2027, 18:30. All it takes is 1300 euros.", False),
        ("Hey Ada! Team Mira parties on 13.03.2027, 18:30. It costs 1,250 euros.", False),
        ("Hey! Team Mira parties on 12.03.2027, 18:30. It costs 1,250 euros.", False),
        ("Hey Ada! Team Mira and Team Nova party on 12.03.2027, 18:30. It costs 1,250 euros.", False),
    ],
)
def test_a_style_may_change_words_and_no_fact(answer: str, keeps: bool) -> None:
    assert keeps_facts(PLAIN, answer, ASKED) is keeps


def test_placeholders_are_facts() -> None:
    asked = "Answer <EMAIL_1> about <NUMBER_1>."
    assert keeps_facts("Dear <EMAIL_1>, noted.", "Thanks, <EMAIL_1>!", asked)
    assert not keeps_facts("Dear <EMAIL_1>, noted.", "Thanks!", asked)
    assert not keeps_facts("Dear <EMAIL_1>, noted.", "Thanks, <EMAIL_1> and <EMAIL_2>!", asked)


def test_a_word_that_begins_a_sentence_is_no_name() -> None:
    assert names_in("Please thank Ada. Thank her for Team Mira.") == ["Ada", "Team", "Mira"]
    assert names_in("Ada wrote. We thank Ada.") == ["Ada", "Ada"]
    assert numbers_in("On 12.03.2027 at 18:30: 1,000 or 1000, and <NUMBER_1>") == [
        "12.03.2027",
        "18:30",
        "1000",
        "1000",
    ]
