"""What is sent to a server, and what is read of the headers that come from one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queues.jetstream.client.frames import Arrival, headers_of, publication
from queues.wire.letters import Message

NAME = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1)
VALUE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20).map(str.strip)


def test_a_message_without_headers_is_a_plain_publication() -> None:
    assert publication("jobs.bulk.acme", "_INBOX.1", b"{}", None) == b"PUB jobs.bulk.acme _INBOX.1 2\r\n{}\r\n"


def test_no_header_can_end_its_line() -> None:
    sent = publication("a", "", b"", {"traceparent": "00-1\r\nNats-Rollup: all\r\n\r\nPUB b  0"})

    assert sent == b"HPUB a  61 61\r\nNATS/1.0\r\ntraceparent: 00-1  Nats-Rollup: all    PUB b  0\r\n\r\n\r\n"


@given(NAME, st.dictionaries(NAME, VALUE, min_size=1), st.binary())
def test_headers_arrive_as_they_were_sent_and_are_counted_as_the_server_does(
    subject: str, headers: dict[str, str], data: bytes
) -> None:
    line, _, rest = publication(subject, "", data, headers).partition(b"\r\n")
    head_bytes, all_bytes = (int(word) for word in line.split()[-2:])

    assert headers_of(rest[:head_bytes]) == headers
    assert rest[head_bytes:] == data + b"\r\n"
    assert all_bytes == Message(subject, data, headers).size_bytes


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"NATS/1.0 404 No Messages\r\n\r\n", {"Status": "404", "Description": "No Messages"}),
        (b"NATS/1.0 503\r\n\r\n", {"Status": "503"}),
        (
            b"NATS/1.0 409 Batch Completed\r\nNats-Pending-Messages: 3\r\n\r\n",
            {"Status": "409", "Description": "Batch Completed", "Nats-Pending-Messages": "3"},
        ),
        (b"NATS/1.0\r\n\r\n", None),
        (b"NATS/1.0 \xff\xff\r\na:b\r\n\r\n", {"a": "b"}),
        (b"NATS/1.0\r\nno colon\r\ntwo words: 1\r\n\xffbad: 1\r\n: 1\r\ngood:1\r\n\r\n", {"good": "1"}),
        (b"NATS/1.0\r\ntraceparent: \xff\r\n\r\n", {"traceparent": "\N{REPLACEMENT CHARACTER}"}),
        (b"", None),
        (b"\r\n\r\n\r\n", None),
    ],
)
def test_headers_are_read_as_far_as_they_are_headers(head: bytes, expected: dict[str, str] | None) -> None:
    assert headers_of(head) == expected
    assert Arrival(b"a", b"", b"", head).headers == expected


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", None),
        (b"NATS/1.0\r\nNats-Sequence: 7\r\n\r\n", None),
        (b"NATS/1.0\r\nStatus: 404\r\n\r\n", None),
        (b"NATS/1.0 503\r\n\r\n", "503"),
        (b"NATS/1.0 404 Message Not Found\r\n\r\n", "404"),
    ],
)
def test_only_the_servers_own_first_line_is_a_status(head: bytes, status: str | None) -> None:
    assert Arrival(b"a", b"", b"", head).status == status
