"""How fast GR is: encoding, training, decoding, XAUC, against a plain reference in the same run.

    python benchmarks/gr.py            # about two minutes on one core; --quick for a tenth of the work

Runs from a checkout, installed or not; needs no data.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    root = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(root), str(root / "src")]
    from benchmarks.measure_gr import main

    main()
