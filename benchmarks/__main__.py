"""`python -m benchmarks [NAME…]`: run the measurements, print them, and fail if a bound is not kept."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks
from benchmarks.rows import table

PLUMBING = ("__main__", "rows", "tls_provider")


def main() -> int:
    """Returns 1 if any ratio misses its bound."""
    present = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in PLUMBING)
    names = sys.argv[1:] or present
    unknown = [name for name in names if name not in present]
    if unknown:
        print(f"No benchmark called {', '.join(unknown)}; there are: {', '.join(present)}", file=sys.stderr)
        return 2
    kept = True
    for name in names:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n## {name}\n\n{(module.__doc__ or '').strip()}\n", flush=True)
        rows = list(module.run())
        print(table(rows), flush=True)
        kept = kept and all(row.holds for row in rows)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
