"""`make bench`, or `python -m tests.bench [ROW ...]`: measures and appends to docs/benchmarks.md.

python -m tests.bench --quick serving    one short round, printed only: a trial, no measurement
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.bench.harness import Report
from tests.bench.rows import QUICK, ROWS


def main(arguments: list[str]) -> int:
    is_quick = "--quick" in arguments
    wanted = [name for name in arguments if name != "--quick"]
    known = QUICK if is_quick else ROWS
    if unknown := set(wanted) - set(known):
        print(f"no such row: {', '.join(sorted(unknown))}. The rows are {', '.join(sorted(known))}", file=sys.stderr)
        return 2
    report = Report(command=" ".join(["python -m tests.bench", *wanted]))
    try:
        for name in wanted or known:
            print(f"\n{name}", flush=True)
            options = {"is_quick": True} if is_quick else {}
            with tempfile.TemporaryDirectory(prefix="sightline-bench-") as folder:
                for row in ROWS[name](Path(folder), **options):
                    report.add(row)
    finally:
        if report.rows and not is_quick:
            report.write()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
