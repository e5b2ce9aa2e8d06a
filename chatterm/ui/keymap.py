"""Which keys do what, and the user's own choice of keys.

Every binding that can be changed has an id; the settings file's [keys] maps ids to keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec
from textual.binding import Binding
from textual.keys import Keys


class Place(msgspec.Struct, frozen=True):
    """Where keys mean something, as help names it; `hint` says what is no binding. Several keys of
    one binding are in its `key`, with commas."""

    name: str
    bindings: tuple[Binding, ...]
    hint: str = ""

    @classmethod
    def of(cls, name: str, *kinds: type, hint: str = "") -> Place:
        """The bindings that these classes have themselves, without those of their bases."""
        own = [binding for kind in kinds for binding in kind.__dict__.get("BINDINGS", ())]
        return cls(name, tuple(own), hint)

    def without(self, *others: Place) -> Place:
        """This place without the keys that mean something else at the others."""
        taken = {key for other in others for binding in other.bindings for key in _keys(binding)}
        left = (
            (binding, [key for key in _keys(binding) if key not in taken])
            for binding in self.bindings
        )
        own = tuple(replace(binding, key=",".join(keys)) for binding, keys in left if keys)
        return Place(self.name, own, self.hint)

    def with_keys(self, keymap: Mapping[str, str]) -> Place:
        """This place with the user's own keys."""
        own = [replace(b, key=keymap.get(b.id or "", b.key)) for b in self.bindings]
        return Place(self.name, tuple(own), self.hint)


def _keys(binding: Binding) -> list[str]:
    return [key.strip() for key in binding.key.split(",")]


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
