"""Strict JSON: what every backend and every browser can hold, and nothing else (design 13)."""

from __future__ import annotations

import math
from typing import Any

import msgspec

MAX_FRAME = 131_072  # characters; servers are told the same, so that we answer and not they
MAX_MESSAGE = 65_536  # bytes of an encoded payload
MAX_DEPTH = 32
MAX_NODES = 1_000
MAX_INT = 2**53
FORBIDDEN_KEYS = frozenset({"__proto__"})


class CodecError(ValueError):
    """Data that can't travel; `reason` is `JSON` or `SIZE`, the text says what and why."""

    def __init__(self, detail: str, reason: str = "JSON") -> None:
        super().__init__(detail)
        self.reason = reason


_decoder = msgspec.json.Decoder()


def _default(value: Any) -> Any:
    """Lazy translations and other objects that are a string to their reader."""
    if isinstance(value, str):  # SafeString: its str() is itself
        return str.__str__(value)
    if hasattr(value, "_proxy____cast") or hasattr(value, "__html__"):
        return str(value)
    raise CodecError(f"{type(value).__name__} can't be encoded as JSON")


_encoder = msgspec.json.Encoder(enc_hook=_default)
_canonical = msgspec.json.Encoder(enc_hook=_default, order="deterministic")


def _check_text(value: str) -> None:
    if "\0" in value:
        raise CodecError("a string holds NUL, which PostgreSQL can't store")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise CodecError("a string holds a lone surrogate") from None


def check(value: Any, *, max_nodes: int = MAX_NODES) -> None:
    """Raises CodecError unless every backend and every browser can hold the value.

    Walks without recursion: at most 32 nested containers, `max_nodes` values, ints within 2^53, no NaN
    or Infinity, no NUL, no lone surrogate, no `__proto__` key.
    """
    nodes = 0
    level = [value]
    for depth in range(MAX_DEPTH + 1):
        deeper: list[Any] = []
        nodes += len(level)
        if nodes > max_nodes:
            raise CodecError(f"more than {max_nodes} values")
        for item in level:
            if isinstance(item, str):
                _check_text(item)
            elif isinstance(item, (dict, list, tuple)) and depth == MAX_DEPTH:
                raise CodecError(f"deeper than {MAX_DEPTH} levels")
            elif isinstance(item, dict):
                for key in item:
                    if isinstance(key, str):
                        _check_text(key)
                        if key in FORBIDDEN_KEYS:
                            raise CodecError(f"the key {key} is refused")
                deeper.extend(item.values())
            elif isinstance(item, (list, tuple)):
                deeper.extend(item)
            elif isinstance(item, bool):
                pass
            elif isinstance(item, int):
                if not -MAX_INT <= item <= MAX_INT:
                    raise CodecError("an integer beyond 2^53")
            elif isinstance(item, float) and not math.isfinite(item):
                raise CodecError("NaN and Infinity are not JSON")
        if not deeper:
            return
        level = deeper


def parse(text: str | bytes, *, max_size: int = MAX_FRAME) -> Any:
    """Decodes JSON that is yet to be checked.

    Raises CodecError: not JSON, or too large (`SIZE`).
    """
    if len(text) > max_size:
        raise CodecError(f"more than {max_size} characters", "SIZE")
    try:
        return _decoder.decode(text)
    except RecursionError:
        raise CodecError(f"deeper than {MAX_DEPTH} levels") from None
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise CodecError(str(error)) from None


def decode(text: str | bytes, *, max_size: int = MAX_FRAME, max_nodes: int = 2 * MAX_NODES) -> Any:
    """Decodes strict JSON.

    Raises CodecError: what `parse` raises, and for the values that `check` refuses.
    """
    value = parse(text, max_size=max_size)
    check(value, max_nodes=max_nodes)
    return value


def encode(value: Any) -> str:
    """Encodes our own frames: compact JSON text, no checks."""
    return _encoder.encode(value).decode()


def encode_payload(value: Any, *, max_size: int = MAX_MESSAGE) -> str:
    """Encodes what an application publishes, once, as the text that is stored and sent.

    Raises CodecError when the value can't be encoded, when `check` refuses it, or when it is over
    `max_size` bytes (`SIZE`).
    """
    try:
        # Dataclasses, sets, enums and lazy strings become what they are to a reader before they are checked.
        plain = msgspec.to_builtins(value, enc_hook=_default)
        check(plain)
        encoded = _encoder.encode(plain)
    except CodecError:
        raise
    except Exception as error:  # also what an application's own __str__ raises
        raise CodecError(str(error) or type(error).__name__) from error
    if len(encoded) > max_size:
        raise CodecError(f"more than {max_size} bytes", "SIZE")
    return encoded.decode()


def canonical(value: Any) -> bytes:
    """One byte string for equal values, whatever the order of their keys: what payload hashes are of."""
    return _canonical.encode(value)
