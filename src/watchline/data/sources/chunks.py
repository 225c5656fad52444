"""Cuts a text file into chunks of whole lines whose borders depend on what the lines say, not on where they stand.

A chunk ends at the line with the smallest checksum within a stretch of lines past its least size. A line put in, taken
out or changed therefore moves the border of its own chunk at most, and the chunks after it stay what they were; a file
that grew has the same chunks but for the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO
from zlib import crc32

LEAST_BYTES = 7 << 20  # of a chunk that is not the last
STRETCH_BYTES = 1 << 18  # where its end is looked for
LONGEST_LINE = 64 << 20  # more without a line end is no text


class LineError(ValueError):
    """No line end within LONGEST_LINE bytes."""


def cut_lines(stream: BinaryIO, least: int = LEAST_BYTES, stretch: int = STRETCH_BYTES) -> Iterator[bytes]:
    """Chunks of about `least` + `stretch` / 2 bytes from where `stream` stands to its end, each of whole lines.

    Holds one chunk at a time. Raises LineError for a line longer than LONGEST_LINE.
    """
    held = stream.read(least + stretch)
    while len(held) == least + stretch:
        end = _border(held, least)
        while end is None:  # a line longer than the stretch: read on to its end
            more = stream.readline(LONGEST_LINE)
            held += more
            if more.endswith(b"\n") or not more:
                end = len(held)
            elif len(more) == LONGEST_LINE:
                raise LineError(f"no line end within {LONGEST_LINE >> 20} MiB")
        yield held[:end]
        rest = held[end:]
        held = rest + stream.read(max(least + stretch - len(rest), 0))
    if held:
        yield held


def _border(held: bytes, least: int) -> int | None:
    """Position after the line of smallest checksum among those that end past `least`; None when none does."""
    start, last = held.find(b"\n", least - 1) + 1, held.rfind(b"\n") + 1
    if start == 0:
        return None
    lines = held[start:last].split(b"\n")[:-1]
    if not lines:
        return start
    chosen = min(range(len(lines)), key=lambda number: crc32(lines[number]))
    return start + sum(len(line) + 1 for line in lines[: chosen + 1])
