"""The text of `exec --help`, made of the table of options."""

from __future__ import annotations

import argparse

from orchestrator.cli.exec.options.table import GROUPS
from orchestrator.cli.flags.parsing import Parser

_USAGE = """orchestrator exec [options] COMMAND [INPUT...]
       orchestrator exec [options] COMMAND ::: ARGUMENT... [:::+ ARGUMENT...] [:::: FILE...]"""
_EXAMPLES = """\
places in COMMAND (without one, the argument is appended):
  {}  the argument     {.}  without extension     {/}  without folder     {//}  its folder     {/.}  both
  {1} {2} {-1} {1/.}   of the first, second, last group of arguments      {name}  of the column of that name (--header)
  {#}  number of the command, from 1              {%}  slot that it runs in, from 1 to the number of workers
  {py: expression}     in Python; _ is the argument, args are all, and there are seq, slot, os and re: {py: _.upper()}
  Arguments are passed literally, inside quotes too: exec 'echo "{}"' is right. The shell never runs their contents.
  Placeholders are refused where the shell would evaluate them again: in backticks, ${…}, arithmetic, here-documents
  and the code of eval, trap, ssh and sh -c. Write sh -c 'cat "$1"' sh {}, or set a variable first: x={}; cat <<END …

examples:
  Compress, with all CPUs:
    orchestrator exec 'gzip -k {}' logs/*.txt --bar

  Every combination; then two lists in step:
    orchestrator exec 'convert {1} -resize {2} {1.}-{2}.png' ::: *.png ::: 100 200
    orchestrator exec mv {1} {2} ::: a b :::+ c d

  Arguments from a file, from standard input:
    orchestrator exec 'curl -sO {}' :::: urls.txt
    find . -name '*.mp3' -print0 | orchestrator exec -0 'mp3gain -q {}'

  Commands that are arguments themselves:
    orchestrator exec ::: 'make docs' 'make test'

  Stop once a tenth have failed; log what ran; later run what failed or did not run:
    orchestrator exec --halt soon,fail=10% --joblog log 'fetch {}' :::: urls.txt
    orchestrator exec --joblog log --resume-failed 'fetch {}' :::: urls.txt

  Our options stand before ::: or ::::, as with GNU parallel: all that follows is arguments. Without ::: :::: or -a, the
  first word is the command and the others are its arguments; but if one of these has a place in it and is no file's
  name, all are the command, and its arguments are the lines of standard input:
    ls *.jpg | orchestrator exec convert {} {.}.png

Commands run by the shell -c, with /dev/null as their input, and $PARALLEL_SEQ and $PARALLEL_JOBSLOT in their
environment. What one writes is passed on when it has ended (and all before it, unless --unordered), stdout to stdout,
stderr to stderr, never mixed. On Ctrl-C, --halt now or --timeout, a running command gets SIGTERM, then SIGKILL a second
later, with all it started. What a command leaves in the background ends with the run. A command whose worker dies runs
again. `kill -USR1 PID` prints what is running.

Where GNU parallel differs, on purpose, and --gnu (or the command orchestrator-parallel) does as it does:
                              exec                               GNU parallel, --gnu
  order of the output         of the input; --unordered          as commands end; -k
  words without ::: or -a     the first is the command           all are the command
  --retries N                 tries after the first              all tries
  job log                     a line for each try                a line for each command
  exit code                   1 if some failed                   how many failed; 101: more than 100
  --halt soon, now            3 (success=N: 0)                   the failing command's; for N > 1 how many failed
  a summary at the end        yes; --quiet                       no
In both, an argument is never run by the shell, wherever it stands: GNU parallel quotes as if every place were bare.

exit codes: 0 success, 1 finished with failures, 2 a mistake in the command (nothing was started), 3 stopped by --halt,
130 Ctrl-C, 143 SIGTERM, 129 SIGHUP
"""


def exec_parser() -> Parser:
    """Return a parser that knows the options and prints the help.

    The words themselves are read by `tokens.py`.
    """
    parser = Parser(
        prog="orchestrator exec",
        usage=_USAGE,
        description="Runs a command for every argument, several at once, as GNU parallel does.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    add = parser.add_argument
    add("command", metavar="COMMAND", nargs="?", help="a shell command line; its places are listed below")
    add("inputs", metavar="INPUT", nargs="*", help="the arguments (default: the lines of standard input)")
    for title, options in GROUPS.items():
        group = parser if title == "options" else parser.add_argument_group(title)
        for option in options:
            told = option.told or argparse.SUPPRESS
            if option.value is None:
                group.add_argument(*option.names, action="store_true", help=told)
            else:
                group.add_argument(*option.names, metavar=option.value, help=told)
    return parser
