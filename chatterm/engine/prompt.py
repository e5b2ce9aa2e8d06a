"""Messages to the tokens that the model gets: through its chat template, or as plain text.

Invariants: the text is the template's own rendering; what people typed never becomes a control
token; a reply's tokens are used as they are wherever their text stands unchanged, so that the next
turn finds them in the KV cache, as far as the template repeats what it wrote before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from chatterm.chat.message import Role
from chatterm.chat.trace import unpack_ids
from chatterm.engine.locate import Place, Rendering, locate, words
from chatterm.engine.model import Model
from chatterm.engine.prefix import common_prefix, common_suffix
from chatterm.engine.protocol import PromptMessage, PromptToken, Rendered
from chatterm.engine.renderer import (
    ADVICE,
    Renderer,
    TemplateFailedError,
    TemplateProcess,
    Turn,
)
from chatterm.engine.splice import Span, Splice, tokenize
from chatterm.engine.text import TokenText
from chatterm.engine.vocab import SpecialToken, Vocab
from chatterm.errors import PromptError

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# A word that no template writes by itself.
_PROBE = (Turn("user", "Rumpelstilzchen"),)
_TOOL = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "Tells the time.",
        "parameters": {"type": "object", "properties": {}, "required": []},
    },
}


class Prompt(msgspec.Struct, frozen=True):
    """What the model gets.

    reply: tokens of the last reply in it, if they are known, and `reply_end`: how many of `tokens`
    there are up to its end. before: bytes of that reply, when the model is to go on with it.
    """

    text: str
    tokens: list[int]
    controls: list[bool]
    reply: tuple[int, ...]
    reply_end: int
    before: bytes


class Prompter:
    """Makes the prompts of one model."""

    def __init__(self, model: Model, process: TemplateProcess) -> None:
        self._vocab = model.vocab
        self._process = process
        self._problem = ""
        self._needs_tools = False
        self._renderer: Renderer | None = None
        if model.chat_template is not None:
            self._renderer = self._checked(model.chat_template)
        self._guarded = _guarded(model.vocab, self._renderer)

    @property
    def has_template(self) -> bool:
        """False for a base model."""
        return self._renderer is not None

    @property
    def template_problem(self) -> str:
        """That ChatML is used instead of the model's own template, and why, if it is."""
        return self._problem

    def _checked(self, template: str) -> Renderer:
        renderer = self._make_renderer(template)
        try:
            _probe(renderer)
        except TemplateFailedError as failure:
            if failure.refused:
                return renderer
            self._needs_tools = _renders_with_tools(renderer)
            if not self._needs_tools:
                self._problem = (
                    f"This model's chat template is broken ({failure.reason}), "
                    "so ChatML is used instead."
                )
                return self._make_renderer(CHATML)
        return renderer

    def _make_renderer(self, template: str) -> Renderer:
        vocab = self._vocab
        special = {"bos_token": vocab.bos, "eos_token": vocab.eos}
        texts = {name: vocab.text(token) for name, token in special.items() if token >= 0}
        return Renderer(self._process, template, texts)

    def prompt(self, messages: Sequence[PromptMessage], *, raw: bool) -> Prompt:
        """The prompt for a reply to `messages`, or for more of the last one, if it is a reply.

        Raises PromptError.
        """
        turns = [_turn(message) for message in messages]
        begun = turns.pop() if turns and turns[-1].role == Role.ASSISTANT else None
        if raw or self._renderer is None:
            return self._finish(_plain(turns), turns, begun)
        if self._needs_tools:
            raise PromptError(
                "This model's chat template works only with tools, and chatterm gives it none.",
                ADVICE,
            )
        if not turns:
            raise PromptError("There is no message to reply to.", "Write one first.")
        served, rendering = self._render(self._renderer, turns)
        return self._finish(rendering, served, begun)

    def rendered(self, run: int, messages: Sequence[PromptMessage], *, raw: bool) -> Rendered:
        """The prompt, as the client shows it."""
        prompt = self.prompt(messages, raw=raw)
        return Rendered(
            run=run,
            prompt=prompt.text,
            tokens=tuple(
                PromptToken(token, self._vocab.text(token), control)
                for token, control in zip(prompt.tokens, prompt.controls, strict=True)
            ),
        )

    def _finish(self, rendering: Rendering, turns: Sequence[Turn], begun: Turn | None) -> Prompt:
        """The prompt of rendered turns, and of the reply that was begun after them."""
        text, before = rendering.text, b""
        spans = [Span(p.start, p.end) for p in rendering.places if p and p.certain]
        spliced = _spliced(self._vocab, text, turns, rendering.places)
        if begun:
            end = len(text) + len(begun.text)
            known, before = self._begun(begun, joined=bool(text))
            spans.append(Span(len(text), end))
            spliced.append((begun, Splice(len(text), end, tuple(known))))
            text += begun.text
        splices = [splice for _, splice in spliced]
        tokens, controls, ends = tokenize(self._vocab, text, spans, splices, self._guarded)
        if self._vocab.adds_bos and tokens[:1] != [self._vocab.bos]:
            tokens.insert(0, self._vocab.bos)
            controls.insert(0, True)
            ends = [end + 1 for end in ends]
        reply, reply_end = (spliced[-1][0].tokens, ends[-1]) if spliced else ((), 0)
        return Prompt(text, tokens, controls, reply, reply_end, before)

    def _begun(self, turn: Turn, *, joined: bool) -> tuple[list[int], bytes]:
        """Tokens and bytes of a reply to go on with, from its exact last token if it is known."""
        count, length = TokenText(self._vocab, turn.tokens, turn.text).end
        tokens = list(turn.tokens[:count])
        rest = turn.text[length:]
        before = b"".join(map(self._vocab.piece, tokens)) + rest.encode()
        return tokens + self._vocab.tokenize(rest, joined=joined or count > 0), before

    def _render(
        self, renderer: Renderer, turns: Sequence[Turn]
    ) -> tuple[Sequence[Turn], Rendering]:
        """The turns as the template takes them, and what it makes of them."""
        merged = _alternating(turns)
        failure: TemplateFailedError | None = None
        for form in (turns, merged, _alternating(_without_system(turns))):
            try:
                rendering = locate(renderer, form)
            except TemplateFailedError as error:
                failure = failure or error
                continue
            system_lost = form[0].role == Role.SYSTEM and rendering.places[0] is None
            if not system_lost or len(form) == 1:
                return self._safe(renderer, form, rendering)
        assert failure
        raise failure

    def _safe(
        self, renderer: Renderer, turns: Sequence[Turn], rendering: Rendering
    ) -> tuple[Sequence[Turn], Rendering]:
        """Break control strings in words whose place in the rendering is not certain.

        Those that the model itself wrote, as such, stay: a template that drops or moves a reply's
        thinking looks for them.
        """
        controls = [
            token for token in self._vocab.special if token.control or token.id in self._guarded
        ]
        safe = [
            turn if place and place.certain else _broken(turn, controls)
            for turn, place in zip(turns, rendering.places, strict=True)
        ]
        if all(turn.text == other.text for turn, other in zip(turns, safe, strict=True)):
            return turns, rendering
        return safe, locate(renderer, safe)


