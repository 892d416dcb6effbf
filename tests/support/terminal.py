"""A terminal with a shell of a few lines: one foreground job, Ctrl-Z stops it, `resume` is `fg`."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.scripts import environment

DEADLINE_S = 60
_SHELL = """
import fcntl, os, signal, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = subprocess.Popen(sys.argv[1:], process_group=0, preexec_fn=lambda: signal.signal(signal.SIGTTOU, signal.SIG_DFL))
os.tcsetpgrp(0, job.pid)
while True:
    _, status = os.waitpid(job.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    print("<stopped>", flush=True)
    signal.sigwait({signal.SIGUSR1})
    os.killpg(job.pid, signal.SIGCONT)
print(f"<ended {os.waitstatus_to_exitcode(status)}>", flush=True)
"""


class Terminal:
    """Runs one program in the foreground of a terminal."""

    def __init__(self, *command: str, cwd: Path) -> None:
        self._master, slave = pty.openpty()
        self._shell = subprocess.Popen(
            [sys.executable, "-c", "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n" + _SHELL, *command],
            stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=environment(), start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.text = ""

    def wait_for(self, text: str) -> str:
        """Read until a text is shown; return all that was shown so far."""
        end = time.monotonic() + DEADLINE_S
        while text not in self.text:
            ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no {text!r} in:\n{self.text}"
            try:
                self.text += os.read(self._master, 65536).decode(errors="replace")
            except OSError:  # the last program that had it open has ended
                assert text in self.text, f"no {text!r} in:\n{self.text}"
        return self.text

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self._master, keys)

    def resume(self) -> None:
        """Have the shell continue its job."""
        self._shell.send_signal(signal.SIGUSR1)

    def close(self) -> None:
        """End all that there still is."""
        with contextlib.suppress(ProcessLookupError):
            self._shell.kill()
        self._shell.wait()
        os.close(self._master)
