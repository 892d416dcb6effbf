"""Writes an output behind a URL with fsspec, as a multipart upload that is visible only when it is complete.

Owner of the state: the coordinator's thread.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from orchestrator.errors import ConfigError, OrchestratorError
from workers.records.remote import Options, RemoteError, file_system


class RemoteOutput:
    """One output behind a URL.

    What was sent before it is complete, the server forgets if it is abandoned.
    """

    in_place = False

    def __init__(self, url: str, options: Options = ()) -> None:
        """Take the URL, and the options of its file system.

        Raises:
            ConfigError: it can't be written to.
        """
        self.path = url
        try:
            self._fs, self._name = file_system(url, options)
        except RemoteError as mistake:
            raise ConfigError(str(mistake)) from None
        self._file: Any = None
        self._final = False

    def open(self) -> None:
        """Begin the upload.

        Raises:
            OrchestratorError: the server refuses it.
        """
        if self._file is None:
            self._file = self._tried(lambda: self._fs.open(self._name, "wb", autocommit=False))

    def write(self, data: memoryview | bytes) -> None:
        """Append data.

        Raises:
            OrchestratorError: it can't be sent.
        """
        self.open()
        self._tried(lambda: self._file.write(bytes(data)))

    def close(self) -> None:
        """Send what is left, and make the output visible."""
        self.open()
        self._tried(self._file.close)
        self._tried(self._file.commit)
        self._final = True

    def abort(self) -> None:
        """Abandon the upload."""
        if self._file is not None and not self._final:
            with suppress(Exception):  # whatever the server makes of it, the output is not visible
                self._file.discard()
            try:
                self._file.closed = True  # or its finalizer would send the rest
            except AttributeError:  # a file of the system, or in memory: nothing is left to send
                self._file.close()
            self._file = None

    discard = abort

    def sync_ahead(self) -> None:
        """Do nothing: an upload has nothing to sync."""

    @property
    def is_final(self) -> bool:
        """Whether the output is complete."""
        return self._final

    def keep_as(self, _secret: str) -> None:
        """Refuse, as an upload can't be continued by another process.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{self.path} is uploaded as a whole, so its run can't be resumed; write to a file first")

    def snapshot(self) -> Any:
        """Never called, as `keep_as` refuses."""
        raise NotImplementedError

    def restore(self, state: Any) -> None:
        """Never called, as `keep_as` refuses."""
        raise NotImplementedError

    def _tried(self, call: Any) -> Any:
        try:
            return call()
        except Exception as error:  # each file system has errors of its own
            said = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, NotImplementedError):
                said = "files behind such URLs can only be read"
            raise OrchestratorError(f"can't write to {self.path}: {said}") from error
