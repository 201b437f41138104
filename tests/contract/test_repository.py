"""What the repository promises about itself: licences, environments, nobody else's names."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("contracts", "connectors", "inference", "dashboard", "sightline")
# Training only: these need the train environment and carry its licence.
TRAIN_ONLY = {"torch", "torchvision", "ultralytics", "onnx", "onnxslim"}
TRAIN_MODULES = {
    "inference/delivery/train.py",
    "inference/delivery/training.py",
    "inference/delivery/weights.py",
    "inference/delivery/lineage.py",
    "inference/delivery/export.py",
    "inference/engines/torch_engine.py",
    "inference/engines/torch_network.py",
    "tests/component/test_training.py",
}


def repository_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def imported_names(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_no_installed_distribution_shadows_our_packages() -> None:
    owners = importlib.metadata.packages_distributions()
    strangers = {name: set(owners.get(name, [])) - {"sightline"} for name in PACKAGES}
    assert all(not found for found in strangers.values()), strangers


def test_the_service_environment_has_no_torch_and_no_agpl_package() -> None:
    found = []
    for distribution in importlib.metadata.distributions():
        metadata = distribution.metadata
        licence = " ".join(
            [metadata.get("License-Expression") or "", (metadata.get("License") or "")[:200]]
            + [entry for entry in metadata.get_all("Classifier") or [] if entry.startswith("License")]
        )
        if re.search(r"AGPL|Affero", licence) or metadata["Name"] in {"torch", "ultralytics"}:
            found.append((metadata["Name"], licence))
    assert found == []


def test_only_training_and_export_import_what_only_the_train_environment_has() -> None:
    importers = {
        str(file.relative_to(ROOT))
        for file in repository_files()
        if file.suffix == ".py" and imported_names(file) & TRAIN_ONLY
    }
    assert importers <= TRAIN_MODULES, importers - TRAIN_MODULES


def test_the_gpu_environment_is_the_services_with_the_other_build_of_onnx_runtime() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    service, gpu = ({line.split(";")[0].strip() for line in lines} for lines in (
        project["project"]["dependencies"], project["dependency-groups"]["gpu"]
    ))  # fmt: skip
    only_service, only_gpu = service - gpu, gpu - service
    assert [re.split(r"[^\w-]", line)[0] for line in only_service] == ["onnxruntime"]
    assert [re.split(r"[^\w-]", line)[0] for line in only_gpu] == ["onnxruntime-gpu"]
    assert any({"group": "gpu"} in apart for apart in project["tool"]["uv"]["conflicts"])


@pytest.mark.parametrize("name", ["demo_model", "weaker_model"])
def test_a_demo_model_stands_under_its_own_licence_and_outside_of_the_wheel(name: str) -> None:
    folder = ROOT / "inference/delivery" / name
    assert "GNU AFFERO GENERAL PUBLIC LICENSE" in (folder / "LICENSE").read_text("utf-8")
    assert json.loads((folder / "model.json").read_text("utf-8"))["licence"] == "AGPL-3.0"
    assert (folder / "model.onnx").stat().st_size <= 12 * 1024 * 1024
    assert b"AGPL" in (folder / "model.onnx").read_bytes()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert f"inference/delivery/{name}" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["exclude"]


def test_no_model_stands_outside_of_the_demo_models_folders() -> None:
    models = [file for file in repository_files() if file.suffix in {".onnx", ".pt", ".engine"}]
    assert {file.parent.name for file in models} == {"demo_model", "weaker_model"}


def test_no_address_of_a_package_registry_and_no_path_of_one_machine_is_written_down() -> None:
    pattern = re.compile(r"https?://[^\s\"')]*(/simple\b|/maven2|/@v/|pypi\.|npmjs)|(?<![\w./])/(root|work|home/\w+)/")
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for file in repository_files()
        if file.suffix not in {".lock", ".onnx", ".jpg", ".png"} and file != Path(__file__)
        for number, line in enumerate(file.read_text("utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_every_file_that_a_page_links_to_is_there() -> None:
    links = [
        (page, target.split("#")[0])
        for page in repository_files()
        if page.suffix == ".md"
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
        if "://" not in target and not target.startswith("#")
    ]
    assert (ROOT / "README.md", "tests/e2e/test_spine.py") in links
    assert [
        f"{page.relative_to(ROOT)}: {target}" for page, target in links if not (page.parent / target).exists()
    ] == []
