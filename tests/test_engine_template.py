"""Chat templates: rendered as transformers renders them, whatever they try."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from llama_cpp_source import models_folder

from chatterm.engine.template import Answer, Request, render

# SHA-256 (16 digits) of what transformers 5 makes of llama.cpp's templates; null where it fails.
# Renderings with today's date in them are left out.
EXPECTED = Path(__file__).parent / "data" / "template_renderings.json"
SPECIAL = {"bos_token": "<BOS>", "eos_token": "<EOS>"}
CASES = {
    "u": [("user", "Hi there")],
    "su": [("system", "Be nice"), ("user", "Hi")],
    "uau": [("user", "Hi"), ("assistant", "Yo"), ("user", "OK")],
    "suau": [
        ("system", "Be nice"),
        ("user", ' Hi <b>&"\n'),
        ("assistant", "Yo"),
        ("user", "OK"),
    ],
}


def rendered(template: str, *messages: tuple[str, str], **variables: Any) -> Answer:
    said = [{"role": role, "content": content} for role, content in messages]
    standard = {"tools": None, "documents": None, "add_generation_prompt": True}
    return render(Request(template, {"messages": said, **standard, **variables}))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("  {% if true %}\nx\n  {% endif %}\ny\n", "x\ny"),
        ("{{ {'a': 'é<>', 'b': [1, None]} | tojson }}", '{"a": "é<>", "b": [1, null]}'),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "012"),
        ("a{% generation %}b{{ 1 + 1 }}{% endgeneration %}c", "ab2c"),
        ("{{ bos_token }}{{ nothing }}|{{ tools is none }}", "<BOS>|True"),
        ("{{ strftime_now('%Y') }}", str(datetime.now().astimezone().year)),
        ("{{ messages[0].content }}", "<b>&"),
    ],
)
def test_the_helpers_of_templates(template: str, expected: str) -> None:
    assert rendered(template, ("user", "<b>&"), **SPECIAL).text == expected


def test_a_template_may_refuse() -> None:
    answer = rendered("{{ raise_exception('No system role') }}")
    assert answer == Answer(error="No system role", refused=True)


@pytest.mark.parametrize(
    "template",
    [
        "{% if %}",
        "{{ nothing.more }}",
        "{{ 1 / 0 }}",
        "{{ ().__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{% include 'file' %}",
        "{{ range(10 ** 9) }}",
    ],
)
def test_a_broken_or_malicious_template_fails_with_a_reason(template: str) -> None:
    answer = rendered(template, ("user", "x"))
    assert answer.error
    assert not answer.text
    assert not answer.refused


def test_llama_cpps_templates_render_as_transformers_renders_them() -> None:
    folder = models_folder() / "templates"
    expected = json.loads(EXPECTED.read_text("utf-8"))
    compared = 0
    for name, cases in expected.items():
        path = folder / f"{name}.jinja"
        if not path.exists():
            continue
        for case, digest in cases.items():
            answer = rendered(path.read_text("utf-8"), *CASES[case], **SPECIAL)
            if digest is None:
                assert answer.error, (name, case)
            else:
                found = hashlib.sha256(answer.text.encode()).hexdigest()[:16]
                assert found == digest, (name, case, answer)
            compared += 1
    assert compared > 100
