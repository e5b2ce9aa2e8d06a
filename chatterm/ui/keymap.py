"""Which keys do what, and the user's own choice of keys.

Every binding that can be changed has an id; the settings file's [keys] maps ids to keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from textual.binding import Binding
from textual.keys import Keys


def checked_keymap(
    wanted: Mapping[str, str], bindings: Iterable[Binding]
) -> tuple[dict[str, str], list[str]]:
    """The part of `wanted` that can be used, and a sentence for each entry that cannot."""
    known = {binding.id: binding for binding in bindings if binding.id}
    usable: dict[str, str] = {}
    problems: list[str] = []
    for name, keys in wanted.items():
        if name not in known:
            problems.append(
                f"[keys] {name}: there is no such binding. Known are {', '.join(sorted(known))}."
            )
        elif bad := [key for key in keys.split(",") if not _is_key(key.strip())]:
            problems.append(
                f"[keys] {name}: {bad[0]!r} is not a key. Write keys like ctrl+r or f5."
            )
        else:
            usable[name] = keys
    return usable, problems


def _is_key(key: str) -> bool:
    *modifiers, last = key.split("+")
    named = {value.value for value in Keys}
    return all(modifier in ("ctrl", "alt", "shift", "super") for modifier in modifiers) and (
        len(last) == 1 or last in named or last.isidentifier()
    )
