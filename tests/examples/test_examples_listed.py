"""examples/README.md lists every example with a test that there is, and every example says how it is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PROGRAMS = sorted(path for path in EXAMPLES.rglob("*.*") if path.suffix in (".py", ".mjs", ".go"))
PROGRAMS = [path for path in PROGRAMS if "node_modules" not in path.parts]
ROWS = re.findall(r"^\| \[([^]]+)\]\(\1\) \| [^|]+ \| `([^`]+)::(\w+)`", (EXAMPLES / "README.md").read_text(), re.M)


def test_the_list_has_every_example_once():
    assert sorted(name for name, _, _ in ROWS) == [str(path.relative_to(EXAMPLES)) for path in PROGRAMS]


@pytest.mark.parametrize(("example", "path", "test"), ROWS, ids=lambda word: word.rpartition("/")[2])
def test_the_test_of_an_example_is_there_and_starts_it(example, path, test):
    source = (ROOT / path).read_text()
    body = source.partition(f"def {test}(")[2].partition("\n\n\n")[0]
    name = Path(example).name
    assert f'"{name}"' in body or "go run" in body.replace('", "', " ")


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_the_first_three_lines_of_an_example_say_what_it_shows_what_it_needs_and_how_it_is_run(path):
    words = [re.match(r"(?:#|//) (\w+): +\S", line) for line in path.read_text().splitlines()[:3]]
    assert [found and found[1] for found in words] == ["Shows", "Needs", "Run"]
