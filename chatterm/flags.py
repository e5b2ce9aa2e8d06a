"""The flags that commands share: what they are called, what they take, and what was given.

A number is checked by the limits that the settings file is checked by, so that both refuse the
same values in the same words.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from chatterm import config
from chatterm.chat import sampling
from chatterm.chat.limits import Limits
from chatterm.chat.sampling import Sampling, checked
from chatterm.config import Settings

_LIMITS = {**sampling.LIMITS, **config.LIMITS}
_CHAT_IDS = Limits(1, 2**63 - 1, whole=True)  # SQLite's
_LAST_CHAT = "last"


def _number(setting: str, *flags: str, help: str) -> Any:  # noqa: A002 - as typer names it
    name, limits = "/".join(flags), _LIMITS[setting]
    return typer.Option(
        *flags, help=help, metavar="N", parser=lambda text: limits.parsed(name, text)
    )


def as_text(argument: str) -> str:
    """An argument as text. Bytes that the locale cannot decode are UTF-8, as in all other input."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return os.fsencode(argument).decode("utf-8", "replace")
    return argument


def _chat_id(text: str) -> int:
    return 0 if text == _LAST_CHAT else int(_CHAT_IDS.parsed("--resume", text))


Model = Annotated[
    str | None, typer.Option("-m", "--model", metavar="FILE", help="The model: a GGUF file.")
]
System = Annotated[
    str | None,
    typer.Option(
        "--system",
        metavar="TEXT",
        parser=as_text,
        help="Tell the model how to behave: the system prompt.",
    ),
]
Messages = Annotated[
    Path | None,
    typer.Option(
        "--messages", metavar="FILE", help="Go on with a chat: JSON, a list of {role, content}."
    ),
]
Predict = Annotated[
    int | None,
    _number(
        "max_tokens", "-n", "--n-predict", help="Tokens (pieces of words) at most; -1 any number."
    ),
]
Temperature = Annotated[
    float | None,
    _number("temperature", "--temp", help="Temperature: 0 is strict, 1 lively, 2 chaotic."),
]
TopP = Annotated[
    float | None,
    _number("top_p", "--top-p", help="Draw from the likeliest that sum up to N; 1 is all."),
]
TopK = Annotated[
    int | None, _number("top_k", "--top-k", help="Draw from the N likeliest tokens; 0 is all.")
]
MinP = Annotated[
    float | None,
    _number("min_p", "--min-p", help="Leave out what is under N times the best; 0 is off."),
]
Repeat = Annotated[
    float | None,
    _number(
        "repeat_penalty",
        "--repeat-penalty",
        help="Above 1, avoid what was said already; 1 is off.",
    ),
]
Seed = Annotated[
    int | None, _number("seed", "--seed", help="Same seed, same reply; -1 draws a new one.")
]
Pace = Annotated[
    float | None,
    _number("pace", "--pace", help="Write N tokens a second at most, 5 to 200; 0 is off."),
]
Context = Annotated[
    int | None,
    _number("n_ctx", "-c", "--ctx-size", help="Tokens that prompt and reply may have; 0 chooses."),
]
GpuLayers = Annotated[
    int | None,
    _number(
        "n_gpu_layers", "-ngl", "--gpu-layers", help="Layers of the model on the GPU; -1 is all."
    ),
]
Threads = Annotated[
    int | None, _number("n_threads", "-t", "--threads", help="Processor threads; 0 chooses.")
]
Theme = Annotated[
    str | None, typer.Option("--theme", metavar="NAME", help="Colours: the name of a theme.")
]
Resume = Annotated[
    int | None,
    typer.Option(
        "--resume",
        metavar="[ID]",
        parser=_chat_id,
        help="Go on with the last chat, or with the one numbered ID.",
    ),
]


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """What was given on the command line; None where nothing was."""

    model: str | None = None
    n_ctx: int | None = None
    n_gpu_layers: int | None = None
    n_threads: int | None = None
    pace: float | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    seed: int | None = None
    system: str | None = None
    theme: str | None = None

    @classmethod
    def of(cls, context: typer.Context) -> Flags:
        """The flags of a command, and those that were given before its name."""
        given = {name: value for name, value in context.params.items() if value is not None}
        before = msgspec.structs.asdict(context.obj) if context.obj else {}
        return cls(**{name: given.get(name, before.get(name)) for name in cls.__struct_fields__})

    def over(self, settings: Settings) -> Settings:
        """The settings with what the flags say instead."""
        given = {
            name: value for name, value in msgspec.structs.asdict(self).items() if value is not None
        }
        drawing = {name: given.pop(name) for name in Sampling.__struct_fields__ if name in given}
        return msgspec.structs.replace(
            settings,
            sampling=checked(msgspec.structs.replace(settings.sampling, **drawing)),
            **given,
        )


def with_resume_value(arguments: list[str], with_value: Collection[str]) -> list[str]:
    """The arguments, with the last chat named after a `--resume` that names none.

    Only the program's own flags are looked at, which end where its command begins. `with_value`
    are those that take a value, which may look like a flag itself.
    """
    given = list(arguments)
    at = 0
    while at < len(given) and given[at].startswith("-") and given[at] != "--":
        if given[at] == "--resume" and not "".join(given[at + 1 : at + 2]).isdecimal():
            given.insert(at + 1, _LAST_CHAT)
        at += 2 if given[at] in with_value else 1
    return given
