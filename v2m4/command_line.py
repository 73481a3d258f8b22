"""Check the words of a command line against a dataclass of options, with one line on the first that is wrong.

This is done before tyro parses them, whose messages are boxes of several lines and do not name the nearest choice.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

HELP = ("-h", "--help")
OF_TYRO = "--tyro"  # its own options, such as --tyro-print-completion


def check_arguments(arguments: Sequence[str], options: type) -> None:
    """Check names and values of options.

    Args:
        arguments: the command line without the program's name.
        options: a dataclass, its fields plain values or dataclasses of options.

    Raises:
        ValueError: an option is not known (the nearest is named), its value is missing, no number, or not one of its
            choices; or a word belongs to no option.
    """
    if any(word in HELP or word.startswith(OF_TYRO) for word in arguments):
        return
    known = option_types(options)
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise ValueError(f"{word}: belongs to no option; a name with spaces needs quotes")
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if name not in known:
            raise ValueError(f"--{name}: no such option{_nearest_option(name, known)}; --help lists them all")
        if known[name] is bool:
            continue
        values = [value] if equals else []
        kinds = _kinds_of_values(known[name])
        if kinds[-1] is Ellipsis:  # any number of values, up to the next option
            following = next((at for at, each in enumerate(words) if each.startswith("--")), len(words))
            kinds = kinds[:1] * max(following + len(values), 1)
        for kind in kinds:
            if not values and (not words or words[0].startswith("--")):
                raise ValueError(f"--{name}: its value is missing")
            _check_value(name, values.pop() if values else words.pop(0), kind)


def option_types(options: type, prefix: str = "") -> dict[str, Any]:
    """The type of each option by its name, ``section.name`` in nested dataclasses; bool options have a ``no_`` form."""
    found: dict[str, Any] = {}
    hints = get_type_hints(options)
    for field in dataclasses.fields(options):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            found |= option_types(kind, f"{prefix}{field.name}.")
            continue
        found[f"{prefix}{field.name}"] = kind
        if kind is bool:
            found[f"{prefix}no_{field.name}"] = kind
    return found


def _nearest_option(name: str, known: dict[str, Any]) -> str:
    """The hint at the nearest option, by the whole name or by its last part; empty where none is near."""
    near = difflib.get_close_matches(name, known, 1, 0.7)
    if not near:
        by_last_part: dict[str, str] = {}
        for each in known:
            by_last_part.setdefault(each.rpartition(".")[2], each)
        near = [by_last_part[each] for each in difflib.get_close_matches(name.rpartition(".")[2], by_last_part, 1, 0.7)]
    return f"; did you mean --{near[0]}?" if near else ""


def _alternatives(kind: Any) -> list[Any]:
    """The types of which a value may be."""
    return list(get_args(kind)) if get_origin(kind) in (Union, types.UnionType) else [kind]


def _kinds_of_values(kind: Any) -> list[Any]:
    """The types of the words that follow an option: several for a tuple, else one."""
    for each in _alternatives(kind):
        if get_origin(each) is tuple:
            return list(get_args(each))
    return [kind]


def _check_value(name: str, value: str, kind: Any) -> None:
    """Check one value.

    Raises:
        ValueError: it is of none of the types.
    """
    kinds = _alternatives(kind)
    choices = [str(choice) for each in kinds if get_origin(each) is Literal for choice in get_args(each)]
    numbers = [each for each in kinds if each in (int, float)]
    if value in choices or (value == "None" and type(None) in kinds) or not (choices or numbers):
        return
    for number in numbers:
        try:
            number(value)
        except ValueError:
            continue
        return
    if not choices:
        what = "a whole number" if numbers == [int] else "a number"
        raise ValueError(f"--{name} {value}: must be {what}")
    by_lower_case = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(value.casefold(), by_lower_case, 1, 0.5)
    hint = f"did you mean {by_lower_case[near[0]]}? " if near else ""
    expected = " or a number" if numbers else ""
    raise ValueError(f"--{name} {value}: not known; {hint}known are {', '.join(choices)}{expected}")
