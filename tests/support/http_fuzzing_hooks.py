"""Tells schemathesis what a file of requests looks like. It is loaded in schemathesis' own environment."""

from __future__ import annotations

import json

import schemathesis
from hypothesis import strategies as st

IDS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), min_size=1, max_size=5, unique=True)


def rows_of(ids: list[str]) -> bytes:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello."}]}
    rows = [{"custom_id": each, "method": "POST", "url": "/v1/chat/completions", "body": body} for each in ids]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


schemathesis.openapi.media_type("application/jsonl", IDS.map(rows_of))
