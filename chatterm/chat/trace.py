"""The tokens of a reply: what was chosen, how sure the model was, what else it could have said.

A trace is one record of fixed size for each token, laid out by `RECORD`, and the bytes of every
token that the records name. The engine writes the records, the store keeps them as they are, and
they are only read apart when somebody looks, so that a token costs the user interface nothing.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping, Sequence

import msgspec

from chatterm.chat.message import Change

ALTERNATIVES = 10

# id, probability before samplers, rank (0 is the likeliest), characters of the reply's text once
# this token is decoded, version of the settings in force, alternatives in use; then for each
# alternative its id, probability before and after samplers (half precision: 3 digits).
RECORD = struct.Struct(f"<IfIIHH{ALTERNATIVES}I{ALTERNATIVES}e{ALTERNATIVES}e")
_ID = struct.Struct("<I")


class Alternative(msgspec.Struct, frozen=True):
    """A token that could have stood there. Probabilities in 0…1."""

    id: int
    piece: bytes
    p: float
    p_sampled: float


class TokenRecord(msgspec.Struct, frozen=True):
    """One token of a reply. `end` counts characters of the reply's text; `rank` 0 is the best."""

    id: int
    piece: bytes
    p: float
    rank: int
    end: int
    version: int
    top: tuple[Alternative, ...]


class Trace(msgspec.Struct, frozen=True):
    """The records of a reply's tokens, in order, and the bytes of each token that they name."""

    records: bytes = b""
    pieces: Mapping[int, bytes] = {}

    def __len__(self) -> int:
        return len(self.records) // RECORD.size

    def __getitem__(self, index: int) -> TokenRecord:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        fields = RECORD.unpack_from(self.records, (index % len(self)) * RECORD.size)
        id_, p, rank, end, version, used = fields[:6]
        ids, ps, sampled = (fields[6 + k * ALTERNATIVES :][:used] for k in range(3))
        return TokenRecord(
            id=id_,
            piece=self.pieces.get(id_, b""),
            p=p,
            rank=rank,
            end=end,
            version=version,
            top=tuple(
                Alternative(i, self.pieces.get(i, b""), p_, s)
                for i, p_, s in zip(ids, ps, sampled, strict=True)
            ),
        )

    def ids(self) -> array[int]:
        """The token ids alone, as unsigned 32-bit integers."""
        starts = range(0, len(self.records) - RECORD.size + 1, RECORD.size)
        return array("I", (_ID.unpack_from(self.records, start)[0] for start in starts))


def placed(changes: tuple[Change, ...], news: Trace, before: int, end: int) -> tuple[Change, ...]:
    """The changes of a reply's settings, with the place of those that came into force in `news`.

    `before` is the number of the reply's tokens before `news`, `end` the characters of their text.
    """
    if all(change.token >= 0 for change in changes):
        return changes
    found = list(changes)
    for index in range(len(news)):
        record = news[index]
        if record.version < len(found) and found[record.version].token < 0:
            found[record.version] = Change(found[record.version].sampling, before + index, end)
        end = record.end
    return tuple(found)


def pack_ids(ids: Sequence[int] | array[int]) -> bytes:
    """Token ids as little-endian unsigned 32-bit integers."""
    return struct.pack(f"<{len(ids)}I", *ids)


def unpack_ids(data: bytes) -> list[int]:
    """The reverse of `pack_ids`."""
    return list(struct.unpack(f"<{len(data) // 4}I", data))
