"""What goes over the pipe: commands to the engine, events from it, and their bytes.

A frame is a length (4 bytes, little-endian) and a msgpack value of one tagged struct; never
pickle, which would let a model's file that took over the engine run code in the other process.
Every command has a run number, counted up by the client; every event that answers it carries the
same number, and the last one of a run is Loaded, Unloaded, Finished, Rendered, BareLoopDone or
Failed. The engine works on one run at a time, in the order of arrival; Stop, Tune and Pace act at
once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

import msgspec

from chatterm.chat.message import Ending, Figures, Role
from chatterm.chat.sampling import Sampling
from chatterm.errors import EngineError

PROTOCOL = 1
MAX_FRAME = 256 * 1024 * 1024


class _Tagged(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


class _Command(_Tagged, frozen=True, kw_only=True):
    run: int


class _Event(_Tagged, frozen=True, kw_only=True):
    run: int


class PromptMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a prompt. `tokens` (see `trace.pack_ids`) are those a reply was made of;
    while their text is still `text` they are used as they are, instead of tokenising it again."""

    role: Role
    text: str
    tokens: bytes = b""


class Load(_Command, frozen=True, kw_only=True):
    """Load a model, in place of the one that is loaded. Answers LoadProgress…, Loaded | Failed.

    n_ctx 0: min(trained context, 8192). n_gpu_layers -1: all of them, where there is a GPU.
    n_threads 0: physical cores - 1, at least 1. Stop cancels.
    """

    path: Path
    n_ctx: int = 0
    n_gpu_layers: int = -1
    n_threads: int = 0


class Unload(_Command, frozen=True, kw_only=True):
    """Free the model. Answers Unloaded."""


class Generate(_Command, frozen=True, kw_only=True):
    """Write a reply to `messages`. Answers Started, Evaluated…, Tokens…, Finished | Failed.

    When the last message is the assistant's, it is continued from its exact last token, and the
    `end` of the new records counts from the start of that message's text. With `raw` the texts are
    joined and continued without a template. Records say `version` until a Tune. n_threads 0 leaves
    it as loaded. pace: tokens per second to write at most; 0 is no limit. endless: what would end
    the reply is written as any other token, as BareLoop does, so that a rate can be measured.
    """

    messages: tuple[PromptMessage, ...]
    sampling: Sampling
    version: int = 0
    raw: bool = False
    n_threads: int = 0
    pace: float = 0.0
    endless: bool = False


class Tune(_Command, frozen=True, kw_only=True):
    """Use `sampling` from the next sampled token of run `run` on; its records say `version`."""

    version: int
    sampling: Sampling


class Pace(_Command, frozen=True, kw_only=True):
    """Write run `run` at most at this pace from now on, in tokens per second; 0 is no limit."""

    pace: float


class Stop(_Command, frozen=True, kw_only=True):
    """End run `run` as soon as can be, whether it is loading, evaluating or writing."""


class Render(_Command, frozen=True, kw_only=True):
    """Answer Rendered: exactly what Generate with the same values would evaluate."""

    messages: tuple[PromptMessage, ...]
    raw: bool = False


class BareLoop(_Command, frozen=True, kw_only=True):
    """Measure llama.cpp alone: evaluate `n_prompt` tokens, then decode and sample `n_decode`
    with nothing else in the loop. Answers BareLoopDone."""

    n_prompt: int
    n_decode: int
    n_threads: int = 0
    sampling: Sampling = Sampling()


Command = Load | Unload | Generate | Tune | Pace | Stop | Render | BareLoop


class Hello(_Event, frozen=True, kw_only=True):
    """The first event (run 0), as soon as the engine can take commands."""

    protocol: int
    pid: int
    llama_cpp: str


