from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatterm.ui.markdown.blocks import Block, BlockParser, Kind, PlainParser, split_row


def blocks(text: str) -> list[Block]:
    parser = BlockParser()
    parser.feed(text, final=True)
    return parser.blocks


def outline(text: str) -> list[tuple[str, str, str]]:
    """Kind, what is at its left, content."""
    return [
        (
            block.kind.name.lower(),
            "".join(
                frame.marker if frame.first or frame.quote else " " * len(frame.marker)
                for frame in block.frames
            ),
            block.content,
        )
        for block in blocks(text)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\ntwo\n\nthree", [("paragraph", "", "one\ntwo"), ("paragraph", "", "three")]),
        ("# Head #\ntext", [("heading", "", "Head"), ("paragraph", "", "text")]),
        ("#hashtag", [("paragraph", "", "#hashtag")]),
        ("Head\n===\n", [("heading", "", "Head")]),
        ("- a\n- b", [("paragraph", "  • ", "a"), ("paragraph", "  • ", "b")]),
        ("1. a\n2. b", [("paragraph", " 1. ", "a"), ("paragraph", " 2. ", "b")]),
        ("10) a", [("paragraph", "10. ", "a")]),
        ("- a\n  - b", [("paragraph", "  • ", "a"), ("paragraph", "    ◦ ", "b")]),
        ("- a\n\n  more", [("paragraph", "  • ", "a"), ("paragraph", "    ", "more")]),
        ("- [ ] a\n- [x] b", [("paragraph", "  ☐ ", "a"), ("paragraph", "  ☑ ", "b")]),
        ("> a\nlazy\n> b", [("paragraph", "▎ ", "a\nlazy\nb")]),
        ("> a\n\nb", [("paragraph", "▎ ", "a"), ("paragraph", "", "b")]),
        ("> - a", [("paragraph", "▎   • ", "a")]),
        ("```py\nx\n\n y\n```\nz", [("code", "", "x\n\n y"), ("paragraph", "", "z")]),
        ("~~~\n```\n~~~", [("code", "", "```")]),
        ("```\nunclosed", [("code", "", "unclosed")]),
        ("- a\n  ```\n  x\n  ```", [("paragraph", "  • ", "a"), ("code", "    ", "x")]),
        ("- ```\n  x\n  ```", [("code", "  • ", "x")]),
        ("    x\n\n      y\nz", [("code", "", "x\n\n  y"), ("paragraph", "", "z")]),
        ("\tx", [("code", "", "x")]),
        ("a\n***\nb", [("paragraph", "", "a"), ("rule", "", ""), ("paragraph", "", "b")]),
        ("- - -", [("rule", "", "")]),
        (
            "a | b\n--|--\n1 | 2\n\nc",
            [("table", "", "a | b\n--|--\n1 | 2"), ("paragraph", "", "c")],
        ),
        ("a\nb | c\n--|--", [("paragraph", "", "a"), ("table", "", "b | c\n--|--")]),
        ("a | b\n---", [("heading", "", "a | b")]),
        ("\\[\n- x\n\\]\nb", [("code", "", "- x"), ("paragraph", "", "b")]),
        ("<div>\n<b>x</b>", [("paragraph", "", "<div>\n<b>x</b>")]),
        ("text\n2. not a list", [("paragraph", "", "text\n2. not a list")]),
        ("text\n1. a list", [("paragraph", "", "text"), ("paragraph", " 1. ", "a list")]),
        ("-", [("paragraph", "  • ", "")]),
        ("", []),
    ],
)
def test_blocks(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert outline(text) == expected


def test_gaps_are_where_a_reader_wants_them() -> None:
    gaps = [block.gap for block in blocks("a\n- b\n- c\n\n- d\ntext\n\n> e\n>\n> f")]
    assert gaps == [-1, 0, -1, 0, 0, 1]


def test_code_knows_its_language() -> None:
    assert blocks("```python title=x\n```")[0].info == "python title=x"


@pytest.mark.parametrize(
    "beginning", ["-", "- ", "1", "1.", "#", "##", "``", "**", "|", "- [", ">"]
)
def test_what_is_not_clear_yet_is_not_shown(beginning: str) -> None:
    parser = BlockParser()
    parser.feed("text\n\n" + beginning)
    assert [block.content for block in parser.blocks] == ["text"]


def test_a_fence_is_code_from_its_first_line() -> None:
    parser = BlockParser()
    parser.feed("```py")
    assert [block.kind for block in parser.blocks] == [Kind.CODE]


def test_content_offsets_lead_to_the_same_characters() -> None:
    text = "> - one **two**\n>   three\n"
    (block,) = blocks(text)
    for word in ("one", "two", "three"):
        at = block.content_offset(text.index(word))
        assert block.content.startswith(word, at)


def test_split_row() -> None:
    assert [text for _, text in split_row(r" | a | b\|c |d|")] == ["a", r"b\|c", "d"]
    assert split_row("|a||") == [(1, "a"), (3, "")]


MARKDOWN = st.lists(
    st.sampled_from(
        [
            "- ",
            "1. ",
            "  ",
            "    ",
            "\t",
            "> ",
            "# ",
            "```",
            "~~~",
            "---",
            "===",
            "|",
            "\n",
            "\n\n* ",
            "**",
            "`",
            "[x] ",
            "[ ] ",
            "$$",
            "\\[",
            "\\]",
            "word ",
            "word",
            "py",
            "a | b",
            "-|-",
        ]
    ),
    max_size=40,
).map("".join)


@given(MARKDOWN, st.lists(st.integers(0, 200), max_size=8))
def test_pieces_give_the_blocks_of_the_whole(text: str, cuts: list[int]) -> None:
    parser = BlockParser()
    ends = sorted(min(cut, len(text)) for cut in cuts)
    for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
        known = [repr(block) for block in parser.blocks]
        first = parser.feed(text[start:end])
        assert [repr(block) for block in parser.blocks[:first]] == known[:first]
    parser.feed("", final=True)
    assert parser.blocks == blocks(text)


@given(st.text(alphabet="ab\n\t ", max_size=30), st.integers(0, 30))
def test_plain_text_is_kept_line_by_line(text: str, cut: int) -> None:
    parser = PlainParser()
    parser.feed(text[:cut])
    parser.feed(text[cut:], final=True)
    assert [block.content for block in parser.blocks] == text.split("\n")
