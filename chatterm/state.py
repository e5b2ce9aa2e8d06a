"""What a session is at one moment, as one frozen value: all that can be shown of it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from chatterm.chat.pace import OFF
from chatterm.chat.sampling import Sampling
from chatterm.chat.tree import Tree
from chatterm.engine.protocol import ModelInfo


class ModelOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which model, and how to load it; the numbers are those of `protocol.Load`.

    `pace` is the one to begin with (see `chat.pace`). `built_in`: it came with the program.
    """

    path: Path
    n_ctx: int = 0
    n_gpu_layers: int = -1
    n_threads: int = 0
    pace: float = OFF
    built_in: bool = False


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """The reply that is being written. `phase`: waiting, reading, writing or stopping.

    `evaluated` is the part, 0…1, of the prompt tokens to evaluate that are done.
    """

    run: int
    message: int
    began: float
    phase: str = "waiting"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    evaluated: float = 0.0
    tokens: int = 0
    tokens_per_s: float = 0.0
    context_tokens: int = 0
    ttft_s: float = 0.0


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All that can be shown of a session. `loading`, 0…1, is None when no model is loading.

    `problem` and `notice` are the last thing that went wrong and the last worth saying, for the
    user; `said` counts both, so that the same words twice are two notices. `queue` is what waits
    its turn; `unsent` what the user wrote and what was not sent, until a prompt takes it back.
    """

    conversation: int | None = None
    title: str = ""
    tree: Tree = Tree()
    sampling: Sampling
    pace: float = OFF
    running: Running | None = None
    queue: tuple[str, ...] = ()
    unsent: str = ""
    options: ModelOptions | None = None
    loading: float | None = None
    load_s: float = 0.0
    model: ModelInfo | None = None
    problem: str = ""
    notice: str = ""
    said: int = 0
