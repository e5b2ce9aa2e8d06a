"""The prompt: sending, lines, history, long pastes, commands, and the keys it passes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual import events
from textual._xterm_parser import XTermParser
from textual.app import App, ComposeResult
from textual.message import Message
from textual.pilot import Pilot

from chatterm.chat.clean import clean, normalise_newlines
from chatterm.ui.widgets.completions import Completions
from chatterm.ui.widgets.pastes import LONG, Pastes
from chatterm.ui.widgets.prompt import Prompt

COMMANDS = (("/help", "keys"), ("/set", "[/red] a setting"), ("/system", "a system prompt"))


class Host(App[None]):
    """A prompt, its list of commands, and what it has said."""

    def __init__(self, history: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.past = history
        self.said: list[Message] = []

    def compose(self) -> ComposeResult:
        yield Completions()
        yield Prompt(placeholder="[/red] Ask", history=self.past, commands=COMMANDS)

    def on_mount(self) -> None:
        self.query_one(Prompt).focus()

    def on_prompt_submitted(self, event: Prompt.Submitted) -> None:
        self.said.append(event)

    on_prompt_editor_wanted = on_prompt_submitted
    on_prompt_sibling_wanted = on_prompt_submitted
    on_prompt_nudge = on_prompt_submitted
    on_prompt_quit_wanted = on_prompt_submitted

    def on_prompt_completing(self, event: Prompt.Completing) -> None:
        self.query_one(Completions).show(event.commands, event.chosen)

    @property
    def sent(self) -> list[str]:
        return [said.text for said in self.said if isinstance(said, Prompt.Submitted)]


Act = Callable[[Pilot[None], Prompt], Awaitable[object]]


def drive(act: Act, *history: str, size: tuple[int, int] = (60, 16)) -> Host:
    host = Host(history)

    async def run() -> None:
        async with host.run_test(size=size) as pilot:
            await act(pilot, host.query_one(Prompt))
            await pilot.pause()

    asyncio.run(run())
    return host


def press(*keys: str) -> Host:
    return drive(lambda pilot, _prompt: pilot.press(*keys))


async def paste(pilot: Pilot[None], prompt: Prompt, text: str) -> None:
    prompt.post_message(events.Paste(text))
    await pilot.pause()


def test_enter_sends_and_empties():
    async def act(pilot: Pilot[None], prompt: Prompt) -> None:
        await pilot.press("h", "i", "enter")
        await pilot.pause()
        assert prompt.value == ""
        await pilot.press("enter", "space", "enter")  # nothing to send

    assert drive(act).sent == ["hi"]


@pytest.mark.parametrize("key", ["ctrl+j", "alt+enter", "shift+enter"])
def test_new_lines(key):
    assert press("a", key, "b", "enter").sent == ["a\nb"]


@pytest.mark.parametrize(
    ("bytes_", "key"),
    [
        ("\x1b\r", "ctrl+j"),  # Alt+Enter without the kitty protocol
        ("\x1b[13;2u", "shift+enter"),
        ("\x1b[1;3A", "alt+up"),
        ("\x1b[1;9A", "super+up"),
        ("\x1b[1;3C", "alt+right"),
    ],
)
def test_what_terminals_send_arrives_as_the_keys_bound_here(bytes_, key):
    press()  # a prompt must have been shown for Alt+Enter
    assert [event.key for event in XTermParser().feed(bytes_)] == [key]


def test_it_grows_with_its_lines_and_then_scrolls():
    async def act(pilot: Pilot[None], prompt: Prompt) -> None:
        assert prompt.size.height == 1
        await pilot.press("a", "ctrl+j", "b", "ctrl+j", "c")
        await pilot.pause()
        assert prompt.size.height == 3
        prompt.set_text("line\n" * 20)
        await pilot.pause()
        assert prompt.size.height == 8

    drive(act)


@pytest.mark.parametrize("key", ["ctrl+k", "ctrl+shift+k", "ctrl+u", "ctrl+x"])
def test_the_last_line_can_be_deleted(key):
    (sent,) = press(key, "a", "ctrl+j", "b", key, key, key, "c", "enter").sent
    assert sent.endswith("c")


def test_history_keeps_the_draft_and_what_was_edited():
    async def act(pilot: Pilot[None], prompt: Prompt) -> None:
        await pilot.press("d", "up")
        assert prompt.value == "two\nlines"
        await pilot.press("up", "up")
        assert prompt.value == "one"
        await pilot.press("up", "!", "down", "down", "down")
        assert prompt.value == "d"
        await pilot.press("up", "up", "up")
        assert prompt.value == "!one"

    drive(act, "one", "two\nlines")


def test_down_brings_suggestions_and_up_the_draft_again():
    async def act(pilot: Pilot[None], prompt: Prompt) -> None:
        prompt.suggest(("one", "two"))
        await pilot.press("x", "down")
        assert prompt.text == "one"
        await pilot.press("down", "down")
        assert prompt.text == "two"
        await pilot.press("up", "up")
        assert prompt.text == "x"
        await pilot.press("up")
        assert prompt.text == "sent"

    drive(act, "sent")


def test_remember_adds_once():
    async def act(pilot: Pilot[None], prompt: Prompt) -> None:
        prompt.remember("x")
        prompt.remember("x")
        await pilot.press("up", "up")
        assert prompt.value == "one"

    drive(act, "one")


def test_a_long_paste_is_a_label_and_sent_whole():
    long = "0123456789" * LONG + "\nend"

    async def act(pilot: Pilot[None], prompt: Prompt) -> None:
        await pilot.press("a")
        await paste(pilot, prompt, long)
        await pilot.press("b")
        assert prompt.text == "a[text 1: 80,004 characters, 2 lines]b"
        await pilot.press("ctrl+g", "enter")

    host = drive(act)
    assert [event.text for event in host.said] == [f"a{long}b"] * 2


def test_a_label_goes_as_a_whole_and_comes_back_with_undo():
    async def act(pilot: Pilot[None], prompt: Prompt) -> None:
        await paste(pilot, prompt, "x" * LONG)
        label = prompt.text
        await pilot.press("left", "left", "y")  # typed inside: put behind it
        assert prompt.text == f"{label}y"
        await pilot.press("left", "backspace")
        assert prompt.text == "y"
        await pilot.press("ctrl+z")
        assert prompt.value == "x" * LONG + "y"

    drive(act)


def test_a_long_text_of_the_history_is_a_label_too():
    async def act(pilot: Pilot[None], prompt: Prompt) -> None:
        await pilot.press("up")
        assert prompt.text.startswith("[text 1:")
        await pilot.press("down", "up", "enter")

    assert drive(act, "z" * LONG).sent == ["z" * LONG]


def test_a_long_draft_with_a_label_comes_back_from_the_history_as_it_was():
    async def act(pilot: Pilot[None], prompt: Prompt) -> None:
        await paste(pilot, prompt, "x" * LONG)
        for _ in range(3):
            await paste(pilot, prompt, "y" * (LONG - 1))
        await pilot.press("up", "up", "up", "down", "down")
        await pilot.press("enter")

    typed = "x" * LONG + "y" * 3 * (LONG - 1)
    assert drive(act, "one", size=(2000, 40)).sent == [typed]


def test_two_long_texts_of_one_size_are_told_apart():
    pastes = Pastes()
    first, second = pastes.collapse("a" * LONG), pastes.collapse("b" * LONG)
    assert first != second
    assert pastes.expand(second + first) == "b" * LONG + "a" * LONG
    assert pastes.collapse("a" * LONG) == first


def test_a_label_inside_a_long_text_stays_text():
    pastes = Pastes()
    label = pastes.collapse("a" * LONG)
    quoting = pastes.collapse(label * LONG)
    assert pastes.expand(quoting) == label * LONG


def test_pasted_text_is_cleaned():
    async def act(pilot: Pilot[None], prompt: Prompt) -> None:
        await paste(pilot, prompt, "a\r\nb\rc\x1b]0;x\x07\x9b")
        assert prompt.value == "a\nb\nc␛]0;x␇\ufffd"

    drive(act)


def test_an_empty_prompt_passes_keys_on():
    host = press("left", "right", "ctrl+d")
    assert [type(said).__name__ for said in host.said] == [
        "SiblingWanted",
        "SiblingWanted",
        "QuitWanted",
    ]
    assert [said.step for said in host.said[:2]] == [-1, 1]


def test_a_prompt_with_text_keeps_them():
    host = press("a", "b", "left", "left", "ctrl+d", "enter")
    assert [type(said).__name__ for said in host.said] == ["Submitted"]
    assert host.sent == ["b"]


def test_temperature_and_top_p_are_moved_from_here():
    host = press("a", "alt+up", "alt+down", "alt+right", "super+left", "enter")
    nudges = [(said.name, said.steps) for said in host.said[:-1]]
    assert nudges == [("temperature", 1), ("temperature", -1), ("top_p", 1), ("top_p", -1)]
    assert host.sent == ["a"]


def test_commands_are_offered_chosen_and_completed():
    async def act(pilot: Pilot[None], prompt: Prompt) -> None:
        shown = pilot.app.query_one(Completions)
        await pilot.press("slash", "s")
        await pilot.pause()
        assert shown.display
        assert str(shown.content).splitlines() == [
            "/set     [/red] a setting",
            "/system  a system prompt",
        ]
        await pilot.press("down", "tab")
        await pilot.pause()
        assert prompt.value == "/system "
        assert not shown.display

    drive(act)


def test_enter_completes_a_command_that_is_none_yet_and_sends_one_that_is():
    assert press("slash", "h", "enter", "enter").sent == ["/help "]
    assert press("slash", "s", "e", "t", "enter").sent == ["/set"]
    assert press("slash", "x", "enter").sent == ["/x"]


def test_escape_puts_the_commands_away_and_then_is_the_screen_s():
    async def act(pilot: Pilot[None], _prompt: Prompt) -> None:
        await pilot.press("slash")
        await pilot.pause()
        await pilot.press("escape")
        await pilot.pause()
        assert not pilot.app.query_one(Completions).display

    drive(act)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=8))
def test_any_text_can_be_shown_and_is_sent_as_it_was_cleaned(texts):
    async def act(pilot: Pilot[None], prompt: Prompt) -> None:
        for text in texts:
            prompt.set_placeholder(clean(text))
            prompt.set_text(text)
            await pilot.pause()
            assert prompt.value == clean(normalise_newlines(text))

    drive(act)
