"""chat.sampling: defaults, ranges, steps, and what a change is called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatterm.chat.sampling import (
    FIELDS,
    LIMITS,
    Sampling,
    checked,
    describe_change,
    with_setting,
    with_value,
)
from chatterm.errors import SettingsError


def test_the_defaults_are_those_of_llama_cpp() -> None:
    assert Sampling() == Sampling(
        temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, typical_p=1.0, repeat_penalty=1.0,
        repeat_last_n=64, presence_penalty=0.0, frequency_penalty=0.0, seed=-1, max_tokens=-1,
    )  # fmt: skip


@given(st.sampled_from(sorted(FIELDS)), st.floats(-1e6, 1e6))
def test_snapping_stays_in_range_on_a_step_and_is_stable(name: str, value: float) -> None:
    field = FIELDS[name]
    snapped = field.snap(value)
    assert field.lowest <= snapped <= field.highest
    assert field.snap(snapped) == snapped
    checked(with_value(Sampling(), name, snapped))


def test_snapped_values_are_exact_in_decimal() -> None:
    assert FIELDS["temperature"].snap(0.30000004) == 0.3
    assert FIELDS["top_p"].snap(0.9499) == 0.95


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", 10**400),
        ("top_p", 1.5),
        ("top_k", -1),
        ("top_k", 10**400),
        ("top_k", 1.5),
    ],
)
def test_a_value_that_llama_cpp_cannot_take_is_refused_with_its_range(
    name: str, value: float
) -> None:
    with pytest.raises(SettingsError, match=rf"{name}.*from .* to "):
        checked(Sampling(**{name: value}))


@pytest.mark.parametrize("name", sorted(LIMITS))
@pytest.mark.parametrize(
    "value", ["5", True, None, [1], float("nan"), 10**400, 16**5000], ids=lambda _: "value"
)
def test_what_is_no_such_number_is_refused_with_what_is(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=rf"^{name} = .* It is {LIMITS[name]}\.$"):
        with_setting(Sampling(), name, value)


@pytest.mark.parametrize("name", sorted(LIMITS))
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_slider_value_that_cannot_be_is_refused_too(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=rf"{LIMITS[name]}"):
        with_value(Sampling(), name, value)


@pytest.mark.parametrize("value", ["END", 3, ["END", 3], {}])
def test_stop_strings_are_a_list_of_texts(value: object) -> None:
    with pytest.raises(SettingsError, match=r"stop = .*a list of texts"):
        with_setting(Sampling(), "stop", value)
    assert with_setting(Sampling(), "stop", ["END"]).stop == ("END",)


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(SettingsError, match="stop string"):
        checked(Sampling(stop=("END", "")))


def test_a_change_is_described_by_what_differs() -> None:
    before = Sampling()
    after = Sampling(temperature=1.2, max_tokens=64)
    assert describe_change(before, after) == "temperature 0.80 → 1.20, max tokens no limit → 64"
    assert describe_change(before, before) == ""
