"""How fast the data stages are and how much memory they hold, ratios against plain pandas in the same run.

    python benchmarks/data.py                    # minutes on two cores; --quick for a tenth of the rows
    python benchmarks/data.py --parts ingest     # some of the parts alone

Runs from a checkout, installed or not; generates its data. The last line is one JSON object: figure -> value, target,
unit, better.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from functools import partial
from pathlib import Path

# Modules benchmarks/measure_data_NAME.py, each with `measure(quick) -> {figure: Figure}`.
PARTS = ("ingest", "validate", "new_day")


def main() -> None:
    """Measure the parts asked for, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, to see that it runs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    from benchmarks.figures import report

    modules = [importlib.import_module(f"benchmarks.measure_data_{name}") for name in arguments.parts]
    report([partial(module.measure, arguments.quick) for module in modules])


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(root), str(root / "src")]
    main()
