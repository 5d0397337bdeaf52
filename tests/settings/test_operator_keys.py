"""A key of the operator is told apart from none and from a malformed one, and is never quoted."""

from __future__ import annotations

import base64

import pytest

from fleet.model.errors import ConfigError
from fleet.operator_keys import KEY_BYTES, key_from

KEY = bytes(range(KEY_BYTES))
VARIABLE = "FLEET_CONTENT_KEY"


def test_a_key_is_read_also_with_the_line_end_that_a_file_of_it_has() -> None:
    assert key_from(VARIABLE, {VARIABLE: base64.b64encode(KEY).decode() + "\n"}) == KEY


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        (None, "is not set"),
        (" ", "is not set"),
        ("secret-but-no-base64!", "is malformed.* no base64"),
        (base64.b64encode(KEY[1:]).decode(), "is malformed.* holds 31 bytes"),
    ],
)
def test_what_is_no_key_is_refused_by_name_and_not_quoted(said: str | None, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule) as refused:
        key_from(VARIABLE, {} if said is None else {VARIABLE: said})
    assert refused.value.field == VARIABLE
    assert not (said or "").strip() or said not in str(refused.value)
