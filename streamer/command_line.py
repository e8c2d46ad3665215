"""How a command line is read: argparse, with its complaints in one sentence and a short usage.

Owns the wording of mistakes in what was typed. Must not know: which commands and options there are.
"""

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """A parser that ends with status 2 and one line on stderr; options must be written out."""

    def __init__(self, **settings: Any) -> None:
        self._typed: Sequence[str] = ()
        super().__init__(allow_abbrev=False, formatter_class=_Help, **settings)
        self.register("type", int, _whole_number)
        self.register("type", float, _number)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does; what is not known is a mistake here, where its neighbours are known."""
        self._typed = sys.argv[1:] if args is None else args
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown(unknown))
        return known, unknown

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where help is."""
        if message.startswith("the following arguments are required"):
            options = [each for each in self._typed if each.startswith("--")]
            unknown = [each for each in options if _name(each) not in self._option_string_actions]
            if unknown and "--" not in self._typed:  # it may be misspelt what is missing
                message = self._unknown(unknown)
        text = message.removeprefix("argument ").removeprefix("COMMAND: ")
        self.exit(2, f"streamer: {text} (see: {self.prog} --help)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(each) for each in action.choices]
            expected = f"expected one of {', '.join(names)}, got {value!r}"
            raise argparse.ArgumentError(action, f"{expected}{_nearest(value, names)}")

    def _unknown(self, unknown: Sequence[str]) -> str:
        typed = self._typed
        option = next((each for each in unknown if each.startswith("-")), None)
        if option is not None:
            name = _name(option)
            return f"there is no option {name}{_nearest(name, self._option_string_actions)}"
        behind = typed[: typed.index(unknown[0])] if unknown[0] in typed else ()
        for each in reversed(behind):
            action = self._option_string_actions.get(each)
            if action is not None and action.nargs is None:
                again = f"; give {each} again for each" if _is_repeatable(action) else ""
                return f"{each} takes one value, got also {unknown[0]!r}{again}"
        return f"unexpected argument {unknown[0]!r}"


class _Help(argparse.HelpFormatter):
    """Its usage has what must be given; the list below it has the rest."""

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[Any],
        prefix: str | None = None,
    ) -> None:
        if usage is None:
            needed = [_shown(each) for each in actions if _is_needed(each)]
            usage = " ".join([self._prog, "[OPTION ...]", *needed])
        super().add_usage(usage.replace("%", "%%"), actions, groups, prefix)

    def _format_action(self, action: argparse.Action) -> str:
        line = super()._format_action
        if isinstance(action, argparse._SubParsersAction):  # each as an option is: it has room
            return "".join(map(line, action._get_subactions()))
        return line(action)


def _name(option: str) -> str:
    return option.partition("=")[0]


def _is_needed(action: argparse.Action) -> bool:
    return action.required or not action.option_strings


def _shown(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    value = {"+": f"{name} [{name} ...]", "*": f"[{name} ...]", "?": f"[{name}]"}.get(
        str(action.nargs), f"{name} ..." if action.nargs == argparse.PARSER else name
    )
    return " ".join([*action.option_strings[:1], value])


def _is_repeatable(action: argparse.Action) -> bool:
    return isinstance(action, argparse._AppendAction)


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
