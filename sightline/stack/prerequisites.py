"""What the machine must bring, and the one line that installs what is missing. Standard library only.

python3 >= 3.11    everything
JDK 17+ (javac)    builds the Connect plugin
Maven              fetches Kafka, the registry and the sinks
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

from sightline.stack import versions

INSTALL = {
    "python3": {"linux": "apt-get install -y python3 python3-venv", "darwin": "brew install python@3.13"},
    "javac": {"linux": "apt-get install -y default-jdk-headless", "darwin": "brew install openjdk"},
    "mvn": {"linux": "apt-get install -y maven", "darwin": "brew install maven"},
}


def how_to_install(tool: str) -> str:
    """The line for this kind of machine."""
    return INSTALL[tool]["darwin" if sys.platform == "darwin" else "linux"]


def missing_build_tools() -> list[str]:
    """One sentence for each of javac and Maven that is absent or too old, with the line that installs it."""
    missing = []
    found = javac_major()
    if found is None:
        missing.append("no JDK (javac) on PATH. Install one: " + how_to_install("javac"))
    elif found < versions.JDK_MINIMUM:
        missing.append(
            "javac is {}, {} or newer is needed. Install one: {}".format(
                found, versions.JDK_MINIMUM, how_to_install("javac")
            )
        )
    if shutil.which("mvn") is None:
        missing.append("no Maven (mvn) on PATH. Install it: " + how_to_install("mvn"))
    return missing


def javac_major() -> int | None:
    """The major version of the JDK on PATH, None without one."""
    if shutil.which("javac") is None:
        return None
    try:
        answer = subprocess.run(["javac", "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # macOS has a javac that only says that there is none
    match = re.search(r"javac (\d+)", answer.stdout + answer.stderr)
    return int(match.group(1)) if match and answer.returncode == 0 else None
