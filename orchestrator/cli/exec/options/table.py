"""The table of all options of `exec`, and of GNU parallel's that it answers with another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Option:
    """An option under all its names."""

    names: tuple[str, ...]
    told: str = ""
    """What `--help` says; "": it is not told."""
    value: str | None = None
    """What its value is called; None: it takes none."""
    sets: Any = True
    """What one without a value sets."""
    key: str = ""
    """The setting; "": the longest name."""
    gathers: bool = False
    """Whether it may be given several times."""
    may_lack: Any = None
    """The value where none is attached, of options whose value may be missing."""

    @property
    def setting(self) -> str:
        """The name of what it sets."""
        return self.key or self.names[-1].lstrip("-").replace("-", "_")


def _of(names: str, told: str = "", value: str | None = None, **more: Any) -> Option:
    return Option(tuple(names.split()), told, value, **more)


JOBS = (
    "workers: 4, 50%% of the CPUs, or the CPUs +1 or -1 (default: one per CPU); 0: as many as may be; or a file that "
    "holds one of these, reread during the run (at once on SIGHUP), where 0 pauses; or auto, auto:8, auto:2-8: as many "
    "as the machine has room for (default range: 1 to the number of CPUs)"
)

GROUPS: dict[str, tuple[Option, ...]] = {
    "options": (
        _of("-h --help", "show this help message and exit"),
        _of("-o --output", "write the commands' standard output to this file; it is compressed if its name ends in "
            ".gz .bz2 .xz .zst", "OUT"),
        _of("-P --max-procs -j --jobs", JOBS, "N"),
        _of("--engine", value="NAME"),
        _of("--gnu", "take GNU parallel's defaults where ours differ (below), as orchestrator-parallel does"),
        _of("-q --quote", "quote the words of COMMAND, so that the shell sees no special characters in them"),
        _of("--shell", "the shell, a POSIX one (default: $PARALLEL_SHELL, $SHELL if it is a POSIX shell, /bin/sh)",
            "SHELL"),
        _of("--will-cite"), _of("--no-notice"), _of("--group --no-ungroup", key="mode", sets="group"),
    ),
    "arguments": (
        _of("-a --arg-file", "read arguments from FILE, - for standard input; may be given several times", "FILE",
            gathers=True),
        _of("-0 --null", "arguments in files and on standard input end with NUL"),
        _of("-d --delimiter", r"they end with CHAR, also as \t, \0, \x1f", "CHAR"),
        _of("--colsep -C", "split each into the columns {1}, {2} …, at this regular expression", "RE", key="colsep"),
        _of("--csv", "split each as CSV; the separator is a comma, or that of --colsep"),
        _of("--header", "with : each source's first argument is the name of its places: {name}; with --pipe the first "
            "line, or the first N lines, are put before each block", ": or N"),
        _of("--xapply --link", "read all sources in step, the shorter ones over and over"),
        _of("-n --max-args", "up to N arguments a command", "N"),
        _of("-N --max-replace-args", "the same, and each of the words with a place {} in them once for each; with "
            "--pipe: N records a block", "N"),
        _of("-L --max-lines", "the same as -N, and a line that ends in a blank continues in the next one; with --pipe: "
            "N lines make a record", "N"),
        _of("-m --fill", "as many arguments a command as fit, spread over the workers"),
        _of("-X --xargs-words", "the same, and each of the words with a place {} in them once for each", key="words"),
        _of("-I --replace", "use TEXT instead of {}", "TEXT"),
        _of("--plus", "more places: {..} {...} {/..} {/...} {+/} {+.} {+..} {+...} {##} {:-default} {%%suffix} "
            "{#prefix}"),
        _of("--arg-sep", "use WORD instead of :::", "WORD"),
        _of("--arg-file-sep", "use WORD instead of ::::", "WORD"),
        _of("--shuf", "run the commands in random order"),
        _of("-r --no-run-if-empty", "skip arguments that are blank"),
    ),
    "blocks of standard input": (
        _of("--spreadstdin --pipe", "give the commands blocks of standard input as theirs: whole records", key="pipe"),
        _of("--pipe-part --pipepart", "give them byte ranges of -a FILE, which is read by nobody else", key="pipepart"),
        _of("--block-size --block", "up to so many bytes a block: 10M, 100k (1,000s); with --pipepart -N: N blocks "
            "a worker (default: 1M)", "SIZE"),
        _of("--recend", r"what ends a record (default: \n, or nothing with --recstart)", "TEXT"),
        _of("--recstart", "what begins one", "TEXT"),
        _of("--roundrobin --rr --round-robin", "start a command a worker, and deal the blocks out to them as they are "
            "ready to read", key="round_robin"),
        _of("--cat", "give a command its block as the file {}"),
    ),
    "order of the output": (
        _of("-k --keep-order", "write results in the order of the input (default)", key="ordered"),
        _of("--unordered", "write results when they are ready", key="ordered", sets=False),
        _of("-u --ungroup", "let commands write where we do, while they run: lines are mixed", key="mode",
            sets="ungroup"),
        _of("--lb --linebuffer --line-buffer", "pass on whole lines while commands run", key="mode", sets="lines"),
        _of("--tag", "begin each line of output with the arguments and a tab"),
        _of("--tagstring", "begin each line with this text, which may have places in it, and a tab", "TEXT"),
        _of("-v --verbose", "print each command line before its output"),
        _of("-t", "print each command line on stderr before it starts", key="traced"),
        _of("--results", "write what commands write to DIR/…/stdout and stderr, to files that a name with places in it "
            "gives (an argument may have ../ in it), or into a table FILE.csv, FILE.tsv or FILE.json, instead", "DIR"),
        _of("--files", "write the output of each command to a file in --tmpdir, and print its name"),
        _of("--tmpdir", "folder of temporary files (default: $TMPDIR or /tmp)", "DIR"),
    ),
    "failures": (
        _of("--timeout", "kill a command that runs longer, with all it started, and count it as failed; N%%: of the "
            "median of those that succeeded so far", "S"),
        _of("--retries", "retry a failed command up to N times (GNU parallel's N counts the first run too)", "N"),
        _of("--retry-delay", "seconds before the first retry, doubled for each one after", "S"),
        _of("--dead-letter", "write every command that failed to FILE as a JSON line: arguments, command line, exit "
            "value, signal, and the beginning of what it wrote", "FILE"),
        _of("--retry-dead", "take the arguments from the commands that an earlier run wrote to --dead-letter FILE",
            "FILE"),
        _of("--halt --halt-on-error", "stop early: soon,fail=1 starts no more commands after the first failure; "
            "now,fail=1 also kills those that run; also fail=N%%, success=…, done=…; percentages are of all commands "
            "(default: never)", "WHEN", key="halt"),
    ),
    "limits": (
        _of("--delay", "wait so long between two starts: 0.5", "S"),
        _of("--load --max-load", "start nothing new while the load average is higher: 4, or 80%% of the CPUs", "N",
            key="load"),
        _of("--limit", "start nothing new unless this command line succeeds; it is run before each start", "COMMAND"),
        _of("--workdir --cwd --wd", "run commands in this folder, which may have places in it and is made if it is "
            "missing", "DIR", key="wd"),
        _of("--env", value="NAME", gathers=True),
        _of("--memfree", "start nothing new while less memory is free (on the machine or in this control group); below "
            "half of it the newest work is stopped and retried later; one worker always keeps running", "SIZE"),
        _of("--nice", "run the workers at a lower CPU priority: 1 to 19 (lowest)", "N"),
        _of("--threads-per-worker", "threads that BLAS, OpenMP, MKL, numexpr and numba may use in each worker; 0: no "
            "limit (default)", "N"),
    ),
    "logs and dry run": (
        _of("--joblog", "write a line for each attempt at a command, in GNU parallel's columns", "FILE"),
        _of("--resume", "skip commands that --joblog FILE lists"),
        _of("--resume-failed", "like --resume, but rerun the commands that failed"),
        _of("--trace", "write a timeline for ui.perfetto.dev or chrome://tracing: a track per worker, with what ran "
            "when, retries, timeouts and deaths", "FILE"),
        _of("--report", "write a JSON summary when the run ends", "FILE"),
        _of("--retry-failed", "run the command lines again that --joblog FILE lists as failed"),
        _of("--dryrun --dry-run", "print the commands without running or importing anything"),
    ),
    "display (all on stderr)": (
        _of("--bar", "a progress bar with rate and remaining time", key="show", sets="bar"),
        _of("--eta", "the remaining time, in one line", key="show", sets="eta"),
        _of("--progress", "a progress bar, and a line per worker", key="show", sets="workers"),
        _of("--silent --quiet", "print no summary at the end"),
    ),
}  # fmt: skip

ELSEWHERE = {
    **dict.fromkeys(
        ("-S", "--sshlogin", "--slf", "--sshloginfile", "--ssh", "--transfer", "--transferfile", "--trc", "--return",
         "--cleanup", "--basefile", "--bf", "--onall", "--nonall", "--filter-hosts", "--hostgroups", "--controlmaster"),
        'commands run on this machine alone; a Dask cluster runs functions: Pool(engine="dask")',
    ),
    **dict.fromkeys(("-p", "--interactive", "--tty", "--tmux", "--tmuxpane", "--fg", "-i"), "see --dry-run"),
    **dict.fromkeys(("--sem", "--semaphore", "--semaphoretimeout", "--semaphorename", "--id", "--bg"),
                    "flock(1) runs one command at a time"),
    **dict.fromkeys(("--fifo",), "use --cat, which gives {} a file"),
    **dict.fromkeys(("--shard", "--bin", "--group-by", "--groupby", "--tee", "--sql", "--sqlmaster", "--sqlworker",
                     "--sqlandworker"), "a flow does that: orchestrator job"),
    **dict.fromkeys(("--rpl", "--parens", "-U", "--extensionreplace", "--er", "--basenamereplace", "--bnr",
                     "--seqreplace", "--trim"), "write {py: expression}"),
    **dict.fromkeys(("-s", "--max-chars", "-x", "--exit"), "use -n N"),
    **dict.fromkeys(("-l",), "use -L 1"),
    **dict.fromkeys(("--ctag", "--ctagstring", "--color", "--colour"), "use --tag"),
    **dict.fromkeys(("--latest-line", "--ll"), "use --progress"),
    **dict.fromkeys(("--memsuspend", "--noswap", "--no-swap"), "use --memfree SIZE"),
    **dict.fromkeys(("-J", "--profile", "--record-env", "--env-parallel", "--session", "--embed", "--shebang"),
                    "write the options into the command"),
    **dict.fromkeys(("-E", "--eof", "-e"), "cut the input with sed: sed '/^END$/,$d'"),
}  # fmt: skip
"""GNU parallel's options that there are none of here -> what to do instead."""


def known() -> dict[str, Option]:
    """Return every option by each of its names."""
    return {name: option for group in GROUPS.values() for option in group for name in option.names}
