"""`make bench`, or `python -m tests.bench [ROW ...]`: measures and appends to docs/benchmarks.md."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.bench.harness import Report
from tests.bench.rows import ROWS


def main(wanted: list[str]) -> int:
    if unknown := set(wanted) - set(ROWS):
        print(f"no such row: {', '.join(sorted(unknown))}. The rows are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    report = Report(command=" ".join(["python -m tests.bench", *wanted]))
    try:
        for name in wanted or ROWS:
            print(f"\n{name}", flush=True)
            with tempfile.TemporaryDirectory(prefix="sightline-bench-") as folder:
                for row in ROWS[name](Path(folder)):
                    report.add(row)
    finally:
        if report.rows:
            report.write()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
