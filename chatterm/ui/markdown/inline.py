"""A paragraph's source -> runs of inked text that know where in the source they stand.

CommonMark's inline grammar with strikethrough and bare links. What is in LaTeX's or HTML's
brackets is text, as it is written. A link's address is shown after its text, so that a reader
sees where it leads.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Final

from chatterm.chat.clean import clean
from chatterm.ui.markdown import ink
from chatterm.ui.markdown.wrap import Run

_SPECIAL: Final = re.compile(r"[\\`*_~\[\]!<&$\t]|https?://")
_ESCAPABLE: Final = frozenset("!\"#$%&')*+,-./:;<=>?@\\]^_`{|}~")  # but for LaTeX's \( and \[
_AUTOLINK: Final = re.compile(r"<((?:https?://|mailto:)[^\s<>]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)>")
_BARE: Final = re.compile(r"https?://[^\s<>`*\[\]]+")
_ENTITY: Final = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_TARGET: Final = re.compile(
    r"""\(\s*(?:<([^<>\n]*)>|((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*\))*))"""
    r"""(?:\s+(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'))?\s*\)"""
)
_MATH: Final = re.compile(r"\$\$.+?\$\$|\$(?=\S)[^$\n]*?(?<=\S)\$(?!\d)", re.DOTALL)
_TEX: Final = {"(": r"\)", "[": r"\]"}
_BITS: Final = {1: ink.EMPHASIS, 2: ink.STRONG}


@dataclass(slots=True)
class _Node:
    text: str
    ink: int
    at: int
    url: str = ""


@dataclass(slots=True)
class _Delimiter:
    node: int
    mark: str
    count: int
    opens: bool
    closes: bool
    original: int


@dataclass(slots=True)
class _Bracket:
    node: int
    delimiters: int  # how many came before it
    image: bool


def parse(text: str, base: int, ink_: int, *, unfinished: bool) -> tuple[list[Run], bool]:
    """The runs of `text`, which stands at `base` in the block's content; and whether something
    in it is still open, so that what comes after could change it.

    Unfinished text is shown as if what is open in it ended at its end.
    """
    if not _SPECIAL.search(text):
        return ([Run(text, ink_, base)] if text else []), False
    parser = _Parser(text, base, ink_, unfinished)
    parser.read()
    return parser.runs(), parser.pending


class _Parser:
    def __init__(self, text: str, base: int, ink_: int, unfinished: bool) -> None:
        self._text = text
        self._base = base
        self._ink = ink_
        self._unfinished = unfinished
        self._nodes: list[_Node] = []
        self._delimiters: list[_Delimiter] = []
        self._brackets: list[_Bracket] = []
        self.pending = False

    def read(self) -> None:
        text, pos = self._text, 0
        while match := _SPECIAL.search(text, pos):
            if match.start() > pos:
                self._add(text[pos : match.start()], pos)
            pos = self._special(match.start())
        if pos < len(text):
            self._add(text[pos:], pos)
        self._pair(0)
        self.pending = self.pending or bool(self._brackets)
        for delimiter in self._delimiters:
            if delimiter.opens and delimiter.count:
                self.pending = True
                if self._unfinished:
                    self._open_to_end(delimiter)

    def runs(self) -> list[Run]:
        runs: list[Run] = []
        for node in self._nodes:
            if not node.text:
                continue
            last = runs[-1] if runs else None
            if (
                last is not None
                and (last.ink, last.url) == (node.ink, node.url)
                and last.at + len(last.text) == node.at
            ):
                runs[-1] = last._replace(text=last.text + node.text)
            else:
                runs.append(Run(node.text, node.ink, node.at, node.url))
        return runs

    def _add(self, text: str, pos: int, extra: int = 0, url: str = "") -> None:
        self._nodes.append(_Node(text, self._ink | extra, self._base + pos, url))

    def _special(self, pos: int) -> int:
        """Read what begins with the special character at `pos`; where to go on."""
        mark = self._text[pos]
        if mark in "*_~":
            return self._delimiter(pos)
        reader = {
            "\\": self._escape,
            "`": self._code,
            "[": self._open_bracket,
            "!": self._open_bracket,
            "]": self._close_bracket,
            "<": self._autolink,
            "&": self._entity,
            "$": self._math,
            "\t": self._tab,
        }.get(mark, self._bare_link)
        return reader(pos)

    def _literal(self, pos: int, length: int = 1) -> int:
        self._add(self._text[pos : pos + length], pos)
        return pos + length

    def _tab(self, pos: int) -> int:
        self._add("    ", pos)
        return pos + 1

    def _escape(self, pos: int) -> int:
        following = self._text[pos + 1 : pos + 2]
        if following in _ESCAPABLE and following:
            self._add(following, pos + 1)
            return pos + 2
        if following == "\n":
            return pos + 1
        if closer := _TEX.get(following):
            end = self._text.find(closer, pos + 2)
            return self._literal(pos, 2 if end < 0 else end + 2 - pos)
        return self._literal(pos)

    def _code(self, pos: int) -> int:
        text = self._text
        start = pos
        while start < len(text) and text[start] == "`":
            start += 1
        size = start - pos
        if start == len(text) and self._unfinished:
            return start  # it is not clear yet what these begin or end
        end = start
        while (end := text.find("`" * size, end)) >= 0:
            stop = end + size
            while stop < len(text) and text[stop] == "`":
                stop += 1
            if stop - end == size:
                self._add_code(start, end)
                return stop
            end = stop
        self.pending = True
        if self._unfinished:
            self._add_code(start, len(text.rstrip("`")))
            return len(text)
        return self._literal(pos, size)

    def _add_code(self, start: int, end: int) -> None:
        code = self._text[start:end].replace("\n", " ").replace("\t", " ")
        if len(code) > 2 and code[0] == code[-1] == " " and code.strip():
            code, start = code[1:-1], start + 1
        self._add(code, start, ink.CODE)

    def _open_bracket(self, pos: int) -> int:
        image = self._text[pos] == "!"
        if image and self._text[pos + 1 : pos + 2] != "[":
            return self._literal(pos)
        self._brackets.append(_Bracket(len(self._nodes), len(self._delimiters), image))
        return self._literal(pos, 2 if image else 1)

    def _close_bracket(self, pos: int) -> int:
        if not self._brackets:
            return self._literal(pos)
        bracket = self._brackets.pop()
        target = _TARGET.match(self._text, pos + 1)
        if target is None:
            # At the end of the text its address may still come.
            self.pending = self.pending or self._text[pos + 1 :][:1] in ("", "(")
            return self._literal(pos)
        url = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", target[1] or target[2] or "")
        self._pair(bracket.delimiters)
        del self._delimiters[bracket.delimiters :]
        if not bracket.image:
            self._brackets.clear()  # no links in links
        inside = self._nodes[bracket.node + 1 :]
        self._nodes[bracket.node].text = ""
        for node in inside:
            node.ink |= ink.LINK
            node.url = url
        label = "".join(node.text for node in inside)
        if url and label != url:
            self._add(f" ({url})" if label else url, pos + 1, ink.URL, url)
        return target.end()

    def _autolink(self, pos: int) -> int:
        match = _AUTOLINK.match(self._text, pos)
        if match is None:
            return self._literal(pos)
        url = match[1] if ":" in match[1] else f"mailto:{match[1]}"
        self._add(match[1], pos + 1, ink.LINK, url)
        return match.end()

    def _bare_link(self, pos: int) -> int:
        match = _BARE.match(self._text, pos)
        if match is None or (pos and self._text[pos - 1].isalnum()):
            return self._literal(pos, 4)
        url = match.group().rstrip("?!.,:;*_~'\"|]")
        while url.endswith(")") and url.count(")") > url.count("("):
            url = url[:-1].rstrip("?!.,:;*_~'\"|]")
        self._add(url, pos, ink.LINK, url)
        return pos + len(url)

    def _entity(self, pos: int) -> int:
        match = _ENTITY.match(self._text, pos)
        if match is None:
            return self._literal(pos)
        shown = clean(html.unescape(match.group())).replace("\n", " ").replace("\t", " ")
        self._add(shown, pos)
        return match.end()

    def _math(self, pos: int) -> int:
        match = _MATH.match(self._text, pos)
        return self._literal(pos, 1 if match is None else len(match.group()))

    def _delimiter(self, pos: int) -> int:
        text, mark = self._text, self._text[pos]
        end = pos
        while end < len(text) and text[end] == mark:
            end += 1
        if end == len(text) and self._unfinished:
            return self._end_of_unfinished(pos, end)
        before, after = text[pos - 1 : pos] or " ", text[end : end + 1] or " "
        left = not after.isspace() and (_is_word(after) or not _is_word(before))
        right = not before.isspace() and (_is_word(before) or not _is_word(after))
        opens, closes = left, right
        if mark == "_":
            opens = left and (not right or not _is_word(before))
            closes = right and (not left or not _is_word(after))
        count = end - pos
        if mark == "~" and count != 2:
            return self._literal(pos, count)
        self._delimiters.append(_Delimiter(len(self._nodes), mark, count, opens, closes, count))
        return self._literal(pos, count)

    def _end_of_unfinished(self, pos: int, end: int) -> int:
        """Marks at the very end: those that close are taken at once, others stay unseen."""
        mark, count = self._text[pos], end - pos
        closes = any(
            opener.mark == mark and opener.opens and opener.count == count
            for opener in self._delimiters
        )
        self._delimiters.append(
            _Delimiter(len(self._nodes), mark, count, opens=False, closes=closes, original=count)
        )
        self._add("", pos)
        return end

    def _pair(self, bottom: int) -> None:
        """CommonMark's "process emphasis" over the delimiters from `bottom` on."""
        delimiters = self._delimiters
        for here in range(bottom, len(delimiters)):
            closer = delimiters[here]
            while closer.closes and closer.count:
                opener = self._opener(bottom, here)
                if opener is None:
                    break
                self._join(delimiters[opener], closer)
                for skipped in delimiters[opener + 1 : here]:
                    skipped.opens = skipped.closes = False

    def _opener(self, bottom: int, here: int) -> int | None:
        closer = self._delimiters[here]
        for index in range(here - 1, bottom - 1, -1):
            opener = self._delimiters[index]
            if not (opener.mark == closer.mark and opener.opens and opener.count):
                continue
            both = (opener.closes or closer.opens) and closer.mark != "~"
            if (
                both
                and (opener.original + closer.original) % 3 == 0
                and (opener.original % 3 or closer.original % 3)
            ):
                continue
            return index
        return None

    def _join(self, opener: _Delimiter, closer: _Delimiter) -> None:
        used = 2 if min(opener.count, closer.count) >= 2 else 1
        bit = ink.STRIKE if opener.mark == "~" else _BITS[used]
        for node in self._nodes[opener.node + 1 : closer.node]:
            node.ink |= bit
        opener.count -= used
        closer.count -= used
        first, last = self._nodes[opener.node], self._nodes[closer.node]
        first.text = first.text[: opener.count]
        last.text = last.text[used:]
        last.at += used

    def _open_to_end(self, opener: _Delimiter) -> None:
        used = min(opener.count, 3)
        bits = ink.STRIKE if opener.mark == "~" else (used & 1) * ink.EMPHASIS
        if opener.mark != "~" and used >= 2:
            bits |= ink.STRONG
        first = self._nodes[opener.node]
        first.text = first.text[: opener.count - used]
        for node in self._nodes[opener.node + 1 :]:
            node.ink |= bits


def _is_word(character: str) -> bool:
    """Neither white space nor punctuation, in the sense of CommonMark's flanking rules."""
    return character.isalnum() or ord(character) > 0x2FFF
