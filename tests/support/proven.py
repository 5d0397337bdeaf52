"""Reads what each test proves from its marks, and writes the page that lists it.

    PYTHONPATH=tests/support .venv/bin/python -m proven docs/reference/proven.md

    @pytest.mark.proves("a dispatcher never runs on a machine with a GPU", how="fake nodes")
    def test_...

The source is read and no test is run. A claim's subject is that of its test's folder or file (`SUBJECT_OF`), unless
the mark names another with `subject=`. Claims without a test are in `claims_without_a_test.yaml`, with the reason.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

ROOT: Final = Path(__file__).parents[2]
WITHOUT_A_TEST: Final = Path(__file__).with_name("claims_without_a_test.yaml")

HOW: Final = {
    "real": "real servers, engines or processes, as they run in production",
    "fake nodes": "real Ray on nodes that only say what they have: a GPU, a kind of machine",
    "schema": "a file held against the schema or the parser of the program that reads it",
    "lint": "a file held against rules of our own: what it sets is known, what happens then is not",
    "stand-in": "real code against something played: a paid API, a cloud, a GPU, a small model in place of a large one",
    "read only": "held against source, documentation or figures that others published; never run here",
}

SUBJECTS: Final = ("Kubernetes", "AWS", "Ray", "NATS", "One machine", "GPU", "Monitoring", "Security")

SUBJECT_OF: Final = {
    "tests/app/": "One machine",
    "tests/benchmarks/gpu": "GPU",
    "tests/chaos/": "One machine",
    "tests/cli/": "One machine",
    "tests/deployments/": "Ray",
    "tests/deployments/kubernetes": "Kubernetes",
    "tests/deployments/monitoring/": "Monitoring",
    "tests/deployments/test_cluster_file": "AWS",
    "tests/deployments/test_containers": "Kubernetes",
    "tests/deployments/test_manifests": "Kubernetes",
    "tests/deployments/test_model_profiles": "GPU",
    "tests/deployments/test_spot": "AWS",
    "tests/deployments/test_units": "One machine",
    "tests/deployments/weights": "GPU",
    "tests/e2e/": "Ray",
    "tests/policies/capacity/": "GPU",
    "tests/queues/": "NATS",
}
"""The subject of a mark that names none; the longest beginning of its file's path counts."""

HEAD: Final = """# What is tested how

What an operator may count on, and what that rests on. **Never run: a GPU, a Kubernetes cluster, AWS.** What is marked
*real* ran on one Linux machine with two cores and no GPU: NATS servers, Ray with small models on the CPU, Ray's head
killed there. *Lint* and *schema* say what a file sets, not what a cluster makes of it; *read only* may well hold, but
nobody has seen it hold here. Figures are on [another page](measured.md), promises about single jobs on
[another](../explanation/reliability.md).

| how | what it means |
|---|---|
"""

FOOT: Final = """
<!-- Generated from the marks of the tests. Write it anew:
PYTHONPATH=tests/support .venv/bin/python -m proven docs/reference/proven.md -->
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of one test, or of none. `shown` is the test's name or the reason why there is none."""

    text: str
    how: str
    subject: str
    shown: str
    place: str


def claims(root: Path = ROOT, without: Path = WITHOUT_A_TEST) -> list[Claim]:
    """Return every claim of the tests under `root`, and those of the list of claims without a test."""
    files = sorted((root / "tests").rglob("test_*.py"))
    marked = [each for file in files for each in claims_in(file.read_text(), str(file.relative_to(root)))]
    return [*marked, *listed(without)]


def listed(file: Path) -> Iterator[Claim]:
    """Yield the claims without a test."""
    for subject, rows in yaml.safe_load(file.read_text()).items():
        for row in rows:
            yield Claim(row["claim"], row["how"], subject, row["reason"], f"{file.name}: {subject}")


def claims_in(source: str, path: str) -> Iterator[Claim]:
    """Yield the claims of one module. Raises `ValueError` where a mark is not on a test or holds no literals."""
    if "mark.proves" not in source:
        return
    tree = ast.parse(source)
    read = 0
    for test in ast.walk(tree):
        if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef) and test.name.startswith("test_"):
            for mark in filter(_is_mark, test.decorator_list):
                read += 1
                yield _claim(mark, f"{path}::{test.name}")
    if read != sum(map(_is_mark, ast.walk(tree))):
        raise ValueError(f"{path}: a `proves` mark has to be a decorator of a test function")


def _is_mark(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr="proves", value=ast.Attribute(attr="mark"))):
            return True
    return False


def _claim(mark: ast.expr, place: str) -> Claim:
    match mark:
        case ast.Call(args=[ast.Constant(str(text))], keywords=keywords):
            words = {each.arg: each.value.value for each in keywords if isinstance(each.value, ast.Constant)}
            subject = words.get("subject") or subject_of(place)
            return Claim(text, str(words.get("how", "")), str(subject), f"`{place}`", place)
    raise ValueError(f'{place}: write @pytest.mark.proves("a claim", how="real"), with literal strings')


def subject_of(path: str) -> str:
    """Return the subject of the longest beginning of a path that has one, empty if none has."""
    return SUBJECT_OF[max(found, key=len)] if (found := [each for each in SUBJECT_OF if path.startswith(each)]) else ""


def faults(found: Iterable[Claim]) -> list[str]:
    """Return what is wrong with claims, a line each."""
    found = list(found)
    times = Counter(each.text.strip().casefold() for each in found)
    return [line for each in found for line in _faults(each, times[each.text.strip().casefold()])]


def _faults(claim: Claim, times: int) -> Iterator[str]:
    if not claim.text.strip() or set("|\n") & set(claim.text):
        yield f"{claim.place}: the claim has to be one line of text without |"
    elif times > 1:
        yield f"{claim.place}: another test makes the same claim: {claim.text}"
    if claim.how not in HOW:
        yield f"{claim.place}: how is {claim.how!r}; it has to be one of {', '.join(HOW)}"
    if claim.subject not in SUBJECTS:
        yield f"{claim.place}: subject is {claim.subject!r}; name one of {', '.join(SUBJECTS)} with subject="
    if not claim.shown.strip():
        yield f"{claim.place}: the reason is missing"


def page(found: Iterable[Claim]) -> str:
    """Return the page: a table for each subject, its claims in alphabetical order."""
    found = list(found)
    kinds = "".join(f"| {how} | {meaning} |\n" for how, meaning in HOW.items())
    return HEAD + kinds + "".join(_table(each, found) for each in SUBJECTS) + FOOT


def _table(subject: str, found: list[Claim]) -> str:
    rows = sorted(
        (each for each in found if each.subject == subject), key=lambda each: (each.text.casefold(), each.how)
    )
    if not rows:
        return ""
    table = "".join(f"| {each.text} | {each.how} | {each.shown} |\n" for each in rows)
    return f"\n## {subject}\n\n| claim | how | test, or why there is none |\n|---|---|---|\n{table}"


def counts(found: Iterable[Claim]) -> str:
    """Return how many claims there are of each kind, in one line."""
    kinds = Counter(each.how for each in found)
    return ", ".join(f"{how} {kinds[how]}" for how in HOW if kinds[how])


if __name__ == "__main__":
    everything = claims()
    if wrong := faults(everything):
        sys.exit("\n".join(wrong))
    Path(sys.argv[1]).write_text(page(everything))
    sys.stderr.write(f"{len(everything)} claims: {counts(everything)}\n")
