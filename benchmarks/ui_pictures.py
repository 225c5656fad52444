"""Pictures of a running service for the README: a run with its stages, and the form of a custom run.

PYTHONPATH=src:. python benchmarks/ui_pictures.py --ui http://127.0.0.1:4200 --run NAME --out docs

Needs Chromium on the path, `make ui`, and a run of the whole line. The form is filled in, not submitted.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from PIL import Image

from tests.helpers.browser import Tab, browser, chromium
from tests.helpers.reader import choose, click, field, see, thing, write

DRAWN_S = 180.0  # without a graphics card the line of time comes late
TIMELINE = (272, 112, 1264, 480)  # left, top, right, bottom in the window


def main() -> int:
    """Make ui_run.png and ui_form.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ui", default="http://127.0.0.1:4200")
    parser.add_argument("--run", required=True, help="name of a run, as the UI's page Runs has it")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    program = chromium()
    if program is None:
        print("error: no Chromium on the path", file=sys.stderr)
        return 1
    with browser(program) as tab:
        tab.visit(f"{arguments.ui}/runs")
        click(tab, thing(arguments.run, "a[href*='/flow-run/']"))
        see(tab, "Task Runs")
        click(tab, thing("Task Runs", ".p-tab"))
        see(tab, "report\nCompleted")
        wait_until_drawn(tab, arguments.out / "ui_run.png")
        keep(tab, arguments.out / "ui_run.png")

        tab.visit(f"{arguments.ui}/deployments")
        click(tab, thing("run", "a[href*='/deployments/deployment/']"))
        click(tab, thing("Run"))
        click(tab, thing("Custom run", "[class*=menu-item]"))
        click(tab, thing("Add item"))
        write(tab, field("Overrides", "textarea"), "train.gr.width=128")
        choose(tab, "Last stage", "evaluate")
        tab.run(f"{field('settings', '.p-label__header')}.scrollIntoView()")
        time.sleep(1)
        keep(tab, arguments.out / "ui_form.png")
    return 0


def wait_until_drawn(tab: Tab, path: Path) -> None:
    """Until the line of time has the green bars of stages; `path` is written over. Raises TimeoutError."""
    until = time.monotonic() + DRAWN_S
    while time.monotonic() < until:
        tab.picture(path, whole=False)
        colours = Image.open(path).convert("RGB").crop(TIMELINE).getcolors(1 << 20)
        if sum(count for count, (red, green, blue) in colours if green > 100 + max(red, blue) / 2) > 5_000:
            return
        time.sleep(1)
    raise TimeoutError(f"no line of time within {DRAWN_S:.0f} s")


def keep(tab: Tab, path: Path) -> None:
    """The window as a PNG of few colours, which a page without photographs can do with."""
    tab.picture(path, whole=False)
    Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
