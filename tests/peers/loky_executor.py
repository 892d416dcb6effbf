"""Our executor with the arguments that loky's has beside the standard library's, for loky's own tests."""

from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from types import SimpleNamespace

from orchestrator import Executor
from orchestrator.errors import ClosedError
from orchestrator.fronts.executor import TerminatedWorkerError


class ProcessPoolExecutor(Executor):
    """Takes `context`, whose start method "loky" is our default, and `shutdown(kill_workers)`."""

    def __init__(self, max_workers=None, context=None, initializer=None, initargs=()):
        """Break at the first death, as theirs."""
        ours = None if context is None or context.get_start_method() == "loky" else context
        super().__init__(max_workers, ours, initializer, initargs, on_death="break")

    def shutdown(self, wait=True, kill_workers=False):
        """Shut down, or kill."""
        if kill_workers:
            self.kill_workers()
        else:
            super().shutdown(wait)

    @property
    def _flags(self):
        """What the tests' teardown asks for."""
        broken = self._state.broken
        return SimpleNamespace(broken=None if isinstance(broken, ClosedError) else broken, shutdown=self._shut)


def put_in_place(module):
    """Give loky's module our classes; to be killed or shut down is no kind of exception of its own with us."""
    ProcessPoolExecutor.__module__ = module.__name__  # whose workers find it there
    module.ProcessPoolExecutor = ProcessPoolExecutor
    module.TerminatedWorkerError, module.BrokenProcessPool = TerminatedWorkerError, BrokenProcessPool
    module.ShutdownExecutorError, module._RemoteTraceback = RuntimeError, _RemoteTraceback
