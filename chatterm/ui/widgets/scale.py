"""Where the values of a sampling field lie on a slider's track.

A place is a fraction of the track, 0 at its left end and 1 at its right. Every value that comes
out of here is one that the field allows.
"""

from __future__ import annotations

import math
from bisect import bisect_right

from chatterm.chat.sampling import Field


def _rank(field: Field, value: float) -> float:
    """Sorts values from left to right: below zero stands for "no limit" where there are stops."""
    return math.inf if field.stops and value < 0 else value


def place_of(field: Field, value: float) -> float:
    """The fraction of the track where `value` lies."""
    if not field.stops:
        return (field.snap(value) - field.lowest) / (field.highest - field.lowest)
    ranks = [_rank(field, stop) for stop in field.stops]
    rank = _rank(field, value)
    after = bisect_right(ranks, rank)
    if after == 0:
        return 0.0
    if after == len(ranks):
        return 1.0
    low, high = ranks[after - 1], ranks[after]
    part = 0.0 if math.isinf(high) else (rank - low) / (high - low)
    return (after - 1 + part) / (len(ranks) - 1)


def value_at(field: Field, place: float) -> float:
    """The value whose place is nearest to `place`."""
    place = min(max(place, 0.0), 1.0)
    if field.stops:
        return field.stops[round(place * (len(field.stops) - 1))]
    return field.snap(field.lowest + place * (field.highest - field.lowest))


def stepped(field: Field, value: float, steps: int, *, large: bool = False) -> float:
    """The value `steps` steps to the right of `value`, or to its left when negative.

    A large step on a track with stops is three of them.
    """
    if not field.stops:
        return field.snap(value + steps * (field.large_step if large else field.step))
    ranks = [_rank(field, stop) for stop in field.stops]
    rank = _rank(field, value)
    at = bisect_right(ranks, rank) - 1
    if steps < 0 and (at < 0 or ranks[at] != rank):
        at += 1  # between two stops, one step back goes to the one on the left
    at += steps * (3 if large else 1)
    return field.stops[min(max(at, 0), len(ranks) - 1)]
