"""What the tests take for the manifests is what kubectl makes of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import kustomize
import pytest
import yaml
from manifests import EVERYTHING, FOLDER

Object = kustomize.Object

FOLDERS = (*EVERYTHING, "broker", "../monitoring")


def by_name(objects: list[Object]) -> dict[tuple[str, str], Object]:
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


@pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="needs kubectl, which no package index and no Debian has new enough"
)
@pytest.mark.parametrize("folder", FOLDERS)
def test_our_renderer_makes_the_objects_that_kubectl_makes(folder: str) -> None:
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER / folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert by_name(kustomize.render(FOLDER / folder)) == by_name(list(yaml.safe_load_all(done.stdout)))


@pytest.mark.parametrize("said", ["namePrefix: dev-", "replicas: [{name: nats, count: 1}]"])
def test_a_field_that_is_not_known_is_refused(tmp_path: Path, said: str) -> None:
    (tmp_path / "kustomization.yaml").write_text(f"kind: Kustomization\n{said}\n")
    with pytest.raises(ValueError, match=said.partition(":")[0]):
        kustomize.render(tmp_path)
