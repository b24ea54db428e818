import json
import math
import random
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconnect_channels.protocol import codec
from reconnect_channels.protocol.codec import CodecError, canonical, check, decode, encode, encode_payload

from .strategies import json_values, nested, short

# -- what may travel -----------------------------------------------------------------------------------

rough_texts = st.text(max_size=5) | st.sampled_from(
    ["__proto__", "\0", "a\0b", "\ud800", "a\udc00", "proto", ""]
)
rough_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) - 3, 2**53 + 3)
    | st.sampled_from([2**53, 2**53 + 1, -(2**53), -(2**53) - 1, 2**63, 2**64, 10**400])
    | st.floats()
    | rough_texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(rough_texts, inner, max_size=4),
    max_leaves=12,
)


def holds(value: Any) -> bool:
    """The rules of docs/protocol.md section 1 but for size and depth, the plain way."""
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return all(holds(key) and key != "__proto__" and holds(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(holds, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool) or -(2**53) <= value <= 2**53


def refused(function, *args, **options) -> CodecError:
    with pytest.raises(CodecError) as caught:
        function(*args, **options)
    return caught.value


@given(rough_values)
def test_check_accepts_exactly_what_every_backend_and_browser_holds(value):
    if holds(value):
        check(value)
    else:
        assert refused(check, value).reason == "JSON"
        assert refused(encode_payload, value).reason == "JSON"


@given(json_values)
def test_what_check_accepts_comes_back_unchanged(value):
    check(value)
    text = encode_payload(value)
    assert decode(text) == value == json.loads(text)
    assert encode(value) == text
    assert "\n" not in text


@given(rough_values)
def test_decode_refuses_what_check_refuses(value):
    """Written by a careless encoder, as a client may."""
    text = json.dumps(value)
    if holds(value):
        assert decode(text) == value
    else:
        assert refused(decode, text).reason == "JSON"


INTEGERS = [0, 2**53 - 1, 2**53, -(2**53)]
TOO_LARGE = [2**53 + 1, -(2**53) - 1, 2**63, 2**64, -(2**64), 10**30]


@pytest.mark.parametrize("number", INTEGERS)
def test_integers_up_to_2_to_53_travel(number):
    assert decode(str(number)) == number
    assert encode_payload({"a": [number]}) == f'{{"a":[{number}]}}'


@pytest.mark.parametrize("number", TOO_LARGE)
def test_integers_beyond_2_to_53_are_refused(number):
    refused(decode, str(number))
    refused(decode, f'{{"a":[{number}]}}')
    refused(encode_payload, {"a": [number]})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(number):
    refused(encode_payload, number)
    refused(encode_payload, {"a": [number]})
    refused(decode, json.dumps(number))


@pytest.mark.parametrize("text", ["\0", "a\0", "\ud800", "a\udfffb", "\udc00\ud800"], ids=ascii)
def test_nul_and_lone_surrogates_are_refused_in_values_and_keys(text):
    for value in (text, {text: 1}, [{"a": [text]}], {"a": {text: None}}):
        refused(check, value)
        refused(encode_payload, value)
        refused(decode, json.dumps(value))


@pytest.mark.parametrize("value", ["\0", math.nan, 2**53 + 1, {"__proto__": 1}], ids=ascii)
def test_tuples_are_looked_into_like_lists(value):
    for holder in ((value,), [(1, value)], {"a": ((value,),)}):
        refused(check, holder)
        refused(encode_payload, holder)


def test_a_pair_of_surrogates_is_one_character():
    assert decode('"\\ud83d\\ude00"') == "\U0001f600"


def test_the_key_proto_is_refused_and_the_string_is_not():
    refused(check, {"__proto__": 1})
    refused(decode, '[{"a":{"__proto__":null}}]')
    refused(decode, '{"\\u005f_proto__":1}')
    assert decode('["__proto__",{"constructor":1,"prototype":2,"__proto":3}]')[0] == "__proto__"


@pytest.mark.parametrize(
    "value", [nested(32), nested(31, []), nested(31, {"a": 1})], ids=["arrays", "[]", "object"]
)
def test_32_levels_are_accepted(value):
    check(value)
    assert decode(encode_payload(value)) == value


@pytest.mark.parametrize(
    "value",
    [nested(33), nested(32, []), nested(32, {}), nested(32, {"a": 1})],
    ids=["arrays", "[]", "{}", "object"],
)
def test_33_levels_are_refused_whatever_the_innermost_holds(value):
    refused(check, value)
    refused(encode_payload, value)
    refused(decode, json.dumps(value))


def test_a_thousand_values_are_accepted_and_one_more_is_refused():
    exact = [0] * (codec.MAX_NODES - 1)  # and the list itself
    check(exact)
    encode_payload(exact)
    refused(check, [*exact, 0])
    refused(encode_payload, [*exact, 0])
    refused(encode_payload, {str(i): i for i in range(codec.MAX_NODES)})
    wide = {"a": [[0] * 498, [0] * 498]}  # 1 + 1 + 2 + 996
    check(wide)
    wide["b"] = 0
    refused(check, wide)


def test_a_frame_may_hold_twice_as_many_values():
    decode(json.dumps([0] * 1999))
    refused(decode, json.dumps([0] * 2000))


def test_a_cycle_is_refused():
    ring: list[Any] = []
    ring.append(ring)
    refused(check, ring)
    refused(encode_payload, {"a": ring})


# -- size ----------------------------------------------------------------------------------------------


def test_the_size_of_a_frame_is_counted_in_characters():
    exact = '"' + "\U0001f600" * (codec.MAX_FRAME - 2) + '"'
    assert len(decode(exact)) == codec.MAX_FRAME - 2
    assert refused(decode, exact + " ").reason == "SIZE"
    assert refused(decode, "[" * (codec.MAX_FRAME + 1)).reason == "SIZE"


def test_the_size_of_a_payload_is_counted_in_bytes():
    assert len(encode_payload("x" * (codec.MAX_MESSAGE - 2))) == codec.MAX_MESSAGE
    assert refused(encode_payload, "x" * (codec.MAX_MESSAGE - 1)).reason == "SIZE"
    assert refused(encode_payload, "\u20ac" * (codec.MAX_MESSAGE // 3)).reason == "SIZE"
    assert refused(encode_payload, "abc", max_size=4).reason == "SIZE"
    assert encode_payload("abc", max_size=5) == '"abc"'


# -- text that is no JSON ------------------------------------------------------------------------------

NOT_JSON = [
    "", " ", "hello", "{", "}", "[1,]", '{"a":1,}', "{'a':1}", "{a:1}", "[1] x", "{}{}", "/**/{}", "{}//",
    "\ufeff{}", "nul", "True", "undefined", "NaN", "-NaN", "Infinity", "-Infinity", "1e400", "-1e400", "01",
    "+1", "1.", ".5", "0x10", "1_000", '"\\x41"', '"\\u12"', '"\t"', '"\n"', '"open', '"\\', "\0", "[1,\0]",
    "7" * 5000, '{"a"}', "{1:2}", "[" * 100_000, "[" * 60_000 + "]" * 60_000,
    '{"a":' * 3_000 + "1" + "}" * 3_000, "\ud800", '"\ud800"', '"a\udc00"',
    b"", b"\xff", b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x82"',
    b"\xef\xbb\xbf{}", '{"a":1}'.encode("utf-16"), '{"a":1}'.encode("utf-32"),
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_JSON, ids=short)
def test_what_is_not_json_is_refused(text):
    assert refused(decode, text).reason == "JSON"


def survives(text: str | bytes) -> None:
    value = reason = None
    try:
        value = decode(text)
    except CodecError as error:
        reason = error.reason
    assert reason in (None, "JSON")
    check(value)


@given(st.text() | st.binary())
def test_any_text_or_bytes_decode_or_are_refused(text):
    survives(text)


pieces = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"', "\\", "\\u", "d800", "0000", "null", "true", "1", "-", ".", "e",
     "e400", " ", "\0", "\ud800", "NaN", '"__proto__"', '"a"', '{"a":', "9007199254740993", "\U0001f600"]
)  # fmt: skip


@given(st.lists(pieces, max_size=20).map("".join))
def test_any_sequence_of_the_pieces_of_json_decodes_or_is_refused(text):
    survives(text)


# -- what applications publish -------------------------------------------------------------------------


class Marked(str):
    """What Django's format_html returns: a string that is its own HTML."""

    def __html__(self) -> str:
        return self

    def __str__(self) -> str:
        return self


class Lazy:
    """What Django's gettext_lazy returns."""

    _proxy____cast = None

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Lazy({self.text!r})"


class Plain(str):
    pass


class Colour(Enum):
    RED = "red"
    BAD = "\0"


@dataclass
class Card:
    title: Any


def test_strings_marked_as_safe_travel_as_text():
    assert encode_payload(Marked("<b>")) == '"<b>"'
    assert encode_payload({Marked("key"): [Marked("<b>")]}) == '{"key":["<b>"]}'


def test_strings_of_a_subclass_travel_as_text_or_are_refused_by_name():
    reason = None
    try:
        assert encode_payload({"a": Plain("x")}) == '{"a":"x"}'
    except CodecError as error:
        reason = str(error)
    assert reason is None or "Plain" in reason


def test_lazy_translations_travel_as_text():
    assert encode_payload({"a": Lazy("hello")}) == '{"a":"hello"}'


def test_subclasses_of_list_and_dict_travel():
    assert encode_payload(OrderedDict(a=1)) == '{"a":1}'
    assert encode_payload(defaultdict(list, a=[1])) == '{"a":[1]}'
    assert encode_payload((1, (2,))) == "[1,[2]]"


@pytest.mark.parametrize(
    "value",
    [object(), {"a": object()}, 1j, range(3), type, {(1, 2): 3}, {None: 1}],
    ids=["object", "object within", "complex", "range", "class", "tuple as key", "None as key"],
)
def test_what_has_no_json_form_is_refused(value):
    refused(encode_payload, value)


UNREADABLE = [
    Card("\0"),
    Card(2**60),
    Card({"__proto__": 1}),
    Card([0] * 1000),
    {2**60},
    {"a": {"\0"}},
    Colour.BAD,
    {Colour.BAD: 1},
    Lazy("a\0b"),
    Lazy("\ud800"),
    Card(nested(33)),
]


@pytest.mark.parametrize("value", UNREADABLE, ids=short)
def test_what_no_reader_could_take_is_refused_behind_any_type(value):
    """A payload that is stored is sent to everybody: it must pass where it is read."""
    refused(encode_payload, value)


@pytest.mark.parametrize("value", [Card(math.nan), {math.inf}, Card([math.nan])], ids=repr)
def test_nan_is_not_turned_into_null_behind_any_type(value):
    refused(encode_payload, value)


@given(
    st.recursive(
        rough_texts
        | st.floats()
        | st.integers()
        | st.binary(max_size=3)
        | st.sampled_from(Colour)
        | st.dates(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | inner.map(Card)
            | st.dictionaries(rough_texts | st.integers() | st.floats(), inner, max_size=3)
        ),
        max_leaves=5,
    )
)
@example({1: "a", 2**80: "b"})
def test_publishing_any_object_gives_json_or_codec_error(value):
    try:
        text = encode_payload(value)
    except CodecError:
        return
    json.loads(text)


# -- the canonical form --------------------------------------------------------------------------------


def shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict):
        items = [(key, shuffled(item, chance)) for key, item in value.items()]
        chance.shuffle(items)
        return dict(items)
    return [shuffled(item, chance) for item in value] if isinstance(value, list) else value


@given(json_values, st.randoms(use_true_random=False))
def test_the_canonical_form_does_not_depend_on_the_order_of_keys(value, chance):
    assert canonical(shuffled(value, chance)) == canonical(value)


@given(json_values, json_values)
def test_different_values_have_different_canonical_forms(one, other):
    assert decode(canonical(one), max_size=10**6) == one
    if canonical(one) == canonical(other):
        assert one == other


def test_the_canonical_form_keeps_the_order_of_lists():
    assert canonical([1, 2]) != canonical([2, 1])
    assert canonical({"b": 1, "a": {"d": 2, "c": 3}}) == b'{"a":{"c":3,"d":2},"b":1}'
