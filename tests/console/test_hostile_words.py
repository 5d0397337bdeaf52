"""HTML, control characters and endless words in everything that comes from outside the console."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from console_fleet import hostile

from fleet.console.pages import NAVIGATION

ELEMENTS = frozenset(
    {
        "a", "b", "body", "button", "caption", "code", "dd", "details", "div", "dl", "dt", "em", "footer",
        "form", "h1", "h2", "h3", "head", "header", "html", "input", "label", "li", "link", "main", "meta",
        "nav", "ol", "option", "p", "rect", "script", "section", "select", "small", "span", "strong",
        "summary", "svg", "table", "tbody", "td", "th", "thead", "time", "title", "tr", "ul",
    }
)  # fmt: skip
HOSTILE = {
    "an element": "<img src=x onerror=alert(1)>",
    "a script": "</script><script>alert(1)</script>",
    "an end of everything": "</td></table></main></body>",
    "an attribute": "\" autofocus onfocus=alert(1) x='",
    "a template": "{{ 7*7 }}{% for x in y %}${7*7}#{7*7}",
    "controls": "a\x00\x07\x1b[31m\r\n\x7f\x9b",
    "reordering": "gnp.\u202excod\u2066\u200b",
    "no character": "\ud800\udfff\ufffe\U0010ffff",
    "an endless word": "x" * 20_000,
    "an address": "javascript:alert(1)//",
    "dots": "../../..",
}
PATHS = [path for path, _ in NAVIGATION]


class Seen(HTMLParser):
    """What a browser would make of a page: its elements, their attributes and its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(html: str) -> Seen:
    parser = Seen()
    parser.feed(html)
    return parser


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_outsiders_write_is_shown_and_never_obeyed(opened, tmp_path: Path, text: str):
    fleet = hostile(tmp_path, text)
    client = opened(fleet)
    job = (
        f"/jobs/{quote(text[:64], safe='', errors='surrogatepass')}/{quote(text[:64], safe='', errors='surrogatepass')}"
    )
    for path in (*PATHS, job, f"/jobs?tenant={quote(text, errors='replace')}&target={quote(text, errors='replace')}"):
        answer = client.get(path)
        assert answer.status_code in (200, 303, 404), path
        page = seen(answer.content.decode())
        assert page.elements <= ELEMENTS, path
        assert not [each for each in page.attributes if each[1].startswith("on") or each[1] == "style"], path
        links = [value for _, name, value in page.attributes if name in ("href", "src", "action")]
        assert all(link.startswith(("/", "#", "https://fleet.example/")) for link in links), path
        shown = page.text.replace("\n", "")
        assert all(each.isprintable() or each == "\n" for each in shown), path
        assert len(answer.content) < 100_000, path


def test_no_page_shows_the_body_of_a_dead_letter(opened, tmp_path: Path):
    fleet = hostile(tmp_path, "PROMPT-OF-A-TENANT")
    [kept] = fleet.letters
    body = b"what the tenant asked"
    object.__setattr__(kept.letter, "body", body)
    client = opened(fleet)
    for path in PATHS:
        assert body.decode() not in client.get(path).text


def test_a_tenants_answer_of_every_kind_keeps_its_place_in_a_stream(opened, tmp_path: Path):
    client = opened(hostile(tmp_path, "a\r\n\r\nevent: x\r\ndata: <script>alert(1)</script>\u2028"))
    answer = client.get("/live/calibrations")
    lines = answer.text.split("\n")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert all(line in ("", "event: done") or line.startswith("data: ") for line in lines)
    assert "<script" not in answer.text
