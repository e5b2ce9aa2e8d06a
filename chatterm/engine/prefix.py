"""What two sequences have in common, from their start or up to their end."""

from __future__ import annotations

from typing import TypeVar

S = TypeVar("S", str, list[int])


def common_prefix(left: S, right: S) -> int:
    """The length of their longest common beginning, by comparing slices, which is fast."""
    same, limit = 0, min(len(left), len(right))
    while same < limit:
        middle = (same + limit + 1) // 2
        if left[same:middle] == right[same:middle]:
            same = middle
        else:
            limit = middle - 1
    return same


def common_suffix(left: str, right: str) -> int:
    """The length of the longest text that both end with."""
    longest = min(len(left), len(right))
    return common_prefix(left[len(left) - longest :][::-1], right[len(right) - longest :][::-1])
