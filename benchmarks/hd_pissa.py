"""What HD-PiSSA costs: steps, bases, bytes sent, memory, against the plain algorithm and LoRA in the same run.

    python benchmarks/hd_pissa.py      # some minutes on two cores; --quick for one layer and one round

Runs from a checkout, installed or not; needs no data. Where there is a CUDA device, a model of a billion parameters
follows on it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    root = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(root), str(root / "src")]
    from benchmarks.measure_hd_pissa import main

    main()
