"""docs/reference/wire.md tells of every stream what the topology makes of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig

from queues.jetstream.streams.configs import SHIPPED, consistent, stream_configs
from queues.jetstream.streams.shares import PERCENT

WIRE_MD = (Path(__file__).parents[4] / "docs" / "reference" / "wire.md").read_text()
STREAMS = {str(config.name): consistent(config) for config in stream_configs(SHIPPED)}
UNITS = ((86_400.0, "day"), (3600.0, "hour"), (60.0, "minute"))


def table(heading: str) -> list[list[str]]:
    """The cells of the first table under the heading, without its head."""
    section = WIRE_MD.split(f"\n{heading}\n", 1)[1]
    rows = [line.strip("|").split("|") for line in section[section.index("|") :].split("\n\n")[0].splitlines()]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def duration(seconds: float) -> str:
    unit, name = next(((unit, name) for unit, name in UNITS if seconds > unit), UNITS[-1])
    count = round(seconds / unit)
    return f"{count} {name}{'' if count == 1 else 's'}"


def kept(config: StreamConfig) -> str:
    if config.retention is RetentionPolicy.WORK_QUEUE:
        return "until acknowledged" + (f", {duration(config.max_age)} at most" if config.max_age else "")
    return duration(config.max_age) if config.max_age else "for ever"


def most(config: StreamConfig) -> str:
    limits = [f"{config.max_msgs:,} messages"] if (config.max_msgs or 0) > 0 else []
    limits += [f"{config.max_msgs_per_subject} a subject"] if config.max_msgs_per_subject > 0 else []
    return ", ".join([*limits, f"{PERCENT[str(config.name)]} % of the room"])


def beyond(config: StreamConfig) -> str:
    return "new ones are refused" if config.discard is DiscardPolicy.NEW else "the oldest go"


def pattern(subject: str) -> str:
    """The subject of the documentation as a filter."""
    return re.sub(r"<[^>]+>", "*", subject.strip("`"))


def covers(filter_: str, subject: str) -> bool:
    wanted, given = filter_.split("."), subject.split(".")
    if wanted[-1] == ">":
        return given[: len(wanted) - 1] == wanted[:-1]
    return len(wanted) == len(given) and all(w in ("*", g) or g in ("*", w) for w, g in zip(wanted, given, strict=True))


@pytest.mark.parametrize("name", STREAMS)
def test_the_limits_of_every_stream_are_those_of_the_topology(name: str) -> None:
    config = STREAMS[name]
    rows = {row[0]: row[1:] for row in table("### Streams")}

    assert rows[name] == [kept(config), most(config), beyond(config), duration(config.duplicate_window)]


def test_no_stream_is_documented_that_there_is_not() -> None:
    assert {row[0] for row in table("### Streams")} == set(STREAMS)
    assert {row[1] for row in table("## Subjects")} == set(STREAMS)


@pytest.mark.parametrize(("subjects", "stream", "said"), [(row[0], row[1], row[3]) for row in table("## Subjects")])
def test_every_subject_is_one_of_its_stream_and_kept_as_long_as_it_says(subjects: str, stream: str, said: str) -> None:
    config = STREAMS[stream]

    for subject in map(pattern, subjects.split(", ")):
        assert any(covers(filter_, subject) or covers(subject, filter_) for filter_ in config.subjects)
    assert said.startswith((kept(config), f"{config.max_msgs_per_subject} revisions"))


@pytest.mark.parametrize(
    ("stream", "filter_"), [(name, filter_) for name, config in STREAMS.items() for filter_ in config.subjects]
)
def test_every_subject_of_a_stream_is_documented(stream: str, filter_: str) -> None:
    told = [pattern(subject) for row in table("## Subjects") if row[1] == stream for subject in row[0].split(", ")]
    assert any(covers(filter_, subject) or covers(subject, filter_) for subject in told)
