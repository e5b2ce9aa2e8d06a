"""Messages: who said what, and for a reply, how it came about and how it ended."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from chatterm.chat.sampling import Sampling


class Role(StrEnum):
    """Who speaks, in the terms of chat templates."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Ending(StrEnum):
    """Why a reply ended. The values are what `ask --json` prints as finish_reason."""

    EOG = "eog"  # the model sampled an end-of-generation token
    LENGTH = "length"  # max_tokens
    STOP = "stop"  # a stop string
    CONTEXT = "context"  # the context is full
    STOPPED = "stopped"  # by the user
    FAILED = "failed"  # the engine died or could not go on


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a reply cost. Times in seconds.

    prompt_tokens = cached_tokens + evaluated_tokens. ttft_s is from the command to the first
    token; decode_s from the first token to the last; stop_s from the Stop command, as the engine
    read it, to the end of the work that it interrupted.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    evaluated_tokens: int = 0
    completion_tokens: int = 0
    ttft_s: float = 0.0
    decode_s: float = 0.0
    stop_s: float | None = None
    seed: int = 0
    n_ctx: int = 0

    @property
    def tokens_per_s(self) -> float:
        """Decode rate: tokens after the first, over the time they took."""
        return (self.completion_tokens - 1) / self.decode_s if self.decode_s > 0 else 0.0

    @property
    def context_tokens(self) -> int:
        """Tokens in the context when the reply ended."""
        return self.prompt_tokens + self.completion_tokens


class Change(msgspec.Struct, frozen=True):
    """Settings that came into force in a reply.

    `token` is the index of the first token sampled under them, `offset` the character of the
    reply's text where it begins; both -1 while there is none.
    """

    sampling: Sampling
    token: int = -1
    offset: int = -1


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One node of a conversation's tree.

    changes[v] are the sampling settings of version v, which token records refer to; only replies
    have any. `model` is the model's name. `created` is seconds since the epoch.
    """

    id: int
    parent: int | None
    role: Role
    text: str
    created: float
    ending: Ending | None = None
    problem: str = ""  # what went wrong, for the user, when ending is FAILED
    model: str = ""
    changes: tuple[Change, ...] = ()
    figures: Figures = Figures()
