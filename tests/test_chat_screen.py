"""The main screen without a model: where the keys and the focus go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from textual.app import App
from textual.pilot import Pilot

import chatterm.ui
from chatterm.chat.message import Ending, Message, Role
from chatterm.chat.sampling import Sampling
from chatterm.session import Session
from chatterm.store import Store
from chatterm.ui.screens.chat import ChatScreen
from chatterm.ui.themes import own_variables
from chatterm.ui.widgets.prompt import Prompt
from chatterm.ui.widgets.sampling_panel import SamplingPanel
from chatterm.ui.widgets.slider import Slider
from chatterm.ui.widgets.transcript import Transcript


class Host(App[None]):
    CSS_PATH = Path(chatterm.ui.__file__).with_name("app.tcss")

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return own_variables(self.current_theme)

    def on_mount(self) -> None:
        self.push_screen(ChatScreen(self.session))


Act = Callable[[Pilot[None], ChatScreen], Awaitable[object]]


def drive(act: Act, log: Path, size: tuple[int, int] = (120, 40)) -> None:
    """Act on the screen of a conversation of one question and its reply."""
    store = Store(None)
    question = Message(id=0, parent=None, role=Role.USER, text="Why?", created=0.0)
    reply = Message(
        id=0, parent=None, role=Role.ASSISTANT, text="So.\n\n" * 60, created=0.0, ending=Ending.EOG
    )
    conversation, _ = store.create("A chat", Sampling(), question, reply)

    async def run() -> None:
        with closing(Session(store, log, Sampling())) as session:
            session.open(conversation)
            app = Host(session)
            async with app.run_test(size=size) as pilot:
                await pilot.pause()
                assert isinstance(app.screen, ChatScreen)
                await act(pilot, app.screen)

    asyncio.run(run())


def test_escape_leaves_an_overlaid_panel_for_the_prompt(tmp_path: Path) -> None:
    async def act(pilot: Pilot[None], screen: ChatScreen) -> None:
        panel = screen.query_one(SamplingPanel)
        await pilot.press("f2")
        assert panel.display
        assert isinstance(screen.focused, Slider)
        await pilot.press("escape")
        assert not panel.display
        assert isinstance(screen.focused, Prompt)

    drive(act, tmp_path / "log", size=(80, 24))


def test_escape_leaves_a_panel_beside_the_transcript_where_it_is(tmp_path: Path) -> None:
    async def act(pilot: Pilot[None], screen: ChatScreen) -> None:
        await pilot.press("tab", "escape")
        assert screen.query_one(SamplingPanel).display
        assert isinstance(screen.focused, Prompt)

    drive(act, tmp_path / "log")


def test_escape_reopens_the_question_and_gives_the_draft_back(tmp_path: Path) -> None:
    async def act(pilot: Pilot[None], screen: ChatScreen) -> None:
        prompt = screen.query_one(Prompt)
        await pilot.press(*"draft", "escape")
        assert prompt.value == "Why?"
        await pilot.press("!", "escape")
        assert prompt.value == "draft"

    drive(act, tmp_path / "log")


def test_the_keys_that_scroll_reach_the_transcript_from_the_prompt(tmp_path: Path) -> None:
    async def act(pilot: Pilot[None], screen: ChatScreen) -> None:
        transcript = screen.query_one(Transcript)
        end = transcript.scroll_offset.y
        await pilot.press("pageup")
        assert 0 < transcript.scroll_offset.y < end
        await pilot.press("ctrl+home")
        assert transcript.scroll_offset.y == 0
        await pilot.press("pagedown")
        assert 0 < transcript.scroll_offset.y < end
        await pilot.press("ctrl+end")
        assert transcript.following
        assert isinstance(screen.focused, Prompt)

    drive(act, tmp_path / "log")


def test_ctrl_c_copies_what_is_selected_in_the_prompt(tmp_path: Path) -> None:
    async def act(pilot: Pilot[None], screen: ChatScreen) -> None:
        await pilot.press(*"some", "shift+home", "ctrl+c")
        assert pilot.app.clipboard == "some"
        assert screen.query_one(Prompt).value == "some"

    drive(act, tmp_path / "log")
