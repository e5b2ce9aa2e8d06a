"""What the screen shows of a session, as values: pure functions from `State`."""

from __future__ import annotations

import msgspec

from chatterm.chat.clean import clean_line
from chatterm.chat.message import Ending, Message, Role
from chatterm.chat.sampling import describe_change
from chatterm.engine.protocol import ModelInfo
from chatterm.state import State
from chatterm.ui.widgets.action_bar import Action
from chatterm.ui.widgets.status_line import Status, duration
from chatterm.ui.widgets.transcript import Entry, Mark
from chatterm.ui.widgets.welcome import Greeting

ONE_MOVE = 12  # tokens between two changes, up to which they are one move of a slider
SUGGESTIONS = (
    "Tell me a story about a fox named Biscuit.",
    "What does temperature do?",
    "Why can't you take a word back?",
    "What can you do?",
)
_QUEUED_KEY = -1  # counted down: keys of what waits its turn, which has no message yet


def entries(state: State) -> list[Entry]:
    """The active path, and below it what waits its turn."""
    shown = [entry(state, message) for message in state.tree.path()]
    for index, text in enumerate(state.queue):
        shown.append(
            Entry(
                key=_QUEUED_KEY - index,
                role=Role.USER,
                title="You",
                note="waits its turn",
                text=text,
                plain=True,
            )
        )
    return shown


def entry(state: State, message: Message) -> Entry:
    """One message of the active path."""
    writing = state.running is not None and state.running.message == message.id
    return Entry(
        key=message.id,
        role=message.role,
        title=_title(message),
        badge=badge(state, message),
        note=note(state, message),
        text=message.text,
        marks=marks(message),
        open=writing,
        plain=message.role is not Role.ASSISTANT or is_base(state),
    )


def _title(message: Message) -> str:
    if message.role is Role.ASSISTANT:
        return clean_line(message.model, 40) or "Model"
    return "You" if message.role is Role.USER else "System"


def note(state: State, message: Message) -> str:
    """What is said beside a reply's title: how it goes, or how it ended."""
    if message.role is not Role.ASSISTANT:
        return ""
    if state.running and state.running.message == message.id:
        return _running_note(state)
    figures = message.figures
    tokens = plural(figures.completion_tokens, "token")
    if message.ending is Ending.STOPPED:
        took = f", in {duration(figures.stop_s)}" if figures.stop_s is not None else ""
        return f"stopped by you after {tokens}{took}"
    return {
        Ending.LENGTH: f"ended at the limit of {tokens}",
        Ending.CONTEXT: f"ended after {tokens}: the context is full",
        Ending.FAILED: message.problem,
        None: "interrupted: the program ended while this was written",
    }.get(message.ending, "")


def _running_note(state: State) -> str:
    running = state.running
    assert running
    if running.phase == "stopping":
        return "stopping…"
    if running.phase == "reading":
        return f"reading {running.evaluated * 100:.0f} %" if running.evaluated else "reading"
    if running.phase == "waiting":
        return "waiting for the model" if state.loading is not None else "waiting"
    return ""


def marks(message: Message) -> tuple[Mark, ...]:
    """The places where the settings of a reply changed under it, and how.

    Changes a few tokens apart are one move of a slider, and one mark where it began.
    """
    placed = [change for change in message.changes if change.token >= 0]
    found: list[Mark] = []
    start = 0  # of the move that is gathered: the change that it began from
    for index in range(1, len(placed)):
        last = index + 1 == len(placed)
        if last or placed[index + 1].token - placed[index].token > ONE_MOVE:
            if label := describe_change(placed[start].sampling, placed[index].sampling):
                found.append(Mark(placed[start + 1].offset, label))
            start = index
    return tuple(found)


def is_base(state: State) -> bool:
    """Whether the model has no chat template, so that the chat is a text that it continues."""
    return state.model is not None and not state.model.has_template


def is_built_in(state: State) -> bool:
    """Whether the model is the one that came with the program."""
    return state.options is not None and state.options.built_in


def _kind(state: State) -> str:
    if is_base(state):
        return "base model: plain continuation"
    return "built-in, tiny" if is_built_in(state) and state.model else ""


def model_name(model: ModelInfo) -> str:
    """A model's name with its quantisation, cleaned."""
    name, quantisation = clean_line(model.name, 50), clean_line(model.quantisation, 20)
    return name if quantisation.lower() in name.lower() else f"{name} {quantisation}"


def header(state: State) -> tuple[str, str]:
    """The conversation's title, and the model."""
    if state.loading is not None and state.options:
        model = f"loading {clean_line(state.options.path.name, 40)} {state.loading * 100:.0f} %"
    else:
        model = model_name(state.model) if state.model else "no model"
    return state.title or "New chat", model


