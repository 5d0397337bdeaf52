"""docs/reference/proven.md says what the marks of the tests say, and every mark says it in full."""

from __future__ import annotations

from pathlib import Path

import pytest
from proven import HOW, ROOT, SUBJECT_OF, SUBJECTS, Claim, claims, claims_in, counts, faults, listed, page

PAGE = ROOT / "docs" / "reference" / "proven.md"
CLAIMS = claims()


def claim(text="it holds", how="real", subject="Ray", shown="`tests/test_x.py::test_y`", place="here"):
    return Claim(text, how, subject, shown, place)


def test_every_mark_is_in_order():
    assert faults(CLAIMS) == []


def test_the_page_lists_what_the_marks_say():
    """Run `PYTHONPATH=tests/support .venv/bin/python -m proven docs/reference/proven.md` where this fails."""
    assert PAGE.read_text() == page(CLAIMS)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"how": "hopefully"}, "how is 'hopefully'; it has to be one of real, fake nodes, schema, lint"),
        ({"how": ""}, "how is ''"),
        ({"text": " "}, "the claim has to be one line"),
        ({"text": "this | that"}, "the claim has to be one line"),
        ({"subject": ""}, "subject is ''; name one of Kubernetes"),
        ({"shown": ""}, "the reason is missing"),
    ],
)
def test_a_mark_that_says_too_little_is_named(wrong, line):
    [fault] = faults([claim(**wrong)])
    assert fault.startswith(f"here: {line}")


def test_two_claims_of_one_text_are_refused():
    assert len(faults([claim("It holds."), claim("it holds. ", subject="AWS")])) == 2


def test_a_mark_is_read_with_its_test_and_its_subject():
    source = """
class TestIt:
    @pytest.mark.parametrize("x", [1])
    @pytest.mark.proves("a", how="lint")
    @pytest.mark.proves("b " "c", how="real", subject="Security")
    async def test_it(self, x): ...
"""
    name = "tests/deployments/test_spot_first.py::test_it"
    assert list(claims_in(source, "tests/deployments/test_spot_first.py")) == [
        Claim("a", "lint", "AWS", f"`{name}`", name),
        Claim("b c", "real", "Security", f"`{name}`", name),
    ]


@pytest.mark.parametrize(
    "source",
    [
        "pytestmark = pytest.mark.proves('a', how='real')",
        "@pytest.mark.proves('a', how='real')\ndef helper(): ...",
        "@pytest.mark.proves(CLAIM, how='real')\ndef test_it(): ...",
        "@pytest.mark.proves(f'{x}', how='real')\ndef test_it(): ...",
    ],
)
def test_a_mark_that_cannot_be_read_is_refused(source):
    with pytest.raises(ValueError, match="test"):
        list(claims_in(source, "tests/test_x.py"))


def test_claims_without_a_test_are_read_with_their_reason(tmp_path: Path):
    file = tmp_path / "claims.yaml"
    file.write_text("AWS:\n  - {claim: it starts, how: read only, reason: no account}\n")
    [found] = listed(file)
    assert (found.text, found.how, found.subject, found.shown) == ("it starts", "read only", "AWS", "no account")


def test_the_page_has_a_table_for_each_subject_in_alphabetical_order():
    text = page([claim("b"), claim("A"), claim("c", subject="AWS")])
    assert text.index("## AWS") < text.index("| c |") < text.index("## Ray") < text.index("| A |") < text.index("| b |")
    assert "## GPU" not in text


def test_every_kind_is_counted():
    assert counts([claim(), claim("more"), claim("other", how="lint")]) == "real 2, lint 1"


def test_every_subject_of_a_path_is_one():
    assert set(SUBJECT_OF.values()) <= set(SUBJECTS)
    assert HOW.keys() >= {"real", "fake nodes", "schema", "lint", "read only", "stand-in"}
