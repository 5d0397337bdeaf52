"""Files of learned routers."""

import json
from dataclasses import replace

import pytest
from hand_made_router import by_hand

from fleet.model.errors import ConfigError
from fleet.settings.documents import load_rules
from fleet.settings.routers import load_routers, save_routers

CATALOGUE = load_rules(None, None, "local").catalogue


def test_routers_come_out_of_a_file_as_they_went_in(tmp_path):
    routers = {("llama-8b", "*"): by_hand, ("llama-8b", "classify.*"): replace(by_hand, intercept=1.5)}
    save_routers(tmp_path / "routers.json", routers)
    assert load_routers(tmp_path / "routers.json", CATALOGUE) == routers


def changed(**changes):
    def change(document):
        document["routers"][0]["router"].update(changes)

    return change


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda document: document.update(schema=2), "schema"),
        (lambda document: document.pop("routers"), "schema"),
        (lambda document: document["routers"][0].pop("task"), "routers.0"),
        (lambda document: document["routers"][0]["router"].pop("terms"), "router.terms"),
        (changed(extra=1), "router.extra"),
        (changed(means=3), "routers.0"),
        (changed(terms={"a": 1}), "routers.0"),
        (changed(weak="unknown"), "routers.0.router.weak"),
        (changed(strong="unknown"), "routers.0.router.strong"),
        (changed(labels=499), "routers.0"),
        (changed(apgr_ci=[0.55, 0.75]), "routers.0"),
        (changed(table_apgr=None), "routers.0"),
        (changed(table_apgr=0.66), "routers.0"),
    ],
)
def test_a_file_that_cannot_be_used_names_the_field_the_rule_and_the_file(tmp_path, change, field):
    path = tmp_path / "routers.json"
    save_routers(path, {("llama-8b", "*"): by_hand})
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError) as error:
        load_routers(path, CATALOGUE)
    assert error.value.field == field
    assert str(path) in error.value.rule


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{"])
def test_a_file_that_is_no_document_is_one_clear_error(tmp_path, content):
    path = tmp_path / "routers.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"routers\.json"):
        load_routers(path, CATALOGUE)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_routers(tmp_path / "missing.json", CATALOGUE)
