"""`python -m benchmarks [NAME…]`: run the measurements, print them, and fail if a bound is not kept.

Several are run one after the other, each in a process of its own: SoftHSM reads the place of its tokens once in a
process, and each measurement makes a place of its own.
"""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import benchmarks
from benchmarks.rows import table

PLUMBING = ("__main__", "bare", "exchange", "hospital", "relays", "rows", "tls_provider")


def main() -> int:
    """Returns 1 if any ratio misses its bound."""
    present = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in PLUMBING)
    names = sys.argv[1:] or present
    unknown = [name for name in names if name not in present]
    if unknown:
        print(f"No benchmark called {', '.join(unknown)}; there are: {', '.join(present)}", file=sys.stderr)
        return 2
    if len(names) == 1:
        return 0 if _run(names[0]) else 1
    ended = [subprocess.run([sys.executable, "-m", "benchmarks", name], check=False).returncode for name in names]
    return 1 if any(ended) else 0


def _run(name: str) -> bool:
    """Run one measurement, print its table, and return whether every bound is kept."""
    module = importlib.import_module(f"benchmarks.{name}")
    print(f"\n## {name}\n\n{(module.__doc__ or '').strip()}\n", flush=True)
    rows = list(module.run())
    print(table(rows), flush=True)
    return all(row.holds for row in rows)


if __name__ == "__main__":
    sys.exit(main())
