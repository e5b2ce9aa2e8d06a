"""A model's vocabulary: text to token ids, and token ids to the bytes they stand for.

Invariant: `tokenize` never makes a control token out of text; `special` is what may become one.
"""

from __future__ import annotations

import ctypes
from functools import cached_property

import llama_cpp.llama_cpp as llama
import msgspec

from chatterm.engine.native import quick_function

_to_piece = quick_function(
    "llama_token_to_piece",
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_int32,
    ctypes.c_int32,
    ctypes.c_bool,
)
_is_eog = quick_function("llama_vocab_is_eog", ctypes.c_bool, ctypes.c_void_p, ctypes.c_int32)
_attributes = quick_function("llama_vocab_get_attr", ctypes.c_int, ctypes.c_void_p, ctypes.c_int32)

_UNKNOWN = llama.LLAMA_TOKEN_ATTR_UNKNOWN
_CONTROL = llama.LLAMA_TOKEN_ATTR_CONTROL
_USER_DEFINED = llama.LLAMA_TOKEN_ATTR_USER_DEFINED


class SpecialToken(msgspec.Struct, frozen=True):
    """A token that llama.cpp finds in text by its exact characters, before tokenising the rest.

    `control` tokens (and the unknown token) are found only where control is allowed; the others
    (user-defined) anywhere. The strips say that it swallows white space beside it.
    """

    id: int
    text: str
    control: bool
    left_strip: bool
    right_strip: bool


class Vocab:
    """The vocabulary of a loaded model; valid as long as the model."""

    def __init__(self, model: int) -> None:
        pointer = llama.llama_model_get_vocab(model)
        assert pointer is not None
        self.pointer: int = pointer
        self.size = llama.llama_vocab_n_tokens(pointer)
        self.type = llama.llama_vocab_type(pointer)
        self.bos = llama.llama_vocab_bos(pointer)
        self.eos = llama.llama_vocab_eos(pointer)
        self.adds_bos = bool(llama.llama_vocab_get_add_bos(pointer)) and self.bos >= 0
        self._pieces: dict[int, bytes] = {}
        self._eog: dict[int, bool] = {}

    @property
    def usable(self) -> bool:
        """Whether there is a tokenizer at all."""
        return bool(self.type != llama.LLAMA_VOCAB_TYPE_NONE and self.size > 0)

    def tokenize(self, text: str, *, joined: bool = False) -> list[int]:
        """The tokens of plain text: no begin token, no control tokens.

        Many vocabularies put a space before text that begins a prompt or follows a control token;
        `joined` text goes on from other text and gets none.
        """
        if not (joined and self._adds_space):
            return self._tokenize(text)
        if text.startswith(" ") and text != " ":
            return self._tokenize(text[1:])
        anchor = self._tokenize("\n")
        tokens = self._tokenize("\n" + text)
        return tokens[len(anchor) :] if tokens[: len(anchor)] == anchor else self._tokenize(text)

    @cached_property
    def _adds_space(self) -> bool:
        return b"".join(map(self.piece, self._tokenize("a"))) == b" a"

    def _tokenize(self, text: str) -> list[int]:
        if not text:
            return []
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        while True:
            tokens = (llama.llama_token * room)()
            count = llama.llama_tokenize(self.pointer, data, len(data), tokens, room, False, False)
            if count >= 0:
                return list(tokens[:count])
            room = -count

    def text(self, token: int) -> str:
        """The token as it stands in the vocabulary, control tokens included."""
        return self._piece(token, special=True).decode("utf-8", "replace")

    def piece(self, token: int) -> bytes:
        """What the token adds to a reply's text, in bytes; nothing for a control token."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._piece(token, special=False)
        return piece

    def shown(self, token: int) -> bytes:
        """The bytes by which the token is shown; a control token by its name."""
        return self.piece(token) or self._piece(token, special=True)

    def _piece(self, token: int, *, special: bool, room: int = 256) -> bytes:
        buffer = ctypes.create_string_buffer(room)
        count: int = _to_piece(self.pointer, token, buffer, room, 0, special)
        if count < 0:
            return self._piece(token, special=special, room=-count)
        return buffer.raw[:count]

    def is_eog(self, token: int) -> bool:
        """Whether the model ends its reply with this token."""
        eog = self._eog.get(token)
        if eog is None:
            eog = self._eog[token] = bool(_is_eog(self.pointer, token))
        return eog

    @cached_property
    def special(self) -> tuple[SpecialToken, ...]:
        """Longest first, as llama.cpp looks for them."""
        found = []
        for token in range(self.size):
            attributes = _attributes(self.pointer, token)
            if attributes & (_CONTROL | _USER_DEFINED | _UNKNOWN):
                raw = llama.llama_vocab_get_text(self.pointer, token)
                text = (raw or b"").decode("utf-8", "replace")
                if text:
                    found.append(_special(token, text, attributes))
        return tuple(sorted(found, key=lambda token: -len(token.text.encode())))

    @cached_property
    def suppressed(self) -> tuple[int, ...]:
        """Tokens that the model's file says must never be sampled."""
        count = ctypes.c_int32(0)
        tokens = llama.llama_vocab_get_suppress_tokens(self.pointer, ctypes.byref(count))
        return tuple(tokens[: count.value]) if count.value > 0 else ()


def _special(token: int, text: str, attributes: int) -> SpecialToken:
    return SpecialToken(
        id=token,
        text=text,
        control=bool(attributes & (_CONTROL | _UNKNOWN)),
        left_strip=bool(attributes & llama.LLAMA_TOKEN_ATTR_LSTRIP),
        right_strip=bool(attributes & llama.LLAMA_TOKEN_ATTR_RSTRIP),
    )
