"""The public surface as text: names, signatures, error classes, options and exit codes.

`.venv/bin/python -m tests.support.contract > tests/architecture/contract.txt` records it anew, after a change that is meant.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator

MODULES = ("orchestrator", "workers")
PARSERS = {
    "run": ("orchestrator.cli.run.options", "run_parser"),
    "exec": ("orchestrator.cli.exec.options.help", "exec_parser"),
    "job": ("orchestrator.cli.job.options", "job_parser"),
}


def describe() -> str:
    """Return the whole surface, a line a fact."""
    lines = [*_names(), *_options(), *_exit_codes()]
    return "\n".join(lines) + "\n"


def _names() -> Iterator[str]:
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in sorted(module.__all__):
            yield from _name(f"{module_name}.{name}", getattr(module, name))


def _name(path: str, value: object) -> Iterator[str]:
    if not inspect.isclass(value):
        yield f"{path}{_signature(value)}"
        return
    if issubclass(value, BaseException):
        yield f"error {path} < {' < '.join(base.__name__ for base in value.__mro__[1:-1])}"
        return
    yield f"class {path}{_signature(value)}"
    for name, member in sorted(inspect.getmembers(value)):
        if name.startswith("_"):
            continue
        if callable(member):
            yield f"  {path}.{name}{_signature(member)}"
        else:
            yield f"  {path}.{name}"


def _signature(value: object) -> str:
    if not callable(value):
        return ""
    try:
        return re.sub(r"<function (\w+) at 0x\w+>", r"\1", str(inspect.signature(value)).replace("'", ""))
    except (TypeError, ValueError):
        return "(...)"


def _options() -> Iterator[str]:
    for command, (module, maker) in PARSERS.items():
        parser = getattr(importlib.import_module(module), maker)()
        for action in parser._actions:
            spelled = " ".join(action.option_strings) or str(action.dest).upper()
            choices = f" {sorted(map(str, action.choices))}" if action.choices else ""
            yield f"orchestrator {command} {spelled}{choices}"


def _exit_codes() -> Iterator[str]:
    codes = importlib.import_module("orchestrator.cli.session.exit_codes")
    for name, value in sorted(vars(codes).items()):
        if name.startswith("EXIT_"):
            yield f"{name} = {value}"


if __name__ == "__main__":
    print(describe(), end="")
