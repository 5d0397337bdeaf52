"""Turns pages into HTML. Whatever a template prints is escaped, and control characters are spelled out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from fleet.console.assets import assets
from fleet.model.reason import MEANINGS

MAX_SHOWN_CHARACTERS = 300
"""Characters of one value that a page shows: no tenant can make a page large."""

NONE = "\N{EN DASH}"


def visible(text: str, limit: int = MAX_SHOWN_CHARACTERS) -> str:
    """Return the text cut to `limit`, with every character spelled out that a browser would obey, hide or reorder."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in cut)


def count(number: float | None) -> str:
    return NONE if number is None or not math.isfinite(number) else f"{number:,.0f}"


def usd(amount: float | None) -> str:
    """Return an amount such as $1,234, $12.30 or $0.000012: two figures at least, however small it is."""
    if amount is None or not math.isfinite(amount):
        return NONE
    size = abs(amount)
    if size >= 1000:
        return f"${amount:,.0f}"
    if size >= 1 or size == 0:
        return f"${amount:,.2f}"
    return f"${amount:.{min(9, 1 - math.floor(math.log10(size)))}f}" if size >= 1e-9 else "$0.00"


def share(part: float | None) -> str:
    """Return a share as per cent; a share above 0 is never shown as 0."""
    if part is None or not math.isfinite(part):
        return NONE
    return "<0.1%" if 0 < part < 0.001 else f"{part:.0%}" if part >= 0.1 or part == 0 else f"{part:.1%}"


def probability(value: float | None) -> str:
    return NONE if value is None or not math.isfinite(value) else f"{value:.3f}"


def duration(seconds: float | None) -> str:
    """Return a duration such as 85 ms, 1.25 s, 3 min 20 s, 2 h 5 min or 3 d 4 h."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 0.9995:
        return f"{seconds * 1000:,.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller, part in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size:,} {unit} {whole % size // smaller} {part}"
    return f"{seconds:.1f} s"


def moment(at: float | None) -> Markup:
    """Return a time in UTC, its date beside it; nothing for a time no calendar has."""
    try:
        there = datetime.fromtimestamp(at or 0, UTC)
    except (ValueError, OverflowError, OSError):
        at = None
    if not at:
        return Markup("{}").format(NONE)
    date, clock = there.strftime("%Y-%m-%d"), there.strftime("%H:%M:%S")
    return Markup('<time datetime="{}T{}Z"><span class="date">{}</span> {}</time>').format(date, clock, date, clock)


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def words(name: str) -> str:
    """Return a word of the code as people write it: low_confidence becomes low confidence."""
    return name.replace("_", " ")


def quoted(text: str) -> str:
    """Return the text as one part of an address."""
    return quote(text, safe="", errors="replace")


def job_path(tenant: str, job_id: str) -> str:
    return f"/jobs/{quoted(tenant)}/{quoted(job_id)}"


def static(name: str) -> str:
    return f"/static/{name}?v={assets()[name].digest}"


@cache
def environment() -> Environment:
    """Return the environment that all pages are rendered in."""
    made = Environment(
        loader=PackageLoader("fleet.console"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        each.__name__: each for each in (count, usd, share, probability, duration, moment, clock, words, quoted)
    }
    made.globals |= {"job_path": job_path, "static": static, "meanings": _MEANINGS, "dash": NONE}
    return made


def render(template: str, values: Mapping[str, Any]) -> str:
    return environment().get_template(template).render(values)


def _shown(value: Any) -> Any:
    """Return what a template prints for a value: None is a dash, and nothing is obeyed. Markup is ours already."""
    if value is None:
        return NONE
    return value if isinstance(value, Markup) or not isinstance(value, str) else escape(visible(value))


_MEANINGS = {str(reason): meaning for reason, meaning in MEANINGS.items()}
