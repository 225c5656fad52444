"""All pages anew from the outputs that are there; `make reports` calls it.

PYTHONPATH=src python -m watchline.overview
"""

from __future__ import annotations

import sys
from pathlib import Path

from watchline.overview.rebuild import rebuild

if __name__ == "__main__":
    try:
        done = rebuild(Path())
    except (ValueError, OSError) as error:  # the message alone is the answer
        sys.exit(f"error: {error}")
    names = ", ".join(map(str, done.changed)) or "none"
    print(f"{len(done.pages)} pages in {done.seconds:.1f} s; changed: {names}")
