"""2bit files read back by a reader written from the specification."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotations.errors import FormatError
from annotations.sequences import encode_bases
from annotations.twobit import write_2bit


def read_2bit(raw: bytes) -> dict[str, str]:
    magic, version, count, _ = struct.unpack_from("<IIII", raw, 0)
    assert (magic, version) == (0x1A412743, 0)
    at, records = 16, {}
    for _ in range(count):
        size = raw[at]
        name = raw[at + 1 : at + 1 + size].decode()
        (offset,) = struct.unpack_from("<I", raw, at + 1 + size)
        at += 5 + size
        bases, runs = struct.unpack_from("<II", raw, offset)
        starts = struct.unpack_from(f"<{runs}I", raw, offset + 8)
        sizes = struct.unpack_from(f"<{runs}I", raw, offset + 8 + 4 * runs)
        masked, zero = struct.unpack_from("<II", raw, offset + 8 + 8 * runs)
        assert (masked, zero) == (0, 0)
        packed = raw[offset + 16 + 8 * runs :]
        letters = ["TCAG"[packed[i // 4] >> (6 - 2 * (i % 4)) & 3] for i in range(bases)]
        for start, length in zip(starts, sizes, strict=True):
            letters[start : start + length] = "N" * length
        records[name] = "".join(letters)
    return records


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text("ACGTN", max_size=30), min_size=1, max_size=4))
def test_every_base_is_read_back(tmp_path: Path, sequences: list[str]) -> None:
    names = [f"contig {i}" for i in range(len(sequences))]
    write_2bit(tmp_path / "a.2bit", names, [encode_bases(s.encode()) for s in sequences])
    raw = (tmp_path / "a.2bit").read_bytes()
    assert read_2bit(raw) == dict(zip(names, sequences, strict=True))


def test_bytes_of_the_specification(tmp_path: Path) -> None:
    """The FAQ's example of packing: TCAG is 00 01 10 11."""
    write_2bit(tmp_path / "a.2bit", ["x"], [encode_bases(b"TCAGT")])
    raw = (tmp_path / "a.2bit").read_bytes()
    assert raw[16:22] == b"\x01x" + struct.pack("<I", 22)
    assert raw[22:] == struct.pack("<IIII", 5, 0, 0, 0) + bytes([0b00011011, 0])


def test_names_are_checked(tmp_path: Path) -> None:
    codes = np.zeros(4, np.uint8)
    for names in (["a", "a"], ["", "b"], ["x" * 256, "b"]):
        with pytest.raises(FormatError, match="1 to 255 bytes"):
            write_2bit(tmp_path / "a.2bit", names, [codes, codes])
    assert not list(tmp_path.iterdir())
