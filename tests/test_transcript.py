from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.geometry import Offset
from textual.message import Message
from textual.pilot import Pilot
from textual.selection import Selection

from chatterm.chat.clean import clean
from chatterm.chat.message import Role
from chatterm.ui.themes import own_variables
from chatterm.ui.widgets.entry_view import EntryView
from chatterm.ui.widgets.transcript import Entry, Mark, Transcript


def reply(text: str, key: int = 2, **changes: object) -> Entry:
    return Entry(key=key, role=Role.ASSISTANT, title="Model", text=text, **changes)  # type: ignore[arg-type]


def question(text: str, key: int = 1) -> Entry:
    return Entry(key=key, role=Role.USER, title="You", text=text, plain=True)


def many(count: int) -> list[Entry]:
    return [
        reply(f"Message {n}.\n\n" + "words and more words " * (n % 30), n) for n in range(count)
    ]


class Host(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[Message] = []

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return own_variables(self.current_theme)

    def compose(self) -> ComposeResult:
        yield Transcript(id="transcript")

    def on_mount(self) -> None:
        self.query_one(Transcript).focus()

    def on_transcript_entry_selected(self, event: Message) -> None:
        self.said.append(event)

    on_transcript_sibling_wanted = on_transcript_entry_selected
    on_transcript_copied = on_transcript_entry_selected
    on_transcript_link_clicked = on_transcript_entry_selected


@asynccontextmanager
async def shown(
    *entries: Entry, size: tuple[int, int] = (60, 20)
) -> AsyncIterator[tuple[Transcript, Pilot[None]]]:
    async with Host().run_test(size=size) as pilot:
        transcript = pilot.app.query_one(Transcript)
        transcript.show(entries)
        await pilot.pause()
        yield transcript, pilot


def screen(transcript: Transcript) -> list[str]:
    """What is seen, without the gutter."""
    return [transcript.render_line(y).text[3:].rstrip() for y in range(transcript.size.height)]


def gutter(transcript: Transcript) -> list[str]:
    return [transcript.render_line(y).text[:3].rstrip() for y in range(transcript.size.height)]


def said(pilot: Pilot[None], kind: type[Message]) -> list[Message]:
    assert isinstance(pilot.app, Host)
    return [message for message in pilot.app.said if isinstance(message, kind)]


def in_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """A test function from a coroutine function."""

    @functools.wraps(test)
    def run(*arguments: object, **named: object) -> None:
        asyncio.run(test(*arguments, **named))

    return run


@in_loop
async def test_shows_entries_one_below_the_other() -> None:
    entry = reply("**hello**", badge="‹1/2›", note="stopped")
    async with shown(question("a\n  **b**"), entry) as (transcript, _):
        lines = screen(transcript)
        expected = ["You", "a", "  **b**", "", "Model ‹1/2›", "hello", "", "stopped", ""]
        assert lines[:9] == expected


@in_loop
async def test_a_reply_without_a_word_says_why_below_its_title() -> None:
    async with shown(question("q"), reply("", note="It broke.")) as (transcript, _):
        assert screen(transcript)[3:7] == ["Model", "It broke.", "", ""]
        transcript.show([question("q"), reply("", 3, open=True)])
        assert screen(transcript)[3:6] == ["Model", "▌", ""]
        transcript.update(reply("", 3, note="It broke."))
        assert screen(transcript)[3:7] == ["Model", "It broke.", "", ""]


@in_loop
async def test_streams_and_closes() -> None:
    text = "# Head\n\nSome **bold** words.\n\n- one\n- two\n"
    async with shown(question("q"), reply("", open=True)) as (transcript, pilot):
        for character in text:
            transcript.append(character)
        assert screen(transcript)[3:12] == [
            *("Model", "Head", "", "Some bold words.", "", "  • one", "  • two▌", "", ""),
        ]
        transcript.update(reply(text))
        await pilot.pause()
        streamed = screen(transcript)
        transcript.show([])
        transcript.show([question("q"), reply(text)])
        assert screen(transcript) == streamed


@in_loop
async def test_only_changed_lines_are_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with shown(question("q"), reply("one\n\ntwo", open=True)) as (transcript, pilot):
        await pilot.pause()
        painted: list[int] = []
        paint = transcript._paint
        monkeypatch.setattr(transcript, "_paint", lambda ys: painted.extend(ys) or paint(ys))
        transcript.append(" more")
        await pilot.pause()
        assert painted
        assert set(painted) <= {6, 7}


@in_loop
async def test_what_is_left_on_the_screen_is_what_would_be_painted_anew() -> None:
    text = "# Head\n\nSome **bold** words\n\n- one\n  - two\n\n> quote\n\n```py\nx = 1\n```\nend\n"
    async with shown(question("q"), reply("", open=True), size=(60, 30)) as (transcript, _):
        region = transcript.size.region
        for character in text:
            transcript.render_lines(region)
            transcript.append(character)
            left = [strip.text for strip in transcript.render_lines(region)]
            assert left == [transcript.render_line(y).text for y in range(region.height)]


@in_loop
async def test_a_reply_grows_above_what_waits_its_turn() -> None:
    waiting = Entry(key=-1, role=Role.USER, title="You", text="next", note="waits", plain=True)
    async with shown(question("q"), reply("a", open=True), waiting) as (transcript, _):
        transcript.append("\n\nb")
        assert screen(transcript)[3:9] == ["Model", "a", "", "b▌", "", "You  waits"]
        transcript.update(reply("a\n\nb", note="stopped"))
        assert screen(transcript)[3:11] == [
            *("Model", "a", "", "b", "", "stopped", "", "You  waits"),
        ]


@in_loop
async def test_entries_that_stay_keep_their_layout() -> None:
    first, second = question("q"), reply("text")
    async with shown(first, second) as (transcript, _):
        views = list(transcript._stack.views)
        transcript.show([question("q"), reply("text"), question("again", 3)])
        assert transcript._stack.views[:2] == views


@in_loop
async def test_follows_the_end_until_the_reader_leaves_it() -> None:
    async with shown(*many(20), reply("", 99, open=True)) as (transcript, pilot):
        assert transcript.following
        transcript.append("line\n\n" * 30)
        await pilot.pause()
        assert transcript.scroll_offset.y == transcript.max_scroll_y
        await pilot.press("up", "up")
        assert not transcript.following
        before = screen(transcript)
        transcript.append("more\n\n" * 30 + "```py\ncode")
        await pilot.pause()
        after = screen(transcript)
        assert after[:-1] == before[:-1]
        assert "more below" in after[-1]
        await pilot.press("end")
        assert transcript.following
        assert transcript.scroll_offset.y == transcript.max_scroll_y
        assert "more below" not in screen(transcript)[-1]


@in_loop
async def test_scrolling_to_the_end_follows_again() -> None:
    async with shown(*many(20)) as (transcript, pilot):
        await pilot.press("pageup", "pageup")
        assert not transcript.following
        await pilot.press("pagedown", "pagedown")
        assert transcript.following


@in_loop
async def test_scrolling_moves_by_as_many_lines_as_asked_through_what_was_not_laid_out() -> None:
    async with shown(*many(60)) as (transcript, pilot):
        seen = screen(transcript)
        for _ in range(40):
            transcript.action_scroll_up()
            now = screen(transcript)
            assert now[1:] == seen[:-1]
            seen = now
        await pilot.press("home")
        assert screen(transcript)[:2] == ["Model", "Message 0."]


@pytest.mark.parametrize("following", [True, False])
@in_loop
async def test_resize_keeps_the_place(following: bool) -> None:
    async with shown(*many(60), size=(80, 24)) as (transcript, pilot):
        if not following:
            await pilot.press(*["pageup"] * 5)
        top = screen(transcript)[0].split(" ")[0]
        for size in ((40, 20), (100, 30), (20, 8), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert transcript.following is following
        if following:
            assert transcript.scroll_offset.y == transcript.max_scroll_y
        else:
            assert screen(transcript)[0].split(" ")[0] == top


@in_loop
async def test_changes_of_settings_are_marked_where_they_are() -> None:
    text = "one two **three** four\n\nfive"
    mark = Mark(text.index("three"), "temperature 0.80 → 1.20")
    later = Mark(text.index("five"), "top-p 0.95 → 0.50")
    async with shown(reply(text, marks=(mark, later))) as (transcript, pilot):
        assert gutter(transcript)[:5] == ["▏", "▏┊", "▏┊", "▏┊", "▏"]
        assert screen(transcript)[5:7] == ["┊ temperature 0.80 → 1.20", "┊ top-p 0.95 → 0.50"]
        changed = [
            segment.text
            for y in (1, 3)
            for segment in transcript.render_line(y)
            if segment.style and segment.style.underline
        ]
        assert changed == ["t", "f"]
        await pilot.hover(Transcript, offset=(1, 1))
        assert str(transcript.tooltip) == mark.label
        await pilot.hover(Transcript, offset=(1, 3))
        assert str(transcript.tooltip) == later.label
        await pilot.hover(Transcript, offset=(20, 3))
        assert transcript.tooltip is None


@in_loop
async def test_many_changes_are_summed_up() -> None:
    marks = tuple(Mark(n, f"change {n}") for n in range(9))
    async with shown(reply("0123456789", marks=marks)) as (transcript, _):
        lines = [line for line in screen(transcript) if line.startswith("┊")]
        assert lines == ["┊ and 5 more above", *(f"┊ change {n}" for n in range(5, 9))]


@in_loop
async def test_a_change_is_placed_when_its_text_comes() -> None:
    async with shown(reply("one", open=True)) as (transcript, _):
        transcript.update(reply("one", open=True, marks=(Mark(3, "changed"),)))
        assert set(gutter(transcript)) == {"▏"}
        transcript.append("two")
        assert gutter(transcript)[1] == "▏┊"


@in_loop
async def test_keys_select_and_copy() -> None:
    code = reply("a\n\n```py\nfirst\n```\n\n```\nsecond\n```", 2)
    async with shown(question("the *question*"), code) as (transcript, pilot):
        await pilot.press("k", "k")
        assert transcript.selected == 1
        assert gutter(transcript)[0] == "▎"
        await pilot.press("y")
        assert pilot.app.clipboard == "the *question*"
        await pilot.press("j", "c")
        assert transcript.selected == 2
        assert pilot.app.clipboard == "second\n"
        await pilot.press("c")
        assert pilot.app.clipboard == "first\n"
        await pilot.press("c")
        assert pilot.app.clipboard == "second\n"
        await pilot.press("escape")
        assert transcript.selected is None
        keys = [message.key for message in said(pilot, Transcript.EntrySelected)]  # type: ignore[attr-defined]
        assert keys == [2, 1, 2, None]
        whats = [message.what for message in said(pilot, Transcript.Copied)]  # type: ignore[attr-defined]
        assert whats[1:3] == ["Copied code block 2 of 2.", "Copied code block 1 of 2 (py)."]


@in_loop
async def test_the_focus_is_seen() -> None:
    async with shown(question("q")) as (transcript, pilot):
        assert set(gutter(transcript)) == {"▏"}
        pilot.app.set_focus(None)
        await pilot.pause()
        lines = transcript.render_lines(transcript.size.region)
        assert not any(strip.text[:3].strip() for strip in lines)


@in_loop
async def test_selecting_brings_into_sight() -> None:
    async with shown(*many(40)) as (transcript, _):
        for _ in range(30):
            transcript.action_select(-1)
        assert transcript.selected == 10
        assert "Message 10." in screen(transcript)


@in_loop
async def test_asks_for_siblings() -> None:
    badged = reply("x", 2, badge="‹2/3›")
    async with shown(question("q"), badged, question("r", 3)) as (transcript, pilot):
        await pilot.press("left", "right")
        await pilot.click(Transcript, offset=(3 + len("Model ") + 4, 3))
        wanted = [(m.key, m.offset) for m in said(pilot, Transcript.SiblingWanted)]  # type: ignore[attr-defined]
        assert wanted == [(2, -1), (2, 1), (2, 1)]
        assert transcript.selected is None


@in_loop
async def test_a_click_selects_and_links_are_only_told() -> None:
    text = "see [it](https://x.y) or [bad](vscode://x)"
    async with shown(reply(text)) as (transcript, pilot):
        await pilot.click(Transcript, offset=(3 + 4, 1))
        assert [m.url for m in said(pilot, Transcript.LinkClicked)] == ["https://x.y"]  # type: ignore[attr-defined]
        assert transcript.selected is None
        await pilot.click(Transcript, offset=(3 + screen(transcript)[1].index("bad"), 1))
        assert len(said(pilot, Transcript.LinkClicked)) == 1
        assert transcript.selected == 2


@in_loop
async def test_mouse_selection_copies_what_is_seen_without_layout() -> None:
    text = "- one two three four five six seven eight nine ten eleven\n\n```py\nx = 1\ny = 2\n```"
    async with shown(question("ask"), reply(text, open=True), size=(40, 20)) as (transcript, pilot):
        await pilot.mouse_down(Transcript, offset=(3, 1))
        await pilot.hover(Transcript, offset=(3 + 5, 8))
        transcript.append("\n\nmore")
        await pilot.mouse_up(Transcript, offset=(3 + 5, 8))
        for strip in transcript.render_lines(transcript.size.region)[1:5]:
            for text, style, _ in strip:
                assert style is None or not text.strip() or style.color != style.bgcolor
        assert pilot.app.screen.get_selected_text() == (
            "ask\n\nModel\n  • one two three four five six seven eight nine ten eleven\n\nx = 1"
        )


@in_loop
async def test_clicking_twice_selects_a_block() -> None:
    text = "para\n\n```py\nx = 1\ny = 2\n```\n\nend"
    async with shown(reply(text)) as (_, pilot):
        await pilot.double_click(Transcript, offset=(5, 4))
        assert pilot.app.screen.get_selected_text() == "x = 1\ny = 2"
        await pilot.triple_click(Transcript, offset=(5, 4))
        copied = pilot.app.screen.get_selected_text()
        assert copied == "para\n\nx = 1\ny = 2\n\nend"


@in_loop
async def test_selection_survives_layout_above_it() -> None:
    async with shown(*many(60)) as (transcript, pilot):
        await pilot.press("pageup")
        row = transcript.render_line(5)
        offset = next(s.style.meta["offset"] for s in row if s.style and "offset" in s.style.meta)
        selection = Selection(Offset(0, offset[1]), Offset(7, offset[1]))
        before = transcript.get_selection(selection)
        await pilot.press("home")
        assert transcript.get_selection(selection) == before


@in_loop
async def test_select_all_takes_everything() -> None:
    async with shown(*many(50)) as (transcript, _):
        copied = transcript.get_selection(Selection(None, None))
        assert copied is not None
        assert [line for line in copied[0].split("\n") if line.startswith("Message")] == [
            f"Message {n}." for n in range(50)
        ]


@in_loop
async def test_theme_changes_repaint() -> None:
    async with shown(reply("text")) as (transcript, pilot):
        pilot.app.theme = "textual-light"
        await pilot.pause()
        light = transcript.render_lines(transcript.size.region)[1]
        pilot.app.theme = "textual-dark"
        await pilot.pause()
        dark = transcript.render_lines(transcript.size.region)[1]
        assert light.text == dark.text
        assert light != dark


@in_loop
async def test_survives_anything_at_any_size() -> None:
    rng = random.Random(1)  # noqa: S311
    pieces = ["# ", "- ", "1. ", "```py\n", "```", "|a|b|\n|-|-|\n", "> ", "**", "\n", "\n\n"]
    pieces += [
        "日本語",
        "👩‍👩‍👧",
        "e\u0301",
        "[red]",
        "[/]",
        "[@click=app.quit]x[/]",
        "\t",
        "word ",
    ]
    async with shown(question("q"), reply("", open=True)) as (transcript, pilot):
        for step in range(150):
            transcript.append("".join(rng.choices(pieces, k=6)))
            if step % 10 == 0:
                await pilot.resize_terminal(rng.choice([1, 5, 20, 80]), rng.choice([1, 4, 30]))
            if step % 7 == 0:
                await pilot.press(rng.choice(["up", "pageup", "home", "end", "k", "j", "down"]))
        await pilot.resize_terminal(60, 20)
        await pilot.press("home")
        assert screen(transcript)[:2] == ["You", "q"]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=120), st.lists(st.integers(0, 120), max_size=5), st.booleans())
def test_no_text_raises_or_depends_on_its_pieces(text: str, cuts: list[int], plain: bool) -> None:
    text = clean(text)
    whole = EntryView(reply(text, plain=plain), 30)
    whole.settle(0, 1 << 30)
    view = EntryView(reply("", plain=plain, open=True), 30)
    ends = sorted(min(cut, len(text)) for cut in cuts)
    for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
        view.append(text[start:end])
        view.settle(0, 1 << 30)
    view.update(reply(text, plain=plain))
    view.settle(0, 1 << 30)
    assert [view.row(n).line.text for n in range(view.height)] == [
        whole.row(n).line.text for n in range(whole.height)
    ]
