"""The command lines of all commands: options as dataclasses, one line on what is wrong, a quiet end at a closed pipe.

The words are checked before tyro parses them, whose messages are boxes of several lines and do not name the nearest
choice.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import os
import select
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, TextIO, TypeVar, Union, get_args, get_origin, get_type_hints

HELP = ("-h", "--help")
DASHES = "--"  # behind it are words that belong to no option
OF_TYRO = "--tyro"  # its own options, such as --tyro-print-completion
BAD_USAGE = 2  # exit codes
PIPE_CLOSED = 141  # as of a process that SIGPIPE ends

Options = TypeVar("Options")


def end_with(command: Callable[[], int | None]) -> NoReturn:
    """Run a command and end the process with its exit code; quietly, with 141, where the reader of its output has gone.

    So ``command --help | head`` ends as other command-line tools do.

    Args:
        command: returns the exit code, or raises SystemExit.
    """
    code: int | str | None
    try:
        try:
            code = command()
        except SystemExit as stop:
            code = stop.code
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        closed = [stream for stream in (sys.stdout, sys.stderr) if _is_closed_pipe(stream)]
        if not closed:  # another pipe, such as that of a process that the command started
            raise
        code = PIPE_CLOSED
        for stream in closed:  # Python flushes them once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def _is_closed_pipe(stream: TextIO | None) -> bool:
    """Whether a stream writes to a pipe whose reader has gone; False on Windows, which has no ``poll``."""
    if stream is None or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(stream, 0)  # errors are told in any case
    return bool(poll.poll(0))


class OneLineParser(argparse.ArgumentParser):
    """A parser of argparse whose message on bad usage is one line."""

    def error(self, message: str) -> NoReturn:
        """End the process with code 2 after the message."""
        self.exit(BAD_USAGE, f"E {message}\n")


def check_or_exit(arguments: Sequence[str], options: type) -> None:
    """Check names and values of options, as ``check_arguments``.

    Raises:
        SystemExit: with code 2, after one line on bad usage.
    """
    try:
        check_arguments(arguments, options)
    except ValueError as error:
        OneLineParser(add_help=False).error(str(error))


def parse_options(
    options: type[Options], arguments: Sequence[str] | None = None, description: str | None = None
) -> Options:
    """Parse a command line.

    Args:
        options: a dataclass; the comments above its fields are the help.
        arguments: the command line without the program's name; by default that of this process.
        description: for the help; by default the docstring of the dataclass.

    Raises:
        SystemExit: with code 2 after one line on bad usage, with code 0 after ``--help``.
    """
    import tyro  # ``v2m4.doctor`` tells where it is not installed

    words = sys.argv[1:] if arguments is None else list(arguments)
    check_or_exit(words, options)
    module = sys.modules["__main__"].__spec__  # of ``python -m``; None of ``python FILE``
    prog = None if module is None else f"python -m {module.name}"
    return tyro.cli(options, prog=prog, args=words, description=description, use_underscores=True)


def check_arguments(arguments: Sequence[str], options: type) -> None:
    """Check names and values of options.

    Args:
        arguments: the command line without the program's name.
        options: a dataclass, its fields plain values, positional ones or dataclasses of options.

    Raises:
        ValueError: an option is not known (the nearest is named), its value is missing, no number, or not one of its
            choices; a word belongs to no option; or an option without a default is missing.
    """
    words, bare = list(arguments), list[str]()
    if DASHES in words and _positional(options):
        at = words.index(DASHES)
        words, bare = words[:at], words[at + 1 :]
    if any(word in HELP or word.startswith(OF_TYRO) for word in words):
        return
    known = option_types(options)
    given: set[str] = set()
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            bare.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if name not in known:
            raise ValueError(f"--{name}: no such option{_nearest_option(name, known)}; --help lists them all")
        given.add(name)
        if known[name] is bool:
            continue
        values = [value] if equals else []
        kinds = _kinds_of_values(known[name])
        if kinds[-1] is Ellipsis:  # any number of values, up to the next option
            following = next((at for at, each in enumerate(words) if each.startswith("--")), len(words))
            least = 0 if get_origin(known[name]) is list else 1  # an empty list leaves something out
            kinds = kinds[:1] * max(following + len(values), least)
        for kind in kinds:
            if not values and (not words or words[0].startswith("--")):
                raise ValueError(f"--{name}: its value is missing")
            _check_value(name, values.pop() if values else words.pop(0), kind)
    _check_presence(bare, given, options)


def _check_presence(bare: Sequence[str], given: set[str], options: type) -> None:
    """Check that what has no default is there, and the number of words that belong to no option.

    Raises:
        ValueError: an option or a positional argument is missing, or there is a word too many.
    """
    positional = _positional(options)
    several = positional is not None and _kinds_of_values(get_type_hints(options)[positional.name])[-1] is Ellipsis
    if len(bare) > (positional is not None) and not several:
        raise ValueError(f"{bare[-1]}: belongs to no option; a name with spaces needs quotes")
    missing = [f"--{name}" for name in _required(options) if name not in given]
    if positional is not None and not bare and not _has_default(positional):
        missing.insert(0, positional.name.upper())
    if missing:
        raise ValueError(f"{' '.join(missing)}: missing; --help lists all options")


def _has_default(field: dataclasses.Field) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _positional(options: type) -> dataclasses.Field | None:
    """The field that takes the words that belong to no option."""
    import tyro  # ``v2m4.doctor`` tells where it is not installed

    hints = get_type_hints(options, include_extras=True)
    fields = (field for field in dataclasses.fields(options) if tyro.conf.Positional in get_args(hints[field.name]))
    return next(fields, None)


def _required(options: type, prefix: str = "") -> list[str]:
    """Names of the options without a default, as in ``option_types``."""
    found, hints, positional = list[str](), get_type_hints(options), _positional(options)
    for field in dataclasses.fields(options):
        kind = hints[field.name]
        if _has_default(field) or field is positional:
            continue
        nested = dataclasses.is_dataclass(kind) and isinstance(kind, type)
        found += _required(kind, f"{prefix}{field.name}.") if nested else [f"{prefix}{field.name}"]
    return found


def option_types(options: type, prefix: str = "") -> dict[str, Any]:
    """The type of each option by its name, ``section.name`` in nested dataclasses; bool options have a ``no_`` form."""
    found: dict[str, Any] = {}
    hints, positional = get_type_hints(options), _positional(options)
    for field in dataclasses.fields(options):
        kind = hints[field.name]
        if field is positional:
            continue
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
        if get_origin(each) is list:
            return [*get_args(each), ...]
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
