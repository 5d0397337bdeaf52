"""The table alert x fault of docs/how-to/alerts.md."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.alerts.faults import FAULTS
from benchmarks.alerts.recorded import alerts

PAGE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "alerts.md"
BEGIN: Final = "<!-- matrix: written by python -m benchmarks.alerts -->\n"
END: Final = "<!-- end of matrix -->\n"


def table() -> str:
    """Return a line for each alert with the minutes from each fault to its firing, and what the faults are."""
    numbers = range(1, len(FAULTS) + 1)
    head = f"| alert | {' | '.join(map(str, numbers))} |\n|---|{'---:|' * len(FAULTS)}\n"
    faults = "".join(f"{number}. {fault.about}\n" for number, fault in zip(numbers, FAULTS, strict=True))
    return f"\n{head}{''.join(map(_line, alerts()))}\n{faults}\n"


def _line(alert: str) -> str:
    cells = [f"● {fault.due[alert]}" if alert in fault.due else "" for fault in FAULTS]
    return f"| [{alert}](#{alert.lower()}) | {' | '.join(cells)} |\n"


def shown(page: str) -> str:
    """Return the table that the page holds."""
    return page.partition(BEGIN)[2].partition(END)[0]


def renewed(page: str) -> str:
    """Return the page with the table as it is now."""
    before, begin, rest = page.partition(BEGIN)
    return before + begin + table() + END + rest.partition(END)[2]
