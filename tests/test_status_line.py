"""The status line: what it says, and what it leaves out as it gets narrower."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult

from chatterm.ui.widgets.status_line import Status, StatusLine, bar, count, duration, layout

WRITING = Status(
    device="7 threads",
    context_tokens=1234,
    n_ctx=8192,
    cached_tokens=1100,
    tokens=97,
    tokens_per_s=38.4,
    ttft_s=0.21,
)


def line(status: Status, width: int) -> str:
    return "".join(part.text for part in layout(status, width))


def test_a_wide_line_says_everything():
    assert line(WRITING, 118) == (
        "38.4 tok/s · 97 tokens · first after 210 ms · 7 threads"
        " · context ▓▓░░░░░░░░ 1.2k/8k (1.1k kept)"
    )


def test_a_narrow_line_keeps_what_matters():
    assert line(WRITING, 58) == "38.4 tok/s · 97 tokens · 7 threads · context 1.2k/8k"
    assert line(WRITING, 30) == "38.4 tok/s · context 1.2k/8k"


def test_what_is_not_known_is_left_out():
    assert line(Status(), 80) == ""
    assert line(Status(phase="loading 43 %"), 80) == "loading 43 %"
    assert line(Status(n_ctx=2048), 80) == "context ░░░░░░░░░░ 0/2k"


def test_a_stop_and_a_base_model_are_told():
    status = msgspec.structs.replace(WRITING, stop_s=0.004, kind="base model: plain continuation")
    assert "stopped in 4 ms" in line(status, 140)
    assert line(status, 140).startswith("base model: plain continuation · ")


def test_the_hint_is_at_the_right_end():
    status = msgspec.structs.replace(WRITING, hint="f1 help")
    shown = line(status, 118)
    assert shown.endswith("   f1 help")
    assert cell_len(shown) == 118


def test_a_nearly_full_context_stands_out():
    full = msgspec.structs.replace(WRITING, context_tokens=8000)
    assert "warning" in {part.style for part in layout(full, 118)}
    assert "warning" not in {part.style for part in layout(WRITING, 118)}


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [(0, "0"), (97, "97"), (999, "999"), (1000, "1.0k"), (1234, "1.2k"), (8192, "8k"),
     (131072, "128k"), (130000, "127k")],
)  # fmt: skip
def test_count(tokens, shown):
    assert count(tokens) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0042, "4 ms"), (0.21, "210 ms"), (0.9999, "1.0 s"), (1.25, "1.2 s"), (75.2, "75 s")],
)
def test_duration(seconds, shown):
    assert duration(seconds) == shown


def test_bar_shows_that_something_is_there_and_never_overflows():
    assert bar(0) == "░" * 10
    assert bar(0.001) == "▓" + "░" * 9
    assert bar(1.5) == "▓" * 10


statuses = st.builds(
    Status,
    model=st.text(max_size=80),
    device=st.text(max_size=60),
    phase=st.text(max_size=80),
    hint=st.text(max_size=80),
    context_tokens=st.integers(0, 10**6),
    n_ctx=st.sampled_from((0, 512, 8192)),
    cached_tokens=st.integers(0, 10**6),
    tokens=st.integers(0, 10**6),
    tokens_per_s=st.floats(0, 1e5),
    ttft_s=st.floats(0, 1e4),
    stop_s=st.none() | st.floats(0, 100),
    kind=st.text(max_size=40),
)


@given(statuses, st.integers(0, 200))
def test_it_fits_its_width_unless_only_the_phase_is_left(status, width):
    shown = line(status, width)
    assert "\n" not in shown
    assert cell_len(shown) <= max(width, cell_len(line(Status(phase=status.phase), width)))


class Host(App[None]):
    def compose(self) -> ComposeResult:
        yield StatusLine()


def test_it_draws_again_only_when_the_text_changes():
    async def run() -> list[int]:
        host, drawn = Host(), []
        async with host.run_test(size=(120, 5)) as pilot:
            status_line = host.query_one(StatusLine)
            for rate in (38.41, 38.42, 38.44, 39.0):
                status_line.show(msgspec.structs.replace(WRITING, tokens_per_s=rate))
                await pilot.pause()
                drawn.append(id(status_line._shown))
        return drawn

    first, second, third, fourth = asyncio.run(run())
    assert first == second == third != fourth


@settings(max_examples=10, deadline=None)
@given(st.lists(statuses, min_size=1, max_size=5))
def test_any_text_is_shown_as_text(given_statuses):
    async def run() -> None:
        host = Host()
        async with host.run_test(size=(100, 3)) as pilot:
            for status in given_statuses:
                host.query_one(StatusLine).show(status)
                await pilot.pause()

    asyncio.run(run())


def test_it_lays_itself_out_again_when_resized():
    async def run() -> tuple[str, str]:
        host = Host()
        async with host.run_test(size=(120, 5)) as pilot:
            status_line = host.query_one(StatusLine)
            status_line.show(WRITING)
            wide = status_line.render().plain
            await pilot.resize_terminal(60, 5)
            await pilot.pause()
            return wide, status_line.render().plain

    wide, narrow = asyncio.run(run())
    assert "kept" in wide
    assert "kept" not in narrow