def _probe(renderer: Renderer, **variables: Any) -> None:
    """Raise TemplateFailedError unless the template prints a message that it is given."""
    if _PROBE[0].text not in renderer.render(_PROBE, **variables):
        raise TemplateFailedError("it does not print the messages")


def _renders_with_tools(renderer: Renderer) -> bool:
    if not any(word in renderer.template for word in ("tools", "functions")):
        return False
    try:
        _probe(renderer, tools=[_TOOL], functions="[]", datetime="")
    except TemplateFailedError:
        return False
    return True


def _turn(message: PromptMessage) -> Turn:
    return Turn(message.role, message.text, tuple(unpack_ids(message.tokens)))


def _plain(turns: Sequence[Turn]) -> Rendering:
    """The texts one after the other, as a base model gets them.

    A reply went on where the text before it ended; a new turn begins on a line of its own.
    """
    text = ""
    places: list[Place] = []
    for turn in turns:
        if text and not text[-1].isspace() and turn.role != Role.ASSISTANT:
            text += "\n"
        start, end = words(turn.text, len(text))
        places.append(Place(start, end, start - len(text), certain=True))
        text += turn.text
    return Rendering(text, tuple(places))


def _alternating(turns: Sequence[Turn]) -> list[Turn]:
    """Messages of one role in a row as one message."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role:
            merged[-1] = Turn(turn.role, _joined(merged[-1].text, turn.text))
        else:
            merged.append(turn)
    return merged


def _without_system(turns: Sequence[Turn]) -> list[Turn]:
    """System text as the beginning of the next user message."""
    kept: list[Turn] = []
    waiting = ""
    for turn in turns:
        if turn.role == Role.SYSTEM:
            waiting = _joined(waiting, turn.text)
        elif turn.role == Role.USER and waiting:
            kept.append(Turn(turn.role, _joined(waiting, turn.text)))
            waiting = ""
        else:
            kept.append(turn)
    return [*kept, Turn(Role.USER, waiting)] if waiting else kept


def _joined(one: str, other: str) -> str:
    return f"{one}\n\n{other}" if one and other else one or other


def _spliced(
    vocab: Vocab, text: str, turns: Sequence[Turn], places: Sequence[Place | None]
) -> list[tuple[Turn, Splice]]:
    """The replies whose tokens are known and whose words stand in `text`, and which these are."""
    found: list[tuple[Turn, Splice]] = []
    at = 0
    for turn, place in zip(turns, places, strict=True):
        if turn.tokens and place and (splice := _splice(vocab, text, at, turn, place)):
            found.append((turn, splice))
            at = splice.end
    return found


def _splice(vocab: Vocab, text: str, at: int, turn: Turn, place: Place) -> Splice | None:
    """The tokens of a reply that stand whole in `text`, from character `at` on.

    White space around its words is no part of their place, but may have been kept.
    """
    if place.start < at:
        return None
    said, offset = turn.text, place.offset
    start = offset - common_suffix(said[:offset], text[at : place.start])
    end = offset + common_prefix(said[offset:], text[place.start :])
    inside = TokenText(vocab, turn.tokens, said).within(start, end)
    if inside is None:
        return None
    first, last = inside
    if first.characters == last.characters:
        return None
    ahead = place.start - offset
    tokens = turn.tokens[first.tokens : last.tokens]
    return Splice(first.characters + ahead, last.characters + ahead, tokens)


def _broken(turn: Turn, controls: Sequence[SpecialToken]) -> Turn:
    """The turn, with an invisible space after the first letter of each control string in it."""
    text = turn.text
    for control in controls:
        if control.text in text and control.id not in turn.tokens:
            first, rest = control.text[0], control.text[1:]
            text = text.replace(control.text, f"{first}\N{ZERO WIDTH SPACE}{rest}")
    return msgspec.structs.replace(turn, text=text)


def _guarded(vocab: Vocab, renderer: Renderer | None) -> frozenset[int]:
    """Special tokens that are not control tokens, but that the template uses as if they were."""
    template = renderer.template if renderer else ""
    return frozenset(
        token.id
        for token in vocab.special
        if not token.control and len(token.text.strip()) > 1 and token.text in template
    )
