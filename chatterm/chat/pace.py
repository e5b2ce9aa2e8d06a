"""The pace: how many tokens a second are written at most, so that a fast model can be watched.

It is no sampling setting: it changes when the next token is drawn, never which one.
"""

from __future__ import annotations

from chatterm.chat.limits import Limits
from chatterm.chat.sampling import Field

OFF = 0.0
LIMITS = Limits(5, 200, unit="tokens per second", off=0)


def _effect(value: float) -> str:
    return "as fast as it can" if value == OFF else "waits between tokens"


PACE = Field(
    name="pace",
    label="pace",
    lowest=OFF,
    highest=LIMITS.highest,
    step=5,
    large_step=20,
    default=OFF,
    decimals=0,
    effect=_effect,
    named={OFF: "off"},
)


def checked_pace(value: float) -> float:
    """`value` itself when it is a pace; else a SettingsError."""
    return LIMITS.checked("pace", value)
