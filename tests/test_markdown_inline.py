from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from chatterm.ui.markdown import ink
from chatterm.ui.markdown.inline import parse

SIGNS = {
    ink.STRONG: "b",
    ink.EMPHASIS: "i",
    ink.CODE: "c",
    ink.STRIKE: "s",
    ink.LINK: "l",
    ink.URL: "u",
}


def inked(text: str, *, unfinished: bool = False) -> str:
    """Runs as `{inks:text}`."""
    shown = ""
    for run in parse(text, 0, ink.PLAIN, unfinished=unfinished)[0]:
        signs = "".join(sign for bit, sign in SIGNS.items() if run.ink & bit)
        shown += f"{{{signs}:{run.text}}}" if signs else run.text
    return shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a **b** c", "a {b:b} c"),
        ("*a* _b_ __c__ ~~d~~", "{i:a} {i:b} {b:c} {s:d}"),
        ("***a***", "{bi:a}"),
        ("**a *b* c**", "{b:a }{bi:b}{b: c}"),
        ("2 * 3 * 4, snake_case_name", "2 * 3 * 4, snake_case_name"),
        ("`a **b**` ``c ` d``", "{c:a **b**} {c:c ` d}"),
        ("**open", "**open"),
        (r"\*a\* \\", r"*a* \ "[:-1]),
        (r"\(a_1 * b_2\) $x*y*z$ $5", r"\(a_1 * b_2\) $x*y*z$ $5"),
        ("<b>*x*</b>", "<b>{i:x}</b>"),
        ("&amp; &lt; &nope;", "& < &nope;"),
        ("[a **b**](http://x.y)", "{l:a }{bl:b}{u: (http://x.y)}"),
        ("[http://x.y](http://x.y)", "{l:http://x.y}"),
        ("![a](b.png)", "{l:a}{u: (b.png)}"),
        ("[not a link] (x)", "[not a link] (x)"),
        ("see https://a.b/c_(d), <me@x.org>", "see {l:https://a.b/c_(d)}, {l:me@x.org}"),
        ("**中文：**后", "{b:中文：}后"),
        ("~5 and ~6", "~5 and ~6"),
    ],
)
def test_inline(text: str, expected: str) -> None:
    assert inked(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a **b", "a {b:b}"),
        ("a **", "a "),
        ("a **b*", "a {b:b}"),
        ("a `b", "a {c:b}"),
        ("a `", "a "),
        ("*a **b", "{i:a }{bi:b}"),
        ("a **b**", "a {b:b}"),
    ],
)
def test_what_is_open_shows_as_if_it_ended(text: str, expected: str) -> None:
    assert inked(text, unfinished=True) == expected


def test_entities_cannot_bring_in_control_characters() -> None:
    shown = inked("&#27;[31m &#x9b; &#8238; &#10; &#0;")
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or ord(c) == 0x202E for c in shown)


@given(st.text(alphabet="ab*_` ~[]()\\!<&$.\n", max_size=40))
def test_runs_know_their_places(text: str) -> None:
    for unfinished in (False, True):
        for run in parse(text, 0, ink.PLAIN, unfinished=unfinished)[0]:
            if not run.ink & (ink.URL | ink.CODE):
                assert text.startswith(run.text, run.at)


@given(st.text(alphabet="ab*_ .", max_size=30))
def test_emphasis_is_commonmarks(text: str) -> None:
    text = " ".join(text.split())
    depth, expected = [0, 0], []
    (inline,) = MarkdownIt("commonmark").disable(["list", "hr"]).parse(f"x {text}x")[1:2]
    for token in inline.children or []:
        kind = {"em": 0, "strong": 1}.get(token.type.split("_")[0], -1)
        if kind >= 0:
            depth[kind] += token.nesting
        expected += [(c, depth[0] > 0, depth[1] > 0) for c in token.content]
    runs, _ = parse(f"x {text}x", 0, ink.PLAIN, unfinished=False)
    found = [
        (c, bool(run.ink & ink.EMPHASIS), bool(run.ink & ink.STRONG))
        for run in runs
        for c in run.text
    ]
    assert found == expected
