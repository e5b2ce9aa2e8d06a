"""Sampling settings: how the next token is drawn from the model's distribution.

`Sampling` is one frozen value; a change makes a new one. Names, defaults and meanings are
llama.cpp's (common/common.h, `common_params_sampling`). `FIELDS` says, for those that a slider can
move, the range, step and what a value means, and is the only place that does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

import msgspec

from chatterm.chat.limits import INT32, Limits, refusal
from chatterm.errors import SettingsError


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings in force when a token is sampled. The defaults are llama.cpp's.

    temperature        0 is greedy
    top_k              0 keeps every candidate
    top_p, typical_p   1 switches the filter off
    min_p              0 switches the filter off
    repeat_penalty     1 switches it off
    repeat_last_n      tokens that the three penalties look back on; 0 none, -1 the context
    seed               -1 draws a new one for each reply
    max_tokens         of one reply; -1 is until the context is full
    stop               a reply ends before the first of these strings
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = -1
    max_tokens: int = -1
    stop: tuple[str, ...] = ()


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One number that a slider can set: its range, steps, and words for its values.

    `stops`, where a field has them, are the places of its slider from left to right, for a range
    that even steps would serve badly; any other value of the range can still be typed. `named` are
    values that are shown as a word.
    """

    name: str
    label: str
    lowest: float
    highest: float
    step: float
    large_step: float
    default: float
    decimals: int
    effect: Callable[[float], str]
    stops: tuple[float, ...] = ()
    named: Mapping[float, str] = {}

    def snap(self, value: float) -> float:
        """The nearest allowed value: in the range, on a step, exact in decimal."""
        value = min(max(value, self.lowest), self.highest)
        steps = round((value - self.lowest) / self.step)
        exact = Decimal(str(self.lowest)) + steps * Decimal(str(self.step))
        return float(min(exact, Decimal(str(self.highest))))

    def show(self, value: float) -> str:
        """The value as the user reads it."""
        return self.named.get(value) or f"{value:.{self.decimals}f}"


def _temperature(value: float) -> str:
    if value == 0:
        return "greedy"
    for limit, word in ((0.5, "steady"), (0.9, "balanced"), (1.2, "lively"), (1.6, "wild")):
        if value <= limit:
            return word
    return "likely to derail"


def _top_k(value: float) -> str:
    return "off" if value == 0 else f"the {value:.0f} likeliest"


def _top_p(value: float) -> str:
    return "off" if value >= 1 else f"{value * 100:.0f} % of mass"


def _min_p(value: float) -> str:
    return "off" if value == 0 else f"≥ {value * 100:.3g} % of best"


def _typical_p(value: float) -> str:
    return "off" if value >= 1 else "no surprises"


def _penalty(off: float) -> Callable[[float], str]:
    def effect(value: float) -> str:
        if value == off:
            return "off"
        return "varied" if value > off else "looping"

    return effect


def _window(value: float) -> str:
    return "off" if value == 0 else "tokens"


def _max_tokens(value: float) -> str:
    return "until it ends" if value < 0 else f"about {value * 0.75:.0f} words"


def _seed(value: float) -> str:
    return "new each reply" if value < 0 else "repeatable"


def _field(
    name: str,
    label: str,
    span: tuple[float, float],
    steps: tuple[float, float],
    decimals: int,
    effect: Callable[[float], str],
    stops: tuple[float, ...] = (),
    unlimited: str = "",
) -> Field:
    return Field(
        name=name,
        label=label,
        lowest=span[0],
        highest=span[1],
        step=steps[0],
        large_step=steps[1],
        default=getattr(Sampling(), name),
        decimals=decimals,
        effect=effect,
        stops=stops,
        named={-1: unlimited} if unlimited else {},
    )


_WINDOWS = (0, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, -1)
_LENGTHS = (16, 32, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, -1)
_OFF_ONE, _OFF_ZERO = _penalty(1.0), _penalty(0.0)

FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        _field("temperature", "temperature", (0, 2), (0.05, 0.25), 2, _temperature),
        _field("top_p", "top-p", (0.05, 1), (0.01, 0.1), 2, _top_p),
        _field("top_k", "top-k", (0, 200), (1, 10), 0, _top_k),
        _field("min_p", "min-p", (0, 0.5), (0.01, 0.05), 2, _min_p),
        _field("typical_p", "typical-p", (0.05, 1), (0.01, 0.1), 2, _typical_p),
        _field("repeat_penalty", "repeat penalty", (0.8, 2), (0.01, 0.1), 2, _OFF_ONE),
        _field("repeat_last_n", "repeat window", (-1, 2048), (1, 64), 0, _window, _WINDOWS, "all"),
        _field("presence_penalty", "presence", (-2, 2), (0.05, 0.5), 2, _OFF_ZERO),
        _field("frequency_penalty", "frequency", (-2, 2), (0.05, 0.5), 2, _OFF_ZERO),
        _field(
            "max_tokens", "max tokens", (-1, 8192), (1, 128), 0, _max_tokens, _LENGTHS, "no limit"
        ),
        _field("seed", "seed", (-1, 4294967294), (1, 1000), 0, _seed, (), "random"),
    )
}

# What llama.cpp accepts, which can be more than a slider's range.
LIMITS: dict[str, Limits] = {
    "temperature": Limits(0, 100),
    "top_k": Limits(0, INT32, whole=True),
    "top_p": Limits(0, 1),
    "min_p": Limits(0, 1),
    "typical_p": Limits(0, 1),
    "repeat_penalty": Limits(0.01, 100),
    "repeat_last_n": Limits(-1, INT32, whole=True, unit="tokens"),
    "presence_penalty": Limits(-100, 100),
    "frequency_penalty": Limits(-100, 100),
    "max_tokens": Limits(-1, INT32, whole=True, unit="tokens"),
    "seed": Limits(-1, 2**32 - 2, whole=True),
}


def checked(sampling: Sampling) -> Sampling:
    """`sampling` itself when each value is one that llama.cpp takes; else a SettingsError."""
    for name in Sampling.__struct_fields__:
        _exact(name, getattr(sampling, name))
    return sampling


def with_setting(sampling: Sampling, name: str, value: object) -> Sampling:
    """`sampling` with the setting `name` as a file or a user gives it; else a SettingsError."""
    return msgspec.structs.replace(sampling, **{name: _exact(name, value)})


def _exact(name: str, value: object) -> float | tuple[str, ...]:
    return _stop_strings(value) if name == "stop" else LIMITS[name].checked(name, value)


def _stop_strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise refusal("stop", value, 'a list of texts such as ["END"]')
    if "" in value:
        raise SettingsError("An empty stop string would end every reply.", "Leave it out.")
    return tuple(value)


def with_value(sampling: Sampling, name: str, value: float) -> Sampling:
    """`sampling` with the field `name` set to `value`, as a slider gives it: 40.0 is 40."""
    whole = LIMITS[name].whole and float(value).is_integer()
    return with_setting(sampling, name, int(value) if whole else value)


def describe_change(before: Sampling, after: Sampling) -> str:
    """What changed, in a few words: `temperature 0.80 → 1.20, top-p 0.95 → 0.80`."""
    parts = [
        f"{field.label} {field.show(getattr(before, name))} → {field.show(getattr(after, name))}"
        for name, field in FIELDS.items()
        if getattr(before, name) != getattr(after, name)
    ]
    if before.stop != after.stop:
        parts.append("stop strings")
    return ", ".join(parts)