class LoadProgress(_Event, frozen=True, kw_only=True):
    """How much of the model is loaded, 0…1."""

    fraction: float


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model.

    parameters, size_bytes: of the weights. n_ctx: the context in use; n_ctx_train: trained with
    (0 unknown). gpu_layers of n_layers are on `device`. has_template False is a base model.
    template_problem: why its own template is not used, for the user. can_cut: whether the KV cache
    can be cut back to a prefix (False for recurrent and hybrid models).
    """

    path: Path
    name: str
    architecture: str
    quantisation: str
    parameters: int
    size_bytes: int
    n_vocab: int
    n_layers: int
    n_ctx: int
    n_ctx_train: int
    gpu_layers: int
    device: str
    n_threads: int
    has_template: bool
    template_problem: str = ""
    can_cut: bool = True


class Loaded(_Event, frozen=True, kw_only=True):
    """The model is ready. `load_s` is seconds from the command."""

    info: ModelInfo
    load_s: float


class Unloaded(_Event, frozen=True, kw_only=True):
    """No model is loaded now."""


class Started(_Event, frozen=True, kw_only=True):
    """The prompt is made: `cached` of its `prompt_tokens` tokens need no evaluation.

    `notice`, for the user, says what is unusual: the cache could not be cut, say."""

    prompt_tokens: int
    cached_tokens: int
    seed: int
    notice: str = ""


class Evaluated(_Event, frozen=True, kw_only=True):
    """`done` of `total` prompt tokens that needed it are evaluated."""

    done: int
    total: int


class Tokens(_Event, frozen=True, kw_only=True):
    """What was written since the last event of this kind.

    `text` is what these tokens add to the reply's text; it may lag behind `records`, by the
    bytes of an unfinished character (dropped when the reply ends within one, and completed when it
    is continued) or the characters of a possible stop string. `records` are
    laid out by `trace.RECORD`; `pieces` are the bytes of tokens that the run names for the first
    time. `context_tokens` are in the KV cache now. tokens_per_s is of this reply so far.
    """

    text: str
    records: bytes
    pieces: dict[int, bytes]
    context_tokens: int
    tokens_per_s: float


class Finished(_Event, frozen=True, kw_only=True):
    """The reply has ended. What it wrote has been sent, all of it, in Tokens events."""

    ending: Ending
    figures: Figures


class PromptToken(msgspec.Struct, frozen=True):
    """A token of a prompt. `control`: a special token, put there by the template."""

    id: int
    text: str
    control: bool


class Rendered(_Event, frozen=True, kw_only=True):
    """What the model would get."""

    prompt: str
    tokens: tuple[PromptToken, ...]


class BareLoopDone(_Event, frozen=True, kw_only=True):
    """Tokens per second of evaluating a prompt and of decoding."""

    prefill_tps: float
    decode_tps: float


class Failed(_Event, frozen=True, kw_only=True):
    """The run has ended with an error. `kind` is a class of `errors`; the engine goes on."""

    kind: str
    title: str
    advice: str


Event = (
    Hello
    | LoadProgress
    | Loaded
    | Unloaded
    | Started
    | Evaluated
    | Tokens
    | Finished
    | Rendered
    | BareLoopDone
    | Failed
)

# The events that end a run.
LAST = (Loaded, Unloaded, Finished, Rendered, BareLoopDone, Failed)


def _encode_path(value: object) -> bytes:
    # A path is bytes on the pipe: the name of a file need not be a text.
    if isinstance(value, Path):
        return os.fsencode(value)
    raise NotImplementedError(f"{type(value).__name__} has no place on the pipe")


def _decode_path(kind: type, value: Any) -> Path:
    if kind is Path:
        return Path(os.fsdecode(value))
    raise NotImplementedError(f"{kind.__name__} has no place on the pipe")


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_path)
_commands: msgspec.msgpack.Decoder[Command]
_commands = msgspec.msgpack.Decoder(Command, dec_hook=_decode_path)
_events: msgspec.msgpack.Decoder[Event]
_events = msgspec.msgpack.Decoder(Event, dec_hook=_decode_path)


def frame(message: Command | Event) -> bytes:
    """The bytes of one message. Raises EngineError for what cannot go over the pipe."""
    try:
        body = _encoder.encode(message)
    except OverflowError as error:
        raise EngineError(
            "A number in the settings is too large for the engine.", "Give a smaller one."
        ) from error
    except ValueError as error:
        raise EngineError(f"The engine cannot be asked this: {error}.") from error
    if len(body) > MAX_FRAME:
        raise EngineError(
            f"The conversation is too long for the engine: {len(body) >> 20} MiB.",
            "Begin a new one.",
        )
    return len(body).to_bytes(4, "little") + body


def write(pipe: IO[bytes], message: Command | Event) -> None:
    """Write one frame and flush. Raises EngineError, and OSError when the pipe is closed."""
    pipe.write(frame(message))
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes | None:
    head = pipe.read(4)
    if len(head) < 4:
        return None
    length = int.from_bytes(head, "little")
    if length > MAX_FRAME:
        raise msgspec.DecodeError(f"frame of {length} bytes")
    body = pipe.read(length)
    return body if len(body) == length else None


def read_command(pipe: IO[bytes]) -> Command | None:
    """The next command, or None at the end of the pipe. Raises msgspec.MsgspecError."""
    body = _read(pipe)
    return None if body is None else _commands.decode(body)


def read_event(pipe: IO[bytes]) -> Event | None:
    """The next event, or None at the end of the pipe. Raises msgspec.MsgspecError."""
    body = _read(pipe)
    return None if body is None else _events.decode(body)
