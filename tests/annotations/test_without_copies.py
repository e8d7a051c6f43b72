"""Peaks at copies of a repeat count once, each feature row by itself."""

import numpy as np
import pyarrow as pa

from annotations.repeats import without_copies


def peaks(rows: list[tuple[int, int, int, int, float]]) -> pa.Table:
    feature, strand, contig, position, value = zip(*rows, strict=True)
    return pa.table(
        {
            "feature": pa.array(feature, pa.uint32()),
            "strand": pa.array(strand, pa.int8()),
            "contig": pa.array(contig, pa.uint32()),
            "position": pa.array(position, pa.int64()),
            "value": pa.array(value, pa.float32()),
        }
    )


def test_the_best_of_each_rows_copies_stays() -> None:
    random = np.random.default_rng(3)
    first, second = (random.integers(0, 4, 1000).astype(np.uint8) for _ in range(2))
    second[400:501] = first[100:201]  # a repeat, once on each contig
    second[900] = 4
    table = peaks(
        [
            (7, 1, 0, 150, 1.0),  # a copy of the next
            (7, 1, 1, 450, 2.0),
            (7, 1, 0, 600, 0.5),
            (7, -1, 0, 150, 1.0),  # another row
            (7, 1, 0, 10, 0.1),  # no whole window
            (7, 1, 1, 890, 0.1),  # N in its window
        ]
    )
    kept = without_copies(table, [first, second])
    assert kept.num_rows == 5
    assert kept.equals(table.slice(1))


def test_no_peaks() -> None:
    empty = peaks([(0, 1, 0, 0, 1.0)]).slice(0, 0)
    assert without_copies(empty, [np.zeros(500, np.uint8)]).num_rows == 0
