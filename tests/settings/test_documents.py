"""The shipped files load; anything wrong in a file is refused with its place and its rule."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from fleet.model.errors import ConfigError
from fleet.model.target import ServedAdapters, Target
from fleet.settings import documents
from fleet.settings.documents import load_catalogue, load_rules, read_document, rules_from, shipped
from policies.rules.catalogue import catalogue_of, with_adapters

SHIPPED_RULES = documents.shipped("policies", "rules.yaml")
SHIPPED_CATALOGUE = documents.shipped("deployments", "catalogue.yaml")


def edited(source: Path, folder: Path, path: str, value: object) -> Path:
    """A copy of `source` with `value` at the dotted `path` (`/` separates keys; None removes)."""
    document = yaml.safe_load(source.read_text())
    *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    place = document
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    copy = folder / source.name
    copy.write_text(yaml.safe_dump(document))
    return copy


@pytest.mark.parametrize("profile", ["local", "gpu"])
def test_the_shipped_files_load_in_every_profile(profile):
    rules = load_rules(None, None, profile)
    assert {"llama-8b", "mixtral-8x7b", "llama-70b", "gpt-4o", "claude-sonnet"} <= set(rules.catalogue.targets)
    assert all(type(target) is Target for target in rules.catalogue.targets.values())


def test_a_profile_decides_which_entries_count():
    assert load_catalogue(None, "local").targets["llama-8b"].context_tokens == 512
    assert load_catalogue(None, "gpu").targets["llama-8b"].context_tokens == 8192


def test_every_task_of_the_stand_in_models_has_the_same_tier_in_the_rules():
    standins = import_module("deployments.standins.tasks")
    rules = load_rules(None, None, "local")
    assert {task: rules.tasks[task].tier for task in standins.TASKS} == {
        task: standins.tier_of(task) for task in standins.TASKS
    }


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("surprise", 1, "surprise"),
        ("retry/surprise", 1, "retry.surprise"),
        ("phases/phase3/surprise", ["gpt-4o"], "phases.phase3.surprise"),
        ("retry/max_tries", None, "retry.max_tries"),
        ("tasks/chat/diet", {"threads": "always"}, "tasks.chat.diet.threads"),
        ("tasks/chat/diet", {"trim_to": 1.0}, "tasks.chat.diet.trim_to"),
        ("tasks/chat/diet", {"thread_tokens": 0}, "tasks.chat.diet.thread_tokens"),
        ("tasks/chat/diet", {"compared": 1.5}, "tasks.chat.diet.compared"),
        ("tasks/chat/diet", {"answers": {"llama-8b": {"tokens": 0}}}, "tasks.chat.diet.answers.llama-8b.tokens"),
        (
            "tasks/chat/diet",
            {"answers": {"llama-8b": {"tokens": 9, "words": 0}}},
            "tasks.chat.diet.answers.llama-8b.words",
        ),
        ("tasks/chat/diet", {"answers": {"llama-9b": {"tokens": 9}}}, "tasks.chat.diet.answers.llama-9b"),
        (
            "tasks/chat/diet",
            {"answers": {"groq-gpt-oss-120b": {"tokens": 9}}},
            "tasks.chat.diet.answers.groq-gpt-oss-120b",
        ),
        ("retry/max_tries", 0, "retry.max_tries"),
        ("retry/base_seconds", float("nan"), "retry.base_seconds"),
        ("retry/max_tries", "many", "retry.max_tries"),
        ("phase", "phase9", "phase"),
        ("phases/phase1/simple", ["gpt-99"], "phases.phase1.simple.0"),
        ("phases/phase3/simple", ["gpt-4o", "gpt-4o"], "phases.phase3.simple.1"),
        ("phases/phase3/vision", [], "phases.phase3.vision"),
        ("phases/phase3/tasks", {"no.such.task": ["gpt-4o"]}, "phases.phase3.tasks.no.such.task"),
        ("phases/phase3/tasks", {"chat": ["gpt-99"]}, "phases.phase3.tasks.chat.0"),
        ("plans/free", None, "plans.free"),
        ("plans/free/providers", ["fleet", "grok"], "plans.free.providers"),
        ("plans/paid/thresholds/complex", 1.5, "plans.paid.thresholds.complex"),
        ("plans/paid/thresholds/simple", -0.1, "plans.paid.thresholds.simple"),
        ("tasks/chat/tier", "gigantic", "tasks.chat.tier"),
        ("complexity/complex_from", 3, "complexity.complex_from"),
        ("confidence/method", "gut_feeling", "confidence.method"),
        ("deadlines/bulk_seconds", -1, "deadlines.bulk_seconds"),
        ("money", None, "money"),
        ("money/daily_usd", 0, "money.daily_usd"),
        ("money/daily_usd", None, "money.daily_usd"),
        ("money/daily_usd", float("nan"), "money.daily_usd"),
        ("money/daily_usd", float("inf"), "money.daily_usd"),
        ("money/tenant_daily_usd", -1, "money.tenant_daily_usd"),
        ("money/tenants", {"acme": 0.0}, "money.tenants.acme"),
        ("money/tenants", {"no tenant": 1.0}, "money.tenants.no tenant"),
        ("money/alert_at", 0, "money.alert_at"),
        ("money/cheap_at", 1.01, "money.cheap_at"),
        ("money/max_output_tokens", 0, "money.max_output_tokens"),
        ("money/max_tokens_per_image", 0, "money.max_tokens_per_image"),
        ("money/open_seconds", 120, "money.open_seconds"),
        ("residency/default", {"regions": ["eu"]}, "residency.default.regions"),
        ("residency/default", {"regions": []}, "residency.default.regions"),
        ("residency/default", {"providers": ["fleet", "opnai"]}, "residency.default.providers"),
        ("residency/default", {"cloud": "deny"}, "residency.default.cloud"),
        ("residency/tenants", {"acme": {"providers": ["opnai"]}}, "residency.tenants.acme.providers"),
        ("residency/tenants", {"no tenant": {}}, "residency.tenants.no tenant"),
        ("prefix_cache/shared", "perhaps", "prefix_cache.shared"),
        ("prefix_cache/mark", "always", "prefix_cache.mark"),
        ("prefix_cache/tenants", {"no tenant": False}, "prefix_cache.tenants.no tenant"),
        ("training/tenants", ["no tenant"], "training.tenants.no tenant"),
        ("training/share", 1.5, "training.share"),
        ("training/goal", 0, "training.goal"),
        ("cache/keep_seconds", 1e300, "cache.keep_seconds"),
        ("cache/semantic/risk", 0, "cache.semantic.risk"),
        ("cache/semantic/explored", 0, "cache.semantic.explored"),
        ("cache/semantic/tasks", {"no.task": "shadow"}, "cache.semantic.tasks.no.task"),
        ("cache/semantic/tasks", {"chat": "shadow"}, "cache.semantic.tasks.chat"),
        ("cache/semantic/tasks", {"chat": "sometimes"}, "cache.semantic.tasks.chat"),
        ("cache/semantic/tenants", {"no tenant": {}}, "cache.semantic.tenants.no tenant"),
        ("catalogue", {}, "catalogue"),
    ],
)
def test_a_mistake_in_the_rules_is_refused_with_its_place(tmp_path, path, value, field):
    file = edited(SHIPPED_RULES, tmp_path, path, value)
    with pytest.raises(ConfigError) as refused:
        load_rules(file, None, "local")
    assert refused.value.field == field
    assert str(file) in str(refused.value)


def test_a_part_of_the_rules_is_told_to_begin_with_a_copy_of_all(tmp_path):
    part = tmp_path / "part.yaml"
    part.write_text("tasks: {chat: {tier: null, cache: any}}\n")
    with pytest.raises(ConfigError, match=rf"^phase: is required: rules are a whole file.* copy of {SHIPPED_RULES} "):
        load_rules(part, None, "local")


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("targets/0/surprise", 1, "targets.0.surprise"),
        ("targets/0/profile", "moon", "targets.0.profile"),
        ("targets/0/latency", "instant", "targets.0.latency"),
        ("targets/0/capabilities", ["telepathy"], "targets.0.capabilities.0"),
        ("targets/0/name", "llama.8b", "targets.llama.8b.name"),
        ("targets/1/name", "llama-8b", "targets.llama-8b.name"),
        ("targets/0/input_usd_per_million_tokens", -0.1, "targets.llama-8b.input_usd_per_million_tokens"),
        ("targets/0/output_usd_per_million_tokens", float("inf"), "targets.llama-8b.output_usd_per_million_tokens"),
        ("targets/0/context_tokens", 0, "targets.llama-8b.context_tokens"),
        ("targets/9/output_usd_per_million_tokens", None, "targets.9.output_usd_per_million_tokens"),
        ("targets/9/input_usd_per_million_tokens", float("nan"), "targets.gpt-4o.input_usd_per_million_tokens"),
        ("targets/0/model", "", "targets.llama-8b.model"),
        ("targets/10/reasoning/efforts", ["enormous"], "targets.10.reasoning.efforts"),
        ("targets/10/reasoning/surprise", 1, "targets.10.reasoning.surprise"),
        ("targets/9/cached_input_usd_per_million_tokens", -1, "targets.gpt-4o.cached_input_usd_per_million_tokens"),
        ("targets/9/cache_write_usd_per_million_tokens", "x", "targets.9.cache_write_usd_per_million_tokens"),
        ("targets/0/region", "The Hague", "targets.llama-8b.region"),
        ("prices_as_of", "last autumn", "prices_as_of"),
        ("prices_as_of", "2026-13", "prices_as_of"),
        ("prices_as_of", 2026, "prices_as_of"),
    ],
)
def test_a_mistake_in_the_catalogue_is_refused_with_its_place(tmp_path, path, value, field):
    file = edited(SHIPPED_CATALOGUE, tmp_path, path, value)
    with pytest.raises(ConfigError) as refused:
        load_catalogue(file, "local")
    assert refused.value.field.removesuffix(".0") == field.removesuffix(".0")
    assert str(file) in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("targets", "all", "must be a valid list"),
        ("targets/0/capabilities", "text", "must be a valid list"),
        ("targets/0", "llama-8b", "must be a valid dictionary"),
    ],
)
def test_a_rule_is_told_in_the_words_of_yaml(tmp_path, path, value, rule):
    with pytest.raises(ConfigError) as refused:
        load_catalogue(edited(SHIPPED_CATALOGUE, tmp_path, path, value), "local")
    assert refused.value.rule.startswith(rule)


@pytest.mark.parametrize(
    "text",
    [None, "phase: [", "- a list", "phase: phase1\nphase: phase3\n", "? {a: 1}\n: b\n", "\x00"],
    ids=["missing", "broken", "no mapping", "key twice", "unhashable key", "binary"],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path, text):
    file = tmp_path / "rules.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_rules(file, None, "local")
    assert refused.value.field.endswith("rules.yaml")
    assert str(file) in str(refused.value)


def test_a_file_that_is_not_there_is_named_once(tmp_path):
    missing = tmp_path / "nosuch.yaml"
    with pytest.raises(ConfigError) as raised:
        load_catalogue(missing, "local")
    assert str(raised.value) == f"{missing}: cannot be read: no such file or directory"


def test_a_target_is_added_without_touching_code(tmp_path):
    document = yaml.safe_load(SHIPPED_CATALOGUE.read_text())
    extra = {**document["targets"][-1], "name": "ft-issues", "provider": "openai", "model": "ft:gpt-4o-mini:acme"}
    (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump({"targets": [*document["targets"], extra]}))
    rules_file = edited(SHIPPED_RULES, tmp_path, "phases/phase3/tasks", {"detect.issue": ["ft-issues", "gpt-4o"]})
    rules = load_rules(rules_file, tmp_path / "catalogue.yaml", "local")
    assert [target.name for target in rules.routes.by_task["detect.issue", "paid"]] == ["ft-issues", "gpt-4o"]


@pytest.mark.parametrize(("row", "free", "refused"), [(-1, False, True), (-1, True, False), (0, False, False)])
def test_a_cloud_target_without_a_price_is_refused_unless_it_is_said_to_be_free(tmp_path, row, free, refused):
    document = yaml.safe_load(SHIPPED_CATALOGUE.read_text())
    free_word = {"free": True} if free else {}
    nothing = {"input_usd_per_million_tokens": 0, "output_usd_per_million_tokens": 0}
    document["targets"][row] |= {**nothing, **free_word}
    file = tmp_path / "catalogue.yaml"
    file.write_text(yaml.safe_dump(document))
    if refused:
        with pytest.raises(ConfigError, match=r"targets\.claude-sonnet\.output_usd_per_million_tokens.*free: true"):
            load_catalogue(file, "local")
    else:
        assert load_catalogue(file, "local").targets


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('providers:\n  together:\n    headers: {X-Title: "sk-hidden\n', "quoted scalar, line 3, column 24"),
        ("targets:\n  - hidden: [\n", "line 3, column 1"),
        ("a: 1\na: 2\n", "'a' is given twice, line 2, column 1"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_yaml_is_refused_with_the_place_and_without_the_line(tmp_path, text, said):
    file = tmp_path / "catalogue.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_catalogue(file, "local")
    assert said in refused.value.rule
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("said", "read"), [("2026-11", "2026-11"), ("2026-11-28", "2026-11-28"), ('"2026-11-28"', "2026-11-28"), ("", None)]
)
def test_the_date_of_the_prices_is_read_as_it_is_written(tmp_path, said, read):
    file = tmp_path / "catalogue.yaml"
    shipped = SHIPPED_CATALOGUE.read_text()
    file.write_text(shipped.replace("prices_as_of: 2026-11", f"prices_as_of: {said}"))
    assert load_catalogue(file, "local").prices_as_of == read


def test_a_mode_that_is_called_off_needs_no_quotes(tmp_path):
    rules = tmp_path / "rules.yaml"
    said = SHIPPED_RULES.read_text().replace(
        "  chat: {tier: null}", "  chat: {tier: null, cache: off, diet: {threads: on}}"
    )
    rules.write_text(said.replace("  enabled: true", "  enabled: off"))
    read = load_rules(rules, None, "gpu")
    assert (read.tasks["chat"].cache, read.tasks["chat"].diet.threads) == ("off", "on")
    assert read.cache.enabled is False


@pytest.mark.parametrize("name", ["arm", "adapter"])
def test_a_rules_document_cannot_say_what_only_an_experiment_says(name):
    document = {**read_document(shipped("policies", "rules.yaml")), name: "trial.candidate"}
    with pytest.raises(ConfigError, match=rf"^{name}: is no part of rules"):
        rules_from(document, load_catalogue(None, "local"), "rules.yaml")


def test_models_that_serve_adapters_are_named_by_the_operator_and_a_row_says_how_many():
    catalogue = load_catalogue(None, "local")
    rows = {**catalogue.targets, "llama-70b": replace(catalogue.targets["llama-70b"], adapters=ServedAdapters(2))}
    found = with_adapters(replace(catalogue, targets=rows), ["llama-8b", "llama-70b"]).targets
    taking = {name: target.adapters.at_once for name, target in found.items() if target.adapters is not None}
    assert taking == {"llama-8b": 4, "llama-70b": 2}


@pytest.mark.parametrize("name", ["llama-9b", "groq-gpt-oss-20b"])
def test_what_is_no_model_of_the_fleets_own_serves_no_adapters(name):
    with pytest.raises(ConfigError, match=f"^adapters: '{name}' is none of the fleet's own models: llama-8b"):
        with_adapters(load_catalogue(None, "local"), [name])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"adapters": ServedAdapters(0)}, "adapters.at_once"),
        ({"adapters": ServedAdapters(speed=0.0)}, "adapters.speed"),
        ({"adapters": ServedAdapters(speed=1.1)}, "adapters.speed"),
        ({"adapters": ServedAdapters(), "provider": "openai", "serving": None, "free": True}, "adapters"),
    ],
)
def test_a_row_about_adapters_that_makes_no_sense_is_refused(changes, field):
    target = replace(load_catalogue(None, "local").targets["llama-8b"], **changes)
    with pytest.raises(ConfigError, match=rf"^targets\.llama-8b\.{field}: "):
        catalogue_of([target])
