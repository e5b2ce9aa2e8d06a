"""Which values a setting may have, and the words for one that it may not have.

Flags and files are checked by the same limits, so a wrong value is refused in the same words
wherever it comes from: what it was, and what is allowed.
"""

from __future__ import annotations

import msgspec

from chatterm.chat.clean import shown
from chatterm.errors import SettingsError

INT32 = 2**31 - 1  # what llama.cpp keeps most whole numbers in


class Limits(msgspec.Struct, frozen=True):
    """The numbers from `lowest` to `highest`, and `off` where that is none of them.

    `unit` is what they count, in the plural.
    """

    lowest: float
    highest: float
    whole: bool = False
    unit: str = ""
    off: float | None = None

    def __str__(self) -> str:
        """What is allowed, in words."""
        off = "" if self.off is None else f"{self.off} (off) or "
        kind = "a whole number" if self.whole else "a number"
        unit = f" of {self.unit}" if self.unit else ""
        return f"{off}{kind}{unit} from {self.lowest} to {self.highest}"

    def checked(self, name: str, value: object) -> float:
        """`value` as a number, when it is one that `name` may have; else a SettingsError."""
        # A bool is an int to Python, and to nobody else.
        if isinstance(value, int | float) and not isinstance(value, bool):
            kind_is_right = isinstance(value, int) or not self.whole
            # In this order, since a comparison takes an integer of any size, and float() does not.
            if kind_is_right and (self.lowest <= value <= self.highest or value == self.off):
                return value if self.whole else float(value)
        raise refusal(name, value, str(self))

    def parsed(self, name: str, text: str) -> float:
        """`checked` for a number that is still a text, as in a flag."""
        try:
            value: object = int(text) if self.whole else float(text)
        except ValueError:
            value = text
        return self.checked(name, value)


def refusal(name: str, value: object, allowed: str) -> SettingsError:
    """The error for a setting `name` that cannot be `value`; `allowed` says what it can be."""
    return SettingsError(f"{name} = {shown(value)} is not possible.", f"It is {allowed}.")
