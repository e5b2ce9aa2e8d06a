"""chat.trace: records are read apart as they were laid out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatterm.chat.trace import ALTERNATIVES, RECORD, Trace, pack_ids, unpack_ids


def record(token: int, end: int, version: int = 0, used: int = 2) -> bytes:
    ids = [token, *range(100, 100 + ALTERNATIVES - 1)]
    ps = [0.5, 0.25] + [0.0] * (ALTERNATIVES - 2)
    return RECORD.pack(token, 0.5, 0, end, version, used, *ids, *ps, *reversed(ps))


def test_a_record_is_small_on_disk() -> None:
    assert RECORD.size <= 110


def test_records_are_read_back() -> None:
    trace = Trace(record(7, 3) + record(8, 5, version=1), {7: b"abc", 8: b"de", 100: b"x"})
    assert len(trace) == 2
    assert list(trace.ids()) == [7, 8]
    second = trace[1]
    assert (second.id, second.piece, second.end, second.version) == (8, b"de", 5, 1)
    assert [(other.id, other.piece, other.p) for other in second.top] == [
        (8, b"de", 0.5),
        (100, b"x", 0.25),
    ]
    assert trace[-1] == second
    with pytest.raises(IndexError):
        trace[2]


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_ids_are_packed_and_unpacked(ids: list[int]) -> None:
    assert unpack_ids(pack_ids(ids)) == ids
