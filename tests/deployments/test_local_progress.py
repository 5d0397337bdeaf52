"""Ray's process of a local fleet tells how far its models are, and which of them Serve finds unhealthy."""

from __future__ import annotations

from typing import Any

from deployments.cluster import ApplicationStatus
from deployments.local import REPEAT_SECONDS, Health, Order, Progress, _declared


class Told(list[dict[str, Any]]):
    """What was told."""

    def __call__(self, **what: Any) -> None:
        self.append(what)


def status(word: str) -> dict[str, ApplicationStatus]:
    return {"llama-8b": ApplicationStatus(word, 1, 1, "")}


def test_a_start_tells_what_runs_when_that_changes_and_after_a_while_without_news() -> None:
    told, now = Told(), [100.0]
    progress = Progress({"llama-8b", "llama-70b"}, told, lambda: now[0])
    progress.look(())
    now[0] += 4.0
    progress.look({"llama-8b"})
    progress.look({"llama-8b"})
    now[0] += REPEAT_SECONDS
    progress.look({"llama-8b"})
    seen = {"running": ["llama-8b"], "missing": ["llama-70b"]}
    assert told == [{"starting": {**seen, "seconds": 4}}, {"starting": {**seen, "seconds": 19}}]


def test_an_unhealthy_application_is_told_of_once_and_so_is_its_recovery() -> None:
    told = Told()
    health = Health(told)
    for word in ("RUNNING", "UNHEALTHY", "UNHEALTHY", "DEPLOYING", "RUNNING", "RUNNING"):
        health.look(status(word))
    assert told == [{"ill": "llama-8b"}, {"well": "llama-8b"}]


def test_the_engines_that_an_order_names_are_started_for_adapters() -> None:
    order = Order("local", False, 0, 0, "", "fleet.app:made", "fleet.app:read", None, ["llama-8b"])

    arguments = {each["name"]: each["args"] for each in _declared(order).applications()}

    assert arguments["llama-8b"]["adapters"] == {"at_once": 4, "rank": 64}
    assert "adapters" not in arguments["llama-70b"]
