"""A prompt's text to tokens, knowing which parts of it are other people's words.

Invariants: no token that a template uses for control comes out of a span; the tokens of a splice
are used as they are. Where neither matters, the result is llama.cpp's own for the whole text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from chatterm.engine.vocab import SpecialToken, Vocab

# What C's isspace says in llama.cpp, where a special token swallows the white space beside it.
_SPACE = " \t\n\v\f\r"


class Span(NamedTuple):
    """Characters of a prompt that a message brought, which stay text."""

    start: int
    end: int


class Splice(NamedTuple):
    """Characters of a prompt whose tokens are known."""

    start: int
    end: int
    tokens: tuple[int, ...]


class _Raw(NamedTuple):
    """Characters that no special token was found in. `joined`: they go on from what is before."""

    start: int
    end: int
    joined: bool


class _Known(NamedTuple):
    """Tokens that are settled: a splice's, or `control` ones that the template wrote."""

    tokens: tuple[int, ...]
    control: bool
    splice: bool = False


_Part = _Raw | _Known


class Tokenised(NamedTuple):
    """Tokens, and for each whether it is a control token that the template wrote.

    `splice_ends`: for each splice, how many tokens there are up to its end.
    """

    tokens: list[int]
    controls: list[bool]
    splice_ends: list[int]


def tokenize(
    vocab: Vocab,
    text: str,
    spans: Sequence[Span],
    splices: Sequence[Splice] = (),
    guarded: Collection[int] = (),
) -> Tokenised:
    """The tokens of `text`.

    `spans` and `splices` are in order and do not overlap among themselves. `guarded` are special
    tokens that are control to this template, though not to the vocabulary.
    """
    parts = list(_around(text, splices))
    for special in vocab.special:
        if special.text in text:
            control = special.control or special.id in guarded
            parts = [
                piece for part in parts for piece in _split(text, part, special, spans, control)
            ]
    result = Tokenised([], [], [])
    for part in parts:
        if isinstance(part, _Raw):
            found = vocab.tokenize(text[part.start : part.end], joined=part.joined)
            part = _Known(tuple(found), control=False)
        result.tokens.extend(part.tokens)
        result.controls.extend([part.control] * len(part.tokens))
        if part.splice:
            result.splice_ends.append(len(result.tokens))
    return result


def _around(text: str, splices: Sequence[Splice]) -> Iterable[_Part]:
    at = 0
    for splice in splices:
        if at < splice.start:
            yield _Raw(at, splice.start, joined=at > 0)
        yield _Known(splice.tokens, control=False, splice=True)
        at = splice.end
    if at < len(text):
        yield _Raw(at, len(text), joined=at > 0)


def _split(
    text: str, part: _Part, special: SpecialToken, spans: Sequence[Span], control: bool
) -> Iterable[_Part]:
    """`part` with the special token's characters replaced by it, where that is allowed."""
    if not isinstance(part, _Raw):
        yield part
        return
    at, joined, search = part.start, part.joined, part.start
    while (found := text.find(special.text, search, part.end)) >= 0:
        end = found + len(special.text)
        if control and any(span.start < end and found < span.end for span in spans):
            search = found + 1
            if not special.control:
                # llama.cpp would find it again, wherever it stands whole.
                yield _Raw(at, search, joined)
                at, joined = search, True
            continue
        left = text[at:found].rstrip(_SPACE) if special.left_strip else text[at:found]
        if left:
            yield _Raw(at, at + len(left), joined)
        yield _Known((special.id,), control)
        if special.right_strip:
            while end < part.end and text[end] in _SPACE:
                end += 1
        at, joined, search = end, False, end
    if at < part.end:
        yield _Raw(at, part.end, joined)
