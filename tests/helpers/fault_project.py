"""A line that works slowly and in pieces, so that a kill leaves half of an output, with two ranks in its training."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.daily_project import CONFIG, DVC_YAML, add_days, write_line
from tests.helpers.git_project import start_repository

# Every stage writes its outputs in pieces, $PAUSE seconds apart (default 0.02), and none heeds SIGTERM where there is a
# file runs/stubborn. Ranks of train have sessions of their own, as torchrun's have, and a checkpoint that they go on
# from; train says of a dead one what torchrun would.
LINE = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

if Path("runs/stubborn").exists():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
stage, arguments = sys.argv[1], sys.argv[2:]
if arguments[-1:] == ["--newest-day"]:
    print(sorted(Path(arguments[0]).iterdir())[-1].name)
    sys.exit()
for folder in ("data/ingest", "models/gr", "reports/ingest", "reports/evaluate", "runs/train"):
    Path(folder).mkdir(parents=True, exist_ok=True)


def write(path, text, pieces=20):
    size = -(-len(text) // pieces)
    with open(path, "w") as file:
        for start in range(0, len(text), size):
            file.write(text[start : start + size])
            file.flush()
            time.sleep(float(os.environ.get("PAUSE", "0.02")))


if stage == "ingest":
    days = [path for path in sorted(Path(arguments[0]).iterdir()) if path.name <= arguments[1]]
    for path in days:
        write(f"data/ingest/{path.name}", path.read_text())
    write("reports/ingest/metrics.json", json.dumps({"rows": {"exposures": len(days)}}), 2)
elif stage == "train":
    ranks = [
        subprocess.Popen([sys.executable, "line.py", "rank", str(rank), arguments[1]], start_new_session=True)
        for rank in range(2)
    ]
    while any(rank.poll() is None for rank in ranks) and not any(rank.poll() for rank in ranks):
        time.sleep(0.02)
    if dead := [rank for rank in ranks if rank.poll()]:
        for rank in ranks:
            rank.kill()
        sys.exit(f"rank {ranks.index(dead[0])}: Signal 9 (SIGKILL) received by PID {dead[0].pid}")
elif stage == "rank":
    text = "".join(path.read_text() for path in sorted(Path("data/ingest").iterdir()))
    lines = [f"{number * float(arguments[1]):.3f} {line}" for number, line in enumerate(text.splitlines())]
    checkpoint = Path(f"runs/train/{arguments[0]}-{arguments[1]}-{len(lines)}")
    done = checkpoint.read_text().splitlines() if checkpoint.exists() else []
    for number in range(len(done), len(lines), 25):
        done += lines[number : number + 25]
        Path(f"{checkpoint}.partial").write_text("\\n".join(done))
        Path(f"{checkpoint}.partial").rename(checkpoint)
        time.sleep(float(os.environ.get("PAUSE", "0.02")))
    write(f"models/gr/{arguments[0]}", "\\n".join(done))
elif stage == "evaluate":
    text = "".join(path.read_text() for path in sorted(Path("models/gr").iterdir()))
    metrics = {"mae_s": len(text), "sum": sum(map(ord, text))}
    write("reports/evaluate/metrics.json", json.dumps({"models": {"gr": metrics}}))
else:
    write("reports/index.html", Path("reports/evaluate/metrics.json").read_text())
"""


def make_fault_project(root: Path, *days: str, rows: int = 300) -> Path:
    """A git repository with DVC, the slow line, and a raw log of `rows` lines for each of `days`."""
    write_line(root, CONFIG, DVC_YAML, LINE)
    add_days(root, *days)
    for day in days:
        (root / "raw" / day).write_text("".join(f"{day} {row} {row * row % 9973}\n" for row in range(rows)))
    return start_repository(root, core_autostage="true")
