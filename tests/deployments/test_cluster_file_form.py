from __future__ import annotations

import contextlib
import copy
import io
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

import deployments
from deployments.clusterfile import main

TEXT = (Path(deployments.__file__).parents[1] / "cluster.yaml").read_text()

FILLED = yaml.safe_load(
    re.sub(r"subnet-yours-in-1(.)", r"subnet-0123456789abcde\1", TEXT).replace("sg-yours", "sg-0a1b2c3d")
)

A10G = "available_node_types/a10g"

HEAD = "available_node_types/head/node_config"


def places(value, path=()):
    """The path of every value in the file."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield (*path, key)
        yield from places(each, (*path, key))


def put(path, value):
    """The file with another value in one place."""
    config = copy.deepcopy(FILLED)
    *parents, last = path
    place = config
    for key in parents:
        place = place[key]
    place[last] = value
    return config


def said(path):
    """The exit status and the lines, without the file's name, of the check of a file."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = main([str(path)])
    lines = out.getvalue().splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines), lines
    return status, [line.removeprefix(f"{path}: ") for line in lines]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("cluster") / "cluster.yaml"


@pytest.mark.proves("A cluster file of a wrong form ends in lines that name the field and the rule", how="lint")
@settings(max_examples=50, deadline=None)
@given(st.sampled_from(list(places(FILLED))), st.sampled_from([None, "x", [], [1], -5, 10**30, {}, {5: None}]))
@example(("provider",), None)
@example(("available_node_types",), [1])
@example(("setup_commands",), "x")
@example(("available_node_types", "a10g", "resources"), {5: 1})
@example(("file_mounts",), {5: None})
def test_whatever_stands_in_a_place_the_check_ends_in_lines(file, path, value):
    file.write_text(yaml.safe_dump(put(path, value)))
    status, lines = said(file)
    assert lines
    assert status == (lines[-1] != "nothing wrong that can be known without asking AWS")


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("provider", None, "provider: None is not of type 'object'"),
        ("provider", {}, "provider: 'type' is a required property"),
        ("provider/type", "local", "provider.type: 'local' is not one of ['aws', 'external']"),
        ("provider/region", "us-x-19", "provider.region: 'us-x-19' does not match '^[a-z]{2}(-[a-z]+)+-[1-9]\\\\Z'"),
        ("available_node_types", {}, "available_node_types: {} should be non-empty"),
        ("available_node_types", [1], "available_node_types: [1] is not of type 'object'"),
        ("head_node_type", "heads", "head_node_type: must be the name of one of available_node_types"),
        ("setup_commands", None, "setup_commands: None is not of type 'array'"),
        ("head_start_ray_commands", [5], "head_start_ray_commands.0: 5 is not of type 'string'"),
        ("max_workers", 10**30, f"max_workers: {10**30} is greater than the maximum of 2000"),
        (f"{A10G}/min_workers", -1, ".a10g.min_workers: -1 is less than the minimum of 0"),
        (
            f"{A10G}/node_config/SubnetIds",
            5,
            "a10g.node_config.SubnetIds: 5 is not of type 'array'",
        ),
        (
            f"{A10G}/node_config/InstanceType",
            ["x"],
            "a10g.node_config.InstanceType: ['x'] is not of type 'string'",
        ),
        (
            f"{A10G}/node_config/InstanceMarketOptions",
            None,
            "a10g.node_config.InstanceMarketOptions: None is not of type 'object'",
        ),
        (f"{HEAD}/NetworkInterfaces", [], ".NetworkInterfaces: [] should be non-empty"),
        (f"{HEAD}/NetworkInterfaces", ["eni"], ".NetworkInterfaces.0: 'eni' is not of type 'object'"),
        (f"{HEAD}/NetworkInterfaces", [{"Groups": "sg"}], ".NetworkInterfaces.0.Groups: 'sg' is not of type 'array'"),
        ("available_node_types/a\n", {}, "available_node_types: 'a\\n' does not match '^[A-Za-z0-9._-]+\\\\Z'"),
    ],
)
def test_a_wrong_form_is_named_by_field_and_rule(file, path, value, line):
    file.write_text(yaml.safe_dump(put(path.split("/"), value)))
    status, lines = said(file)
    assert status == 1
    assert any(each.endswith(line) for each in lines)


@pytest.mark.parametrize("field", ["provider", "max_workers", "setup_commands", "head_start_ray_commands"])
def test_a_field_that_is_missing_is_named(file, field):
    file.write_text(yaml.safe_dump({name: value for name, value in FILLED.items() if name != field}))
    assert said(file) == (1, [f"'{field}' is a required property"])


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "must hold the fields of a cluster, as cluster.yaml"),
        (b"\xff\xfe\x00", "is not YAML: 'utf-8' codec can't decode byte"),
        (b"a: 1\n---\na: 1\n", "is not YAML: expected a single document"),
        (b'a: !!int ""', "is not YAML: "),
        (b"a: " + b"9" * 5000, "is not YAML: Exceeds the limit"),
        (b"[" * 3000, "must not nest its values so deep"),
    ],
)
def test_what_is_no_cluster_file_is_refused_in_a_line(file, content, line):
    file.write_bytes(content)
    status, [only] = said(file)
    assert status == 1
    assert only.startswith(line)


def test_a_folder_is_refused_in_a_line(tmp_path):
    assert said(tmp_path) == (1, ["Is a directory"])


def test_the_command_says_how_it_is_used(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "Finds the faults of a cluster file" in capsys.readouterr().out
