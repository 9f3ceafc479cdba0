"""Settings given as text ("tau=0.9", "optim.lr=0.1"), put into frozen dataclasses; a wrong key suggests the nearest."""

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

from halfseen.errors import UserError, nearest

T = TypeVar("T")


def with_settings(config: T, settings: Mapping[str, Any], owner: str) -> T:
    """A copy of a dataclass with some fields changed; dotted keys reach into nested ones, text becomes the field's type."""
    for key, value in settings.items():
        first, _, rest = key.partition(".")
        hints = typing.get_type_hints(type(config))
        names = [f.name for f in dataclasses.fields(config)]  # type: ignore[arg-type]  # T is a dataclass
        if first not in names:
            hint = nearest(first, names) if names else "it has no settings"
            raise UserError(f"{owner} has no setting {first!r}; {hint}")
        if rest:
            inner = getattr(config, first)
            if not dataclasses.is_dataclass(inner):
                raise UserError(f"{owner}.{first} has no part {rest!r}; it is a single value, {inner!r}")
            new: Any = with_settings(inner, {rest: value}, f"{owner}.{first}")
        else:
            new = read(value, hints[first], f"{owner}.{first}") if isinstance(value, str) else value
            if not isinstance(value, str):
                check(new, hints[first], f"{owner}.{first}")
        try:
            config = dataclasses.replace(config, **{first: new})  # type: ignore[type-var]
        except ValueError as e:
            raise UserError(str(e)) from e
    return config


def read(text: str, kind: Any, name: str) -> Any:
    """The value that a text stands for, given the type of its field."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if type(None) in args and text.lower() in ("none", "null", ""):
            return None
        errors = []
        for each in args:
            if each is not type(None):
                try:
                    return read(text, each, name)
                except UserError as e:
                    errors.append(e)
        raise errors[0]
    if origin is Literal:
        for choice in args:
            if str(choice) == text:
                return choice
        raise UserError(f"{name} cannot be {text!r}; {nearest(text, map(str, args))}")
    if origin is tuple:
        parts = [p for p in text.strip("()[] ").split(",") if p.strip()]
        if args[-1:] == (Ellipsis,):
            return tuple(read(p.strip(), args[0], name) for p in parts)
        if len(parts) != len(args):
            raise UserError(f"{name} wants {len(args)} values with commas between them, not {text!r}")
        return tuple(read(p.strip(), a, name) for p, a in zip(parts, args, strict=True))
    if kind is bool:
        words = {
            "true": True,
            "yes": True,
            "1": True,
            "on": True,
            "false": False,
            "no": False,
            "0": False,
            "off": False,
        }
        if text.lower() not in words:
            raise UserError(f"{name} is true or false, not {text!r}")
        return words[text.lower()]
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise UserError(f"{name} is a{'n integer' if kind is int else ' number'}, not {text!r}") from None
    if kind is str:
        return text
    raise UserError(f"{name} cannot be given as text; set it from Python")


def check(value: Any, kind: Any, name: str) -> None:
    """A value from Python must fit the field as one from the command line would."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        fitting = [k for k in args if _fits(value, k, name)]
        if not fitting:
            raise UserError(f"{name} is {' or '.join(getattr(k, '__name__', str(k)) for k in args)}, not {value!r}")
        return
    if origin is tuple:
        kinds = args[:1] * len(value) if isinstance(value, tuple) and args[-1:] == (Ellipsis,) else args
        if not isinstance(value, tuple) or len(value) != len(kinds):
            raise UserError(f"{name} is a tuple, not {value!r}")
        for each, its_kind in zip(value, kinds, strict=True):
            check(each, its_kind, name)
        return
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return
    if (
        isinstance(kind, type)
        and origin is None
        and not (isinstance(value, kind) and (kind is bool) == isinstance(value, bool))
    ):
        raise UserError(f"{name} is {kind.__name__}, not {value!r}")
    if origin is Literal and value not in args:
        raise UserError(f"{name} cannot be {value!r}; {nearest(str(value), map(str, args))}")


def _fits(value: Any, kind: Any, name: str) -> bool:
    try:
        check(value, kind, name)
    except UserError:
        return False
    return True


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """["method.tau=0.9"] -> {"method.tau": "0.9"}."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set {text} is not KEY=VALUE; write it like --set method.tau=0.9")
        found[key.strip()] = value.strip()
    return found


def below(settings: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The settings under a prefix, without it."""
    return {k.removeprefix(prefix + "."): v for k, v in settings.items() if k.startswith(prefix + ".")}


def tuples(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Values as they were before json made lists of their tuples."""

    def one(value: Any) -> Any:
        return tuple(map(one, value)) if isinstance(value, list) else value

    return {key: one(value) for key, value in stored.items()}


def flat(config: Any) -> dict[str, Any]:
    """A config's settings by dotted key, ready for json and for `with_settings`."""

    def walk(d: dict[str, Any], prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for k, v in d.items():
            found.update(walk(v, f"{prefix}{k}.") if isinstance(v, dict) else {f"{prefix}{k}": v})
        return found

    return walk(dataclasses.asdict(config), "")
