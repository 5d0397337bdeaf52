"""Nothing reaches a cluster by a name that may mean something else tomorrow."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
import yaml
from manifests import FOLDER, pods, printed, rendered
from pages import ROOT, blocks

from deployments import pinned

PAGE = ROOT / "docs" / "how-to" / "kubernetes.md"
DIGEST = "sha256:" + "0" * 64


def overlay(folder: Path) -> str:
    """Write the overlay that the page shows, with digests, and return what kubectl makes of it."""
    [text] = [block.text for block in blocks(PAGE) if block.language == "yaml" and "kind: Kustomization" in block.text]
    shown = yaml.safe_load(text)
    kustomizations = {"kubernetes": FOLDER, "tasks": FOLDER / "tasks"}
    shown["resources"] = [os.path.relpath(kustomizations[Path(each).name], folder) for each in shown["resources"]]
    for image in shown["images"]:
        assert image["digest"] == "sha256:…"
        image["digest"] = DIGEST
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(shown))
    return printed(str(folder))


@pytest.mark.proves("The overlay of the guide names every image by its digest", how="schema")
def test_the_overlay_of_the_page_pins_every_image(tmp_path: Path) -> None:
    text = overlay(tmp_path)
    assert pinned.not_pinned(text) == []
    assert len(pods(list(yaml.safe_load_all(text)))) == len(pods(rendered(".", "tasks")))


def passes(text: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return pinned.main()


def test_what_is_pinned_goes_through_unchanged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"kind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{image: 'b:1@{DIGEST}'}}]}}\n"
    assert passes(text, monkeypatch) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("{containers: [{image: 'b:1.0'}]}", "image b:1.0 has no digest"),
        ("{initContainers: [{image: 'b@sha256:abc'}]}", "image b@sha256:abc has no digest"),
        ("{amiSelectorTerms: [{alias: al2023@latest}]}", "alias al2023@latest changes by itself"),
        ("{amiSelectorTerms: [{id: ami-REPLACE}]}", "id is still ami-REPLACE"),
        ("{amiSelectorTerms: [{id: ami-xyz}]}", "id ami-xyz is no machine image"),
        ("{parameters: {fileSystemId: fs-REPLACE}}", "fileSystemId is still fs-REPLACE"),
    ],
)
def test_what_is_not_pinned_is_named_and_nothing_goes_through(
    spec: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert passes(f"kind: Thing\nmetadata: {{name: a}}\nspec: {spec}\n", monkeypatch) == 1
    printed_out, errors = capsys.readouterr()
    assert (printed_out, errors) == ("", f"Thing a: {told}\n")


def test_nothing_at_all_is_a_mistake_and_not_an_empty_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert passes("", monkeypatch) == 1


@pytest.mark.proves("The shipped examples cannot be applied before their placeholders are filled in", how="lint")
def test_the_example_for_aws_does_not_go_through_as_it_is_shipped() -> None:
    assert len(pinned.not_pinned(printed("aws"))) == 3