def status(state: State) -> Status:
    """The status line: of the reply that runs, else of the last one on the active path."""
    model, running = state.model, state.running
    shown = Status(
        model=model_name(model) if model else "",
        device=_device(model) if model else "",
        n_ctx=model.n_ctx if model else 0,
        phase=_phase(state),
        kind=_kind(state),
        hint="F4 loads a larger one" if is_built_in(state) else "",
    )
    path = state.tree.path()
    if running and running.phase in ("reading", "writing", "stopping"):
        return msgspec.structs.replace(
            shown,
            context_tokens=running.context_tokens,
            cached_tokens=running.cached_tokens,
            tokens=running.tokens,
            tokens_per_s=running.tokens_per_s,
            ttft_s=running.ttft_s,
        )
    if path and path[-1].figures.completion_tokens:
        figures = path[-1].figures
        return msgspec.structs.replace(
            shown,
            context_tokens=figures.context_tokens,
            cached_tokens=figures.cached_tokens,
            tokens=figures.completion_tokens,
            tokens_per_s=figures.tokens_per_s,
            ttft_s=figures.ttft_s,
            stop_s=figures.stop_s,
        )
    return shown


def _device(model: ModelInfo) -> str:
    if model.gpu_layers:
        share = (
            "" if model.gpu_layers >= model.n_layers else f" {model.gpu_layers}/{model.n_layers}"
        )
        return f"{clean_line(model.device, 24)}{share}"
    return plural(model.n_threads, "thread")


def _phase(state: State) -> str:
    if state.loading is not None:
        return f"loading {state.loading * 100:.0f} %"
    if state.running is None:
        return ""
    if state.running.phase == "reading":
        return f"reading the prompt {state.running.evaluated * 100:.0f} %"
    return state.running.phase


def branched(state: State) -> Message | None:
    """The last message of the active path that has other versions."""
    path = reversed(state.tree.path())
    return next((message for message in path if len(state.tree.siblings(message.id)) > 1), None)


def badge(state: State, message: Message) -> str:
    """Which of its versions a message is, `‹2/3›`; nothing when it is the only one."""
    siblings = state.tree.siblings(message.id)
    return f"‹{siblings.index(message.id) + 1}/{len(siblings)}›" if len(siblings) > 1 else ""


def actions(state: State, rephrasing: bool) -> list[Action]:
    """What can be done now, for the bar above the prompt: actions of the chat screen."""
    if state.running and state.running.phase != "stopping":
        return [Action("escape", "esc", "■ Stop", urgent=True)]
    if state.loading is not None:
        return [Action("escape", "esc", "cancel loading")]
    if rephrasing:
        return [Action("send", "⏎", "ask as a new branch"), Action("escape", "esc", "leave it")]
    path = state.tree.path()
    if state.running or not path or path[-1].role is not Role.ASSISTANT:
        return []
    offered = [Action("rephrase", "esc", "rephrase"), Action("retry", "^r", "retry")]
    if _can_go_on(state, path[-1]):
        offered.append(Action("resume", "^o", "continue"))
    if message := branched(state):
        offered.append(Action("next_version", "←→", badge(state, message)))
    return offered


def _can_go_on(state: State, reply: Message) -> bool:
    """Whether there is more to be written of a reply, and room for it in the context."""
    if reply.ending is Ending.CONTEXT:
        return state.model is not None and state.model.n_ctx > reply.figures.n_ctx
    return reply.text != "" and reply.ending not in (Ending.EOG, Ending.STOP)


def placeholder(state: State, rephrasing: int | None) -> str:
    """What an empty prompt says."""
    if state.model is None and state.loading is None:
        return "There is no model; F4 chooses one…"
    if rephrasing is not None:
        return "Ask it otherwise…"
    if state.running:
        return "Type while it writes; Enter waits its turn…"
    if is_base(state):
        return "Begin a text, and the model goes on with it…"
    return "Ask anything…"


def welcome(state: State) -> Greeting:
    """What an empty chat says."""
    if state.tree.messages:
        return Greeting("")
    if is_built_in(state):
        return Greeting(
            "This is chatterm tiny, a very small model, built in.\n"
            "It tells stories and explains how models write.",
            SUGGESTIONS,
            "↓ or a click takes one. Alt+↑ turns the temperature\n"
            "up while it writes. Past 1.5 it derails: dare you.",
        )
    if state.model is None:
        return Greeting("" if state.loading is not None else "F4 chooses a model.")
    if is_base(state):
        return Greeting(
            "This is a base model: it has no chat template and answers no questions.\n"
            "Begin a text, and it goes on with it."
        )
    return Greeting(
        "Ask something, and watch it being written.\n"
        "Move a slider meanwhile: the next token heeds it.\n"
        "Gone off track? esc stops, esc again rephrases."
    )


def plural(count: int, noun: str) -> str:
    """`1 token`, `23 tokens`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
