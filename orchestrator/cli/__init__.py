"""The command line: finds the command, runs it, and turns every mistake into one line and an exit code."""

from __future__ import annotations

from orchestrator.cli.session.exit_codes import EXIT_SIGINT, EXIT_USAGE, print_error, warnings_told


def run_command_line(argv: list[str]) -> int:
    """Run the command of `argv`, and return its exit code.

    Ctrl-C at any point gives 130 and no traceback.
    """
    try:
        if argv[:1] in (["--version"], ["-V"]):
            from orchestrator.cli.flags.version import version  # noqa: PLC0415

            print(f"orchestrator {version()}")  # noqa: T201
            return 0
        with warnings_told():
            return _dispatch(argv)
    except SystemExit as stop:  # from argparse, after it has written its message
        return stop.code if isinstance(stop.code, int) else EXIT_USAGE
    except BrokenPipeError:  # whoever read what we print has left; the data's own way out is the sinks' business
        from orchestrator.sinks.disk.stdout import discard_stdout  # noqa: PLC0415

        discard_stdout()
        return 0
    except KeyboardInterrupt:
        print_error("interrupted")
        return EXIT_SIGINT


def _dispatch(argv: list[str]) -> int:
    commands = {"run": _run, "exec": _exec, "job": _job}
    command = commands.get(argv[0]) if argv else None
    if command is None:
        from orchestrator.cli.flags.parsing import did_you_mean, main_parser  # noqa: PLC0415

        if argv and not argv[0].startswith("-"):
            hint = did_you_mean(argv[0], commands) or f"; there are {', '.join(commands)}"
            print_error(f"unknown command {argv[0]!r}{hint} (see `orchestrator --help`)")
            return EXIT_USAGE
        if argv and argv[0] not in {"-h", "--help"}:
            near = did_you_mean(argv[0], ("--help", "--version"))
            hint = near or "; options come after the command, as in `orchestrator run --bar`"
            print_error(f"unknown option {argv[0]}{hint} (see `orchestrator --help`)")
            return EXIT_USAGE
        main_parser().parse_args(argv[:1])
        print_error("no command given: try `orchestrator run TARGET INPUT... -o OUT`, or see `orchestrator --help`")
        return EXIT_USAGE
    from orchestrator.errors import ConfigError  # noqa: PLC0415

    try:
        return command(argv[1:])
    except ConfigError as mistake:
        print_error(str(mistake))
        return EXIT_USAGE


# Each parses before it imports what runs, so that a mistake is told at once.


def _run(argv: list[str]) -> int:
    from orchestrator.cli.run.options import parse_run  # noqa: PLC0415

    settings = parse_run(argv)
    from orchestrator.cli.run.command import run  # noqa: PLC0415

    return run(settings)


def _exec(argv: list[str]) -> int:
    from orchestrator.cli.exec.options.parse import parse_exec  # noqa: PLC0415

    settings = parse_exec(argv)
    from orchestrator.cli.exec.command import run_exec  # noqa: PLC0415

    return run_exec(settings)


def _job(argv: list[str]) -> int:
    from orchestrator.cli.job.options import parse_job  # noqa: PLC0415

    settings = parse_job(argv)
    from orchestrator.cli.job.command import run_job  # noqa: PLC0415

    return run_job(settings)
