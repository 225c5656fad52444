"""Chunks of whole lines: nothing lost, bounded, and the same again after a change elsewhere in the file."""

import io
import random

import pytest

from watchline.data.sources import chunks
from watchline.data.sources.chunks import LineError, cut_lines

LEAST, STRETCH = 4000, 2000


def cut(data: bytes) -> list[bytes]:
    return list(cut_lines(io.BytesIO(data), LEAST, STRETCH))


def some_lines(count: int) -> list[bytes]:
    numbers = random.Random(0)
    return [b"%d,%d\n" % (i, numbers.randrange(10 ** numbers.randrange(1, 20))) for i in range(count)]


def test_the_chunks_are_the_file_in_whole_lines_of_bounded_size():
    data = b"".join(some_lines(5000))
    pieces = cut(data)
    assert b"".join(pieces) == data
    assert len(pieces) > 10
    assert all(piece.endswith(b"\n") and len(piece) <= LEAST + STRETCH for piece in pieces)
    assert all(len(piece) >= LEAST for piece in pieces[:-1])


@pytest.mark.parametrize("data", [b"", b"\n", b"a", b"a\nb", b"\n" * 9000, b"a" * 5999, b"a" * 6000 + b"\n"])
def test_files_of_odd_shape_are_kept_whole(data):
    assert b"".join(cut(data)) == data


def test_a_file_that_grew_has_the_same_chunks_but_for_the_last():
    lines = some_lines(5000)
    before, after = cut(b"".join(lines[:4000])), cut(b"".join(lines))
    assert after[: len(before) - 1] == before[:-1]
    assert len(after) > len(before)


@pytest.mark.parametrize("new", [[], [b"0,0\n"], [b"a longer line than there was\n"], [b"1\n", b"2\n", b"3\n"]])
def test_a_line_changed_taken_out_or_put_in_leaves_nearly_all_chunks_alone(new):
    lines = some_lines(5000)
    before = cut(b"".join(lines))
    for place in (0, 700, 2500):
        after = cut(b"".join([*lines[:place], *new, *lines[place + 1 :]]))
        assert len(set(after) - set(before)) <= 3


def test_a_line_longer_than_a_chunk_is_one_chunk():
    data = b"a\n" * 10 + b"b" * 20_000 + b"\n" + b"c\n" * 10
    assert b"".join(cut(data)) == data


def test_a_file_without_line_ends_is_refused_before_it_fills_memory(monkeypatch):
    monkeypatch.setattr(chunks, "LONGEST_LINE", 50_000)
    stream = io.BytesIO(b"x" * 10**6)
    with pytest.raises(LineError, match="no line end"):
        list(cut_lines(stream, LEAST, STRETCH))
    assert stream.tell() < 100_000
