"""Locks, queues, events, values and pipe ends of `multiprocessing`, as initargs, in closures and as globals."""

import pytest
from support.scripts import run_script, succeeded

PROGRAM = """
import multiprocessing as mp, sys
from orchestrator import Pool
method = sys.argv[1]
ctx = mp if sys.argv[2] == "default" else mp.get_context(sys.argv[2])
lock_of_main, value_of_main = ctx.Lock(), ctx.Value("i", 0)

def init(*given):
    global lock, queue, event, value, semaphore, end, condition, array, simple, joinable
    lock, queue, event, value, semaphore, end, condition, array, simple, joinable = given

def work(x):
    with lock: value.value += 1
    with semaphore, array.get_lock(): array[0] += 1
    queue.put(x)
    joinable.put(x)
    simple.put(x)
    event.wait(30)
    with condition: condition.notify_all()
    for _ in range(50):
        with lock_of_main: value_of_main.value += 1
    return x

def answer(x): end.send([x, end.recv()])

here, there = ctx.Pipe()
given = (ctx.Lock(), ctx.Queue(), ctx.Event(), ctx.Value("i", 0), ctx.BoundedSemaphore(2), there, ctx.Condition(),
         ctx.Array("d", 3), ctx.SimpleQueue(), ctx.JoinableQueue())
with Pool(2, start_method=method, initializer=init, initargs=given) as pool:
    results = pool.map(work, range(10), chunk=1)
    given[2].set()
    assert list(results) == list(range(10))
    assert (given[3].value, given[7][0], value_of_main.value) == (10, 10.0, 500)
    assert sorted(given[1].get(timeout=30) for _ in range(10)) == list(range(10))
    assert sorted(given[8].get() for _ in range(10)) == list(range(10))
    for _ in range(10): given[9].get(timeout=30); given[9].task_done()
    given[9].join()
    future = pool.submit(answer, 1)
    here.send("asked")
    assert future.result() is None and here.recv() == [1, "asked"]
    with given[0]: pass  # the program's own object is the same lock
    with given[6]: given[6].notify_all()

in_closure = ctx.Lock()
def closed_over():
    inner = in_closure
    def init():
        with inner: global entered; entered = True
    return init
with Pool(1, start_method=method, initializer=closed_over()) as pool:
    assert pool.submit(lambda: entered).result()
print("done")
"""


@pytest.mark.parametrize("context", ["default", "spawn", "fork"])
@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_they_are_sent_with_the_start(tmp_path, method, context):
    assert succeeded(run_script(tmp_path, PROGRAM, method, context)) == "done\n"


def test_a_lock_that_others_may_have_is_refused(tmp_path):
    text = """
    import multiprocessing as mp, time
    from orchestrator import Pool, OrchestratorError
    lock = mp.get_context("fork").Lock()
    held = mp.get_context("fork").Event()
    other = mp.get_context("fork").Process(target=held.wait)
    other.start()
    try: Pool(1, initializer=print, initargs=(lock,))
    except OrchestratorError as error: print(error)
    held.set()
    other.join()
    """
    assert 'make it with multiprocessing.get_context("spawn")' in succeeded(run_script(tmp_path, text))
