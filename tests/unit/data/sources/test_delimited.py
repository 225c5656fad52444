"""The fast path and the strict one read the same, and a chunk reads the same wherever it stands."""

import random
import re
from itertools import zip_longest
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from watchline.data.sources import parsing
from watchline.data.sources.delimited import Field, Layout, Lines, read_delimited

FIELDS = (
    Field("id", "id", parsing.whole, "a whole number", required=True),
    Field("day", "day", parsing.compact_date, "a date YYYYMMDD"),
    Field("seen", "seen", parsing.flag, "0 or 1"),
    Field("ms", "seconds", parsing.seconds_from_ms, "a number of milliseconds"),
    Field("at", "at", parsing.utc_from_ms, "a time in milliseconds"),
    Field("name", "name", parsing.text, "text"),
)
HEADER = "id,day,unused,seen,ms,at,name"
ROW = "1,20220425,0,1,1500,1650812741436,7"
WHOLE = ["7", "-0", "+12", "007", "9223372036854775807", "1650812741436"]
ODD = ["", "7.0", "1.5", " 7", "x", "9223372036854775808", "nan", "1e3", '"7"', "é", "20229999"]


def lines_of(path: Path, null_codes: tuple[str, ...] = ()) -> Lines:
    path.write_text(HEADER + "\n")
    return Lines(path, Layout(FIELDS, "a table", null_codes=null_codes))


def random_chunk(seed: int, values: list[str], num_fields: int = 7) -> bytes:
    numbers = random.Random(seed)
    rows = [[numbers.choice(values) for _ in range(num_fields)] for _ in range(40)]
    for row in rows:
        row[1] = numbers.choice(["20220425", "20220426", row[1]])
    return "".join(",".join(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize("null_codes", [(), ("-124", "007")])
@pytest.mark.parametrize("values", [["0", "1"], ["0", "1", ""], WHOLE, [*WHOLE, *ODD]])
@pytest.mark.parametrize("seed", range(5))
def test_a_chunk_of_plain_numbers_reads_as_it_does_line_by_line(tmp_path, seed, values, null_codes):
    lines = lines_of(tmp_path / "table.csv", null_codes)
    chunk = random_chunk(seed, values)
    fast = lines.parse(chunk)
    strict = lines.parse(chunk + b'"\n')  # the open quote sends the whole chunk through the strict path
    assert_frame_equal(fast.frame, strict.frame, check_exact=True)
    assert_frame_equal(fast.unparsable, strict.unparsable[:-1])
    assert fast.frame["seconds"].cast(str).to_list() == strict.frame["seconds"].cast(str).to_list()  # no -0.0


@pytest.mark.parametrize(("line", "found"), [(ROW + ",1", [9]), (ROW.rpartition(",")[0], [9]), ("", [])])
def test_a_line_with_a_field_too_many_or_too_few_is_found_among_plain_numbers(tmp_path, line, found):
    lines = lines_of(tmp_path / "table.csv")
    parsed = lines.parse("\n".join([ROW] * 9 + [line] + [ROW] * 9).encode())
    assert len(parsed.frame) == 18
    assert parsed.unparsable["line"].to_list() == found


@pytest.mark.parametrize("separator", [",", ";", "|", "\t"])
def test_a_quote_inside_a_field_makes_one_unparsable_line(tmp_path, separator):
    odd = ['2,ab"c,d"e', '2,"b"c', '2,ab"c"', '2, "b"', '2,"b" ', '2"",b', '2,"b"c"d"', '2,"b""c', '2,ab"', '2,"b,c"d"']
    sound = ['1,"b,c"', '"2",b', '3,"b ""c"" "', '4,""', '"5","b"', '6,""""', "7,b"]
    rows = [line.replace(",", separator) for pair in zip_longest(sound, odd) for line in pair if line]
    path = tmp_path / "table.csv"
    path.write_text("\n".join([f"id{separator}name", *rows]) + "\n")
    read = read_delimited(path, (FIELDS[0], FIELDS[-1]), kind="a table", separator=separator)
    names = [name.replace(",", separator) for name in ("b,c", "b", 'b "c" ', "", "b", '"', "b")]
    assert read.frame.rows() == list(zip(range(1, 8), names))
    assert read.unparsable["text"].to_list() == [line.replace(",", separator) for line in odd]
    reasons = ["a quote is not closed" if line.count('"') % 2 else "a quote inside a field" for line in odd]
    assert read.unparsable["reason"].to_list() == reasons


def test_lines_of_any_quotes_read_as_whole_quoted_fields_or_not_at_all(tmp_path):
    numbers = random.Random(0)
    rows = ["".join(numbers.choices('"",,b ', k=numbers.randrange(1, 9))) for _ in range(3000)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["name,unused", "b,", *rows]) + "\n")
    read = read_delimited(path, FIELDS[-1:], kind="a table")
    field = '(?:"((?:[^"]|"")*)"|([^",]*))'
    whole = [found for row in ["b,", *rows] if (found := re.fullmatch(f"{field},{field}", row))]
    assert read.frame["name"].fill_null("").to_list() == [
        (found[1] or found[2] or "").replace('""', '"') for found in whole
    ]
    assert len(read.unparsable) == len(rows) + 1 - len(whole)


def test_lines_are_counted_through_the_whole_file(tmp_path, monkeypatch):
    from watchline.data.sources import chunks, delimited

    monkeypatch.setattr(delimited, "cut_lines", lambda stream: chunks.cut_lines(stream, 200, 50))
    path = tmp_path / "table.csv"
    rows = [ROW.replace("7", str(number)) for number in range(40)]
    for broken in (5, 23, 38):
        rows[broken] = "x" + rows[broken]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    read = read_delimited(path, FIELDS, kind="a table")
    assert read.unparsable["line"].to_list() == [7, 25, 40]
    assert read.unparsable["text"].to_list() == [path.read_text().splitlines()[line - 1] for line in (7, 25, 40)]
    assert len(read.frame) == len(rows) - 3
