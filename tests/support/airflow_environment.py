"""Airflow's own environment, for the tests that run inside it (tests/airflow), and the schemas of Kubernetes.

    inside("pytest", …) ──► <Airflow's python>, with dags, plugins and this environment's pytest in reach

AIRFLOW_PYTHON names another one than the stack's install makes.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from contracts.settings import Settings
from sightline.stack import install

ROOT = Path(__file__).resolve().parents[2]
PYTEST = ("pytest", "_pytest", "iniconfig", "py")  # the rest that it needs comes with Airflow
KUBERNETES = "1.34"
VALIDATE = "kubernetes-validate==1.37.0"  # the package of schemas; a later one knows earlier versions too


def python() -> Path:
    """Its interpreter, made first where it is not there."""
    if given := os.environ.get("AIRFLOW_PYTHON"):
        return Path(given)
    settings = Settings.load()
    full = settings.stack.model_copy(update={"profile": "full"})
    found = install.ensure(settings.model_copy(update={"stack": full})).airflow
    assert found is not None
    return found / "bin" / "python"


def inside(
    scratch: Path, *words: str, seconds: float = 500, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs Python words there. `scratch` is its home and holds the way to pytest."""
    borrowed = scratch / "pytest"
    borrowed.mkdir(exist_ok=True)
    for name in PYTEST:
        found = importlib.util.find_spec(name)
        assert found is not None, name
        assert found.origin is not None, name
        there = Path(found.origin)
        there = there.parent if there.name == "__init__.py" else there
        if not (borrowed / there.name).exists():
            (borrowed / there.name).symlink_to(there)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "SIGHTLINE_", "PYTEST"))
    }
    own = {
        "AIRFLOW_HOME": str(scratch / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "plugins"), str(borrowed))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "KUBECONFIG": str(scratch / "no-cluster"),
    }
    return subprocess.run(
        [str(python()), "-P", *words], cwd=ROOT / "tests" / "airflow", env=kept | own | dict(environment or {}),
        capture_output=True, text=True, timeout=seconds,
    )  # fmt: skip


def schema_complaints(scratch: Path, manifests: Path) -> subprocess.CompletedProcess[str]:
    """Gives each manifest of a JSON file {set: {name: manifest}} to Kubernetes' own schema, strictly.

    Prints the number that it looked at, and each complaint; exit code 1 when there is one.
    """
    script = scratch / "validate.py"
    script.write_text(
        "import json, sys\n"
        "import kubernetes_validate as kube\n"
        "seen, bad = 0, []\n"
        "for group, pods in json.load(open(sys.argv[1])).items():\n"
        "    for name, pod in pods.items():\n"
        "        seen += 1\n"
        "        try:\n"
        "            kube.validate(pod, sys.argv[2], strict=True)\n"
        "        except kube.ValidationError as error:\n"
        "            bad.append(f'{group} {name}: {error.message}')\n"
        "print(seen, *bad, sep='\\n')\n"
        "sys.exit(bool(bad))\n"
    )
    words = ("run", "--quiet", "--no-project", "--with", VALIDATE, "python", str(script), str(manifests), KUBERNETES)
    clean = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    return subprocess.run([install.find_uv(), *words], cwd=scratch, env=clean, capture_output=True, text=True)
