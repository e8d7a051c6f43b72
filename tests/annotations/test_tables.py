"""Text tables are whole, and say what the table says."""

import datetime
from io import StringIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotations.errors import CoordinateError, FormatError
from annotations.tables import replacing, with_contig_names, write_row_groups, write_tsv


def tsv(table):
    stream = StringIO()
    write_tsv(table, stream)
    return stream.getvalue()


def test_each_type_is_written_as_said():
    table = pa.table(
        {
            "strand": pa.array([1, -1, 0], pa.int8()),
            "count": pa.array([12345678, None, 0], pa.int64()),
            "q": pa.array([1e-300, None, 0.0], pa.float64()),
            "value": pa.array([1234567.0, 0.1, 2.0], pa.float32()),
            "label": ["a\tb\nc", None, 'say "x"'],
            "kind": pa.array(["u", "v", "u"]).dictionary_encode(),
            "ok": [True, False, None],
            "day": pa.array([datetime.date(2026, 11, 21)] * 3),
        }
    )
    assert tsv(table).split("\n") == [
        "strand\tcount\tq\tvalue\tlabel\tkind\tok\tday",
        "+\t12345678\t1e-300\t1.23457e+06\ta b c\tu\ttrue\t2026-11-21",
        "-\t\t\t0.1\t\tv\tfalse\t2026-11-21",
        '.\t0\t0\t2\tsay "x"\tu\t\t2026-11-21',
        "",
    ]


def test_the_strand_of_a_motif_is_a_sign_too_and_null_is_empty():
    table = pa.table({"motif_strand": pa.array([1, -1, None], pa.int8()), "x": [1, 2, 3]})
    assert tsv(table) == "motif_strand\tx\n+\t1\n-\t2\n\t3\n"


def test_a_table_without_rows_is_its_header():
    assert tsv(pa.table({"a": pa.array([], pa.float32()), "b": pa.array([], pa.string())})) == (
        "a\tb\n"
    )


def test_chunks_and_blocks_do_not_show(monkeypatch):
    monkeypatch.setattr("annotations.tables.TEXT_ROWS", 2)
    chunk = pa.table({"a": [1, 2, 3], "x": [0.5, None, 1.5]})
    assert tsv(pa.concat_tables([chunk, chunk])) == "a\tx\n" + 2 * "1\t0.5\n2\t\n3\t1.5\n"


def test_lists_are_refused_and_leave_no_file(tmp_path):
    with pytest.raises(FormatError, match="column a is list"):
        write_tsv(pa.table({"a": [[1]]}), tmp_path / "table.tsv")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail_half_way():
        with replacing(path) as temporary:
            temporary.write_text("new")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("file", "old")]


def test_contigs_get_their_names():
    table = pa.table({"contig": pa.array([1, 0, 1], pa.uint32()), "x": [1, 2, 3]})
    named = with_contig_names(pa.concat_tables([table, table]), ["chrA", "chrB"])
    assert named.to_pydict() == {"contig": ["chrB", "chrA", "chrB"] * 2, "x": [1, 2, 3] * 2}
    with pytest.raises(CoordinateError, match="contig 1 is not among the 1 contigs"):
        with_contig_names(table, ["chrA"])


@pytest.mark.parametrize("rows", [0, 400, 1000, 1001])
def test_row_groups_one_after_the_other_are_the_file_of_the_whole(tmp_path, rows):
    table = pa.table({"a": range(rows), "x": [None if i % 3 else str(i // 5) for i in range(rows)]})
    pq.write_table(table, tmp_path / "whole", row_group_size=500)
    # chunks within a group do not show either
    groups = (
        pa.concat_tables([table.slice(at, 128), table.slice(at + 128, 500 - 128)])
        for at in range(0, max(1, rows), 500)
    )
    write_row_groups(groups, tmp_path / "groups")
    assert (tmp_path / "groups").read_bytes() == (tmp_path / "whole").read_bytes()
