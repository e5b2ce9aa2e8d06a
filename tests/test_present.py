"""ui.present: what the screen shows is a function of the session's state."""

from pathlib import Path

import msgspec
import pytest

from chatterm.chat.message import Change, Ending, Figures, Message, Role
from chatterm.chat.sampling import Sampling
from chatterm.chat.tree import Tree
from chatterm.engine.protocol import ModelInfo
from chatterm.state import ModelOptions, Running, State
from chatterm.ui import present
from chatterm.ui.screens.chat import ChatScreen
from chatterm.ui.widgets.transcript import Mark

INFO = ModelInfo(
    path="/m.gguf", name="Tiny\x1b", architecture="llama", quantisation="Q8_0", parameters=1,
    size_bytes=1, n_vocab=2, n_layers=4, n_ctx=2048, n_ctx_train=2048, gpu_layers=0, device="CPU",
    n_threads=3, has_template=True,
)  # fmt: skip


def state(ending: Ending | None = None, running: Running | None = None, **more: object) -> State:
    """A question and its reply."""
    question = Message(id=1, parent=None, role=Role.USER, text="Hello", created=0.0)
    figures = Figures(completion_tokens=23, stop_s=0.004, prompt_tokens=5, decode_s=1.0, n_ctx=2048)
    reply = Message(
        id=2,
        parent=1,
        role=Role.ASSISTANT,
        text="Hi",
        created=0.0,
        model="Tiny",
        ending=ending,
        figures=figures,
        problem="It broke.",
    )
    tree = Tree().added(question).added(reply)
    return State(sampling=Sampling(), tree=tree, running=running, model=INFO, **more)  # type: ignore[arg-type]


def changed(*places: tuple[int, int, float]) -> Message:
    """A reply whose temperature changed: token, offset and value of each change."""
    changes = tuple(
        Change(Sampling(temperature=value), token, offset) for token, offset, value in places
    )
    return Message(id=1, parent=None, role=Role.ASSISTANT, text="x", created=0.0, changes=changes)


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (Ending.EOG, ""),
        (Ending.STOPPED, "stopped by you after 23 tokens, in 4 ms"),
        (Ending.LENGTH, "limit of 23 tokens"),
        (Ending.CONTEXT, "context is full"),
        (Ending.FAILED, "It broke."),
        (None, "interrupted"),
    ],
)
def test_a_reply_says_how_it_ended(ending: Ending | None, words: str) -> None:
    shown = present.entries(state(ending))
    assert [entry.title for entry in shown] == ["You", "Tiny"]
    assert words in shown[1].note
    assert bool(words) == bool(shown[1].note)
    assert not shown[1].open


def test_a_running_reply_is_open_and_says_what_it_does() -> None:
    running = Running(run=1, message=2, began=0.0, phase="reading", evaluated=0.4)
    shown = present.entry(state(running=running), state().tree.messages[2])
    assert shown.open
    assert shown.note == "reading 40 %"


def test_siblings_have_a_badge() -> None:
    before = state(Ending.EOG)
    again = Message(id=3, parent=1, role=Role.ASSISTANT, text="Ho", created=0.0)
    both = State(sampling=Sampling(), tree=before.tree.added(again))
    assert [entry.badge for entry in present.entries(both)] == ["", "‹2/2›"]


def test_what_waits_is_shown_below() -> None:
    shown = present.entries(state(Ending.EOG, queue=("Next",)))
    assert (shown[-1].text, shown[-1].note) == ("Next", "waits its turn")
    assert len({entry.key for entry in shown}) == len(shown)


def test_a_change_is_marked_where_it_took_effect() -> None:
    message = changed((0, 0, 0.8), (40, 100, 1.2), (-1, -1, 1.3))
    assert present.marks(message) == (Mark(100, "temperature 0.80 → 1.20"),)


def test_steps_of_one_move_are_one_mark_where_it_began() -> None:
    message = changed((0, 0, 0.8), (40, 100, 0.85), (45, 110, 0.9), (90, 300, 0.8))
    assert present.marks(message) == (
        Mark(100, "temperature 0.80 → 0.90"),
        Mark(300, "temperature 0.90 → 0.80"),
    )


def test_a_move_there_and_back_is_none() -> None:
    assert present.marks(changed((0, 0, 0.8), (40, 100, 0.85), (41, 102, 0.8))) == ()


def test_names_from_a_model_are_cleaned() -> None:
    assert present.header(state())[1] == "Tiny␛ Q8_0"


def test_the_header_shows_what_is_loading() -> None:
    loading = State(
        sampling=Sampling(), loading=0.42, options=ModelOptions(path=Path("/x/big.gguf"))
    )
    assert present.header(loading) == ("New chat", "loading big.gguf 42 %")
    assert present.status(loading).phase == "loading 42 %"


def test_the_status_is_of_the_reply_that_runs_else_of_the_last() -> None:
    running = Running(
        run=1, message=2, began=0.0, phase="writing", tokens=7, context_tokens=12, cached_tokens=3
    )
    now = present.status(state(running=running))
    assert (now.tokens, now.context_tokens, now.cached_tokens, now.n_ctx) == (7, 12, 3, 2048)
    after = present.status(state(Ending.STOPPED))
    assert (after.tokens, after.context_tokens, after.stop_s) == (23, 28, 0.004)
    assert after.device == "3 threads"


@pytest.mark.parametrize(
    ("shown", "rephrasing", "names"),
    [
        (state(running=Running(run=1, message=2, began=0.0)), False, ["escape"]),
        (state(Ending.STOPPED), False, ["rephrase", "retry", "resume"]),
        (state(Ending.EOG), False, ["rephrase", "retry"]),
        (state(Ending.CONTEXT), False, ["rephrase", "retry"]),
        (state(Ending.STOPPED), True, ["send", "escape"]),
        (State(sampling=Sampling(), loading=0.1), False, ["escape"]),
        (State(sampling=Sampling()), False, []),
    ],
)
def test_what_can_be_done_now(shown: State, rephrasing: bool, names: list[str]) -> None:
    offered = present.actions(shown, rephrasing)
    assert [action.name for action in offered] == names
    for action in offered:
        assert callable(getattr(ChatScreen, f"action_{action.name}"))


def test_a_reply_that_filled_the_context_goes_on_in_a_larger_one() -> None:
    full = state(Ending.CONTEXT)
    assert full.model
    model = msgspec.structs.replace(full.model, n_ctx=4096)
    larger = msgspec.structs.replace(full, model=model)
    assert [action.name for action in present.actions(larger, False)][-1] == "resume"


def test_without_a_model_the_prompt_says_how_to_get_one() -> None:
    assert "F4" in present.placeholder(State(sampling=Sampling()), None)
    assert "F4" not in present.placeholder(State(sampling=Sampling(), loading=0.1), None)


def test_versions_are_offered_where_there_are_several() -> None:
    before = state(Ending.EOG)
    again = Message(id=3, parent=1, role=Role.ASSISTANT, text="", created=0.0)
    both = State(sampling=Sampling(), tree=before.tree.added(again))
    assert [(a.name, a.label) for a in present.actions(both, False)][-1] == (
        "next_version",
        "‹2/2›",
    )
