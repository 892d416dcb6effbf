"""CPython's own barrier tests, unchanged, with our class in place of theirs; run by tests/process/test_barrier.py."""

import multiprocessing
import multiprocessing.dummy
import threading
import unittest

from test import _test_multiprocessing as theirs

from orchestrator import Barrier


class TestOfProcesses(theirs._TestBarrier, unittest.TestCase):
    TYPE = "processes"
    Process = multiprocessing.Process
    Barrier = Barrier
    BrokenBarrierError = threading.BrokenBarrierError
    Event, Lock, Value, Pipe = (staticmethod(getattr(multiprocessing, n)) for n in ("Event", "Lock", "Value", "Pipe"))
    Condition, Queue = (staticmethod(getattr(multiprocessing, n)) for n in ("Condition", "Queue"))
    current_process = staticmethod(multiprocessing.current_process)


class TestOfThreads(theirs._TestBarrier, unittest.TestCase):
    TYPE = "threads"
    Process = multiprocessing.dummy.Process
    Barrier = Barrier
    BrokenBarrierError = threading.BrokenBarrierError
    Event, Lock, Value, Pipe = (staticmethod(getattr(multiprocessing.dummy, n)) for n in ("Event", "Lock", "Value", "Pipe"))
    Condition, Queue = (staticmethod(getattr(multiprocessing.dummy, n)) for n in ("Condition", "Queue"))
    current_process = staticmethod(multiprocessing.dummy.current_process)
