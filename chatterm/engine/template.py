"""Chat templates: Jinja from a model's file, rendered by a process that can be given up.

`python -m chatterm.engine.template` reads requests and writes answers, a line of JSON each. A
template is a program by a stranger: the sandbox keeps it from Python, the watchdog ends the process
when it takes too long (also within one endless call), and on Linux its memory is limited. The
names and filters are those that transformers gives to a template.
"""

from __future__ import annotations

import faulthandler
import json
import sys
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import msgspec
from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

# The process ends after so long, so the engine and what it started are gone within two seconds.
RENDER_LIMIT_S = 1.5
_MEMORY_LIMIT = 1 << 30


class Request(msgspec.Struct, frozen=True):
    """What to render: variables are messages, add_generation_prompt, bos_token and so on."""

    template: str
    variables: dict[str, Any]


class Answer(msgspec.Struct, frozen=True):
    """The rendered text, or in `error` a sentence that says why there is none.

    `refused` when the template itself refused these messages, rather than being at fault.
    """

    text: str = ""
    error: str = ""
    refused: bool = False


class RefusedError(TemplateError):
    """The template called raise_exception."""


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's words; here it is only text."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_render")
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _render(self, caller: Macro) -> str:
        return str(caller())


def _raise_exception(message: object) -> NoReturn:
    raise RefusedError(str(message))


def _strftime_now(format: str) -> str:  # noqa: A002 - the name that templates may use
    return datetime.now().astimezone().strftime(format)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without the escapes for HTML that jinja2's own filter makes."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


@lru_cache(maxsize=4)
def _compiled(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment.from_string(source)


def render(request: Request) -> Answer:
    """Render, whatever the template does, other than never ending."""
    try:
        return Answer(text=_compiled(request.template).render(**request.variables))
    except RefusedError as error:
        return Answer(error=str(error) or "it gives no reason", refused=True)
    except TemplateSyntaxError as error:
        return Answer(error=f"line {error.lineno}: {error.message}")
    except Exception as error:  # noqa: BLE001 - a template can make jinja2 raise anything
        return Answer(error=f"{type(error).__name__}: {error}")


def main() -> None:
    """Answer requests until standard input closes."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))
    decoder = msgspec.json.Decoder(Request)
    for line in sys.stdin.buffer:
        faulthandler.dump_traceback_later(RENDER_LIMIT_S, exit=True)
        answer = msgspec.json.encode(render(decoder.decode(line)))
        faulthandler.cancel_dump_traceback_later()
        sys.stdout.buffer.write(answer + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
