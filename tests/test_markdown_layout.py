from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from chatterm.ui.markdown import ink
from chatterm.ui.markdown.blocks import BlockParser
from chatterm.ui.markdown.layout import Laid, layout
from chatterm.ui.markdown.wrap import Line, fold


def lay(text: str, width: int) -> list[Line]:
    parser = BlockParser()
    parser.feed(text, final=True)
    return [line for block in parser.blocks for line in layout(block, width).lines]


def shown(text: str, width: int = 40) -> list[str]:
    return [line.text.rstrip() for line in lay(text, width)]


def test_paragraphs_wrap_and_keep_their_own_line_breaks() -> None:
    assert shown("the quick brown fox\njumps", 10) == ["the quick", "brown fox", "jumps"]
    assert [line.soft for line in lay("the quick brown fox\njumps", 10)] == [False, True, False]


def test_long_words_fold() -> None:
    assert shown("a bcdefghijk", 5) == ["a", "bcdef", "ghijk"]


def test_east_asian_text_breaks_between_characters_but_not_before_punctuation() -> None:
    assert shown("日本語の文。終わり", 10) == ["日本語の", "文。終わり"]


@pytest.mark.parametrize(
    "text", ["👩‍👩‍👧" * 8, "e\u0301" * 30, "\u200d\u0301", "｡ﾟ" * 20, "a\u200b" * 40]
)
def test_clusters_stay_whole_and_lines_within_the_width(text: str) -> None:
    lines = shown(text, 10)
    assert "".join(lines) == text
    assert all(cell_len(line) <= 10 for line in lines)
    assert not any(line[0] in "\u200d\u0301\u200b" for line in lines[1:])


def test_lists_hang() -> None:
    assert shown("- one two three\n  1. four", 12) == ["  • one two", "    three", "    1. four"]


def test_quotes_have_a_bar_on_every_line() -> None:
    assert shown("> one two\n>\n> three", 7) == ["▎ one", "▎ two", "▎", "▎ three"]


def test_code_shows_its_language_and_fills_its_lines() -> None:
    lines = lay("```py\nx = 1\n\n```", 20)
    assert [line.text.rstrip() for line in lines] == [" py", " x = 1", ""]
    assert all(line.fill == ink.CODE_BLOCK for line in lines)


def test_code_is_highlighted() -> None:
    (_, line) = lay("```python\ndef f(): return 'x'\n```", 40)
    inks = {run.text: run.ink & ~ink.CODE_BLOCK for run in line.runs}
    assert inks["def"] == ink.KEYWORD
    assert inks["f"] == ink.NAME
    assert {ink.STRING} == {bits for text, bits in inks.items() if "x" in text}


def test_tables_align_and_wrap() -> None:
    text = "|name|n|\n|--|-:|\n|a|1|\n|b **c**|22|"
    assert shown(text) == ["name     n", "──────────", "a        1", "b c     22"]
    wide = "|a|b|\n|-|-|\n|" + "word " * 12 + "|x|"
    assert all(cell_len(line) <= 30 for line in shown(wide, 30))
    assert "".join(shown(wide, 30)).count("word") == 12


def test_tables_too_narrow_become_records() -> None:
    text = "|ab|cd|ef|\n|-|-|-|\n|1|2|3|\n|4|5|6|"
    assert shown(text, 12) == ["ab  1", "cd  2", "ef  3", "", "ab  4", "cd  5", "ef  6"]


@given(st.text(max_size=60), st.integers(2, 20))
def test_fold_loses_nothing(text: str, width: int) -> None:
    assert "".join(text[a:b] for a, b in fold(text, width)) == text


PIECES = st.lists(
    st.sampled_from(
        [
            "- ",
            "1. ",
            "  ",
            "> ",
            "# ",
            "```python\n",
            "```\n",
            "```",
            "---\n",
            "| a | b |\n",
            "|-|-|\n",
            "\n",
            "\n\n",
            "**",
            "*",
            "`",
            "[a](http://b)",
            "word ",
            "def f(x):\n",
            '"""',
            "'",
            "# c\n",
            "日本語",
            "👩‍👩‍👧",
            "e\u0301",
            "\t",
            "a longer run of words that wraps ",
            "\\(x_1\\) ",
            "&amp;",
        ]
    ),
    max_size=60,
).map("".join)


def look(lines: list[Line]) -> list[object]:
    return [(line.runs, line.soft, line.lead, line.fill) for line in lines]


class Stream:
    """Lays text out as it comes, as the transcript does."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.parser = BlockParser()
        self.laid: list[Laid] = []

    def feed(self, text: str, *, final: bool = False) -> None:
        first = self.parser.feed(text, final=final)
        old, self.laid = self.laid[first:], self.laid[:first]
        for index, block in enumerate(self.parser.blocks[first:]):
            laid = old[index] if index < len(old) else None
            before = [] if laid is None else list(laid.lines)
            same = None if laid is None else laid.extend(block)
            if laid is None or same is None:
                laid = layout(block, self.width)
            else:
                assert laid.lines[:same] == before[:same]
            self.laid.append(laid)

    def lines(self) -> list[Line]:
        return [line for laid in self.laid for line in laid.lines]


@settings(max_examples=300, deadline=None)
@given(PIECES, st.lists(st.integers(0, 600), max_size=12), st.sampled_from([8, 20, 60]))
def test_pieces_give_the_lines_of_the_whole(text: str, cuts: list[int], width: int) -> None:
    stream = Stream(width)
    ends = sorted(min(cut, len(text)) for cut in cuts)
    for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
        stream.feed(text[start:end])
    stream.feed("", final=True)
    assert look(stream.lines()) == look(lay(text, width))


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(
            [
                "```python",
                *(f"x_{n} = '{n}'" for n in range(150)),
                '"""',
                *["doc"] * 120,
                '"""',
                "y = 1",
            ]
        ),
        "word **bold** `code` and more of it " * 120,
        "*never closed " + "word " * 900,
        "| a | b |\n|-|-|\n" + "".join(f"| {'x' * (n % 17)} | **{n}** |\n" for n in range(60)),
        "".join(f"- item {n} with `code`\n" for n in range(80)),
    ],
    ids=["fence", "paragraph", "open emphasis", "table", "list"],
)
def test_long_blocks_in_pieces_give_the_lines_of_the_whole(text: str) -> None:
    stream = Stream(50)
    for start in range(0, len(text), 37):
        stream.feed(text[start : start + 37])
    stream.feed("", final=True)
    assert look(stream.lines()) == look(lay(text, 50))


@given(st.text(max_size=200), st.sampled_from([1, 8, 40]))
def test_nothing_raises(text: str, width: int) -> None:
    lay(text, width)
