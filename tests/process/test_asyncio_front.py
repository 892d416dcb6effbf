"""`AsyncPool` and streams in event loops: results are awaited, sources are async, and what is cancelled ends."""

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import aclosing, suppress

import pytest
from support.scripts import ROOT, environment, run_script, start_script, succeeded
from support.waiting import Gate, Tally, is_at_rest, is_running, until

from orchestrator import AsyncPool, ClosedError, ConfigError, Failure, ItemError, Pool, Stream, WorkerDiedError
from orchestrator.event_loops.sources import AHEAD_ITEMS

MANY = 5_000


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine in a loop of each kind."""
    if request.param == "asyncio":
        return asyncio.run
    return pytest.importorskip("uvloop").run


@pytest.fixture(autouse=True)
def no_complaints(caplog):
    """Fail a test in which asyncio, or a callback of a future, complained in the log."""
    yield
    gc.collect()
    complaints = [r.getMessage() for r in caplog.records if r.name in {"asyncio", "concurrent.futures"} and r.levelno >= logging.ERROR]
    assert not complaints


@pytest.fixture(scope="module", autouse=True)
def warm_up_uvloop(warm_up):
    """Have it make its pipe for signals, one a process, before anyone counts."""
    with suppress(ImportError):
        import uvloop

        uvloop.run(asyncio.sleep(0))


@pytest.fixture(scope="module")
def shared():
    """For tests that end none of its workers."""
    with Pool(2) as pool:
        pool.submit(os.getpid).result()
        yield pool


@pytest.fixture
def own():
    with Pool(2) as pool:
        yield pool


def same(x):
    return x


def square(x):
    return x * x


def fail(x):
    raise KeyError(x)


def fail_at_three(x):
    if x == 3:
        raise ValueError(x)
    return x


def stop_iteration():
    raise StopIteration


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(tally, x):
    if x == 3 and not tally.count:
        tally.add()
        die()
    return x


def unpicklable():
    return threading.Lock()


def hang(tally, x=None):
    tally.add()
    signal.pause()


def wait_for(gate, x=None):
    gate.wait()
    return x


async def holds(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what happens in threads and workers has no event
            await asyncio.sleep(0.005)


async def expire(limit, when):
    """Have a time-out expire as soon as something holds."""
    await when
    limit.reschedule(asyncio.get_running_loop().time())


class Source:
    """An async source that knows how far it was read and whether it was closed."""

    def __init__(self, items, waits_at=None, fails_at=None):
        self.items, self.waits_at, self.fails_at = items, waits_at, fails_at
        self.read = 0
        self.closed = self.waits = False

    async def __aiter__(self):
        try:
            for item in self.items:
                if item == self.fails_at:
                    raise OSError(f"no {item}")
                if item == self.waits_at:
                    self.waits = True
                    await asyncio.Event().wait()
                self.read += 1
                yield item
        finally:
            await asyncio.sleep(0)  # as one that closes a connection
            self.closed = True


# ---- calls ----------------------------------------------------------------------------------------------------------


def test_calls_are_awaited_gathered_and_grouped(run):
    """Whatever takes an awaitable, a future or a coroutine takes a call, and each begins at once."""

    async def main():
        async with AsyncPool(2) as pool:
            assert await pool.submit(square, 3) == 9
            assert await pool.call(dict, kwargs={"timeout": 1}, timeout=30) == {"timeout": 1}
            assert await asyncio.gather(*(pool.submit(square, n) for n in range(100))) == [n * n for n in range(100)]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(pool.submit(square, n)) for n in range(5)]
            assert [task.result() for task in tasks] == [0, 1, 4, 9, 16]
            assert await asyncio.wait_for(pool.submit(square, 4), 30) == 16
            assert await asyncio.shield(pool.submit(square, 5)) == 25
            assert sorted([await each for each in asyncio.as_completed([pool.submit(same, n) for n in range(9)])]) == list(range(9))

    run(main())


def test_a_call_raises_what_its_function_raised(own):
    """Also what no coroutine may raise, a result that can't be sent, and a worker that dies."""

    async def main():
        pool = AsyncPool(own)
        with pytest.raises(KeyError, match="7"):
            await pool.submit(fail, 7)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await pool.submit(stop_iteration)
        with pytest.raises(Exception, match="can't be pickled"):
            await pool.submit(unpicklable)
        with pytest.raises(ItemError, match="can't be sent"):
            await pool.submit(same, threading.Lock())
        with pytest.raises(WorkerDiedError):
            await pool.call(die, at_most_once=True)
        with pytest.raises(ConfigError):
            pool.submit(4)
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(pool.submit(fail, 7))
                group.create_task(pool.submit(signal.pause))
        assert await pool.submit(same, 5) == 5

    asyncio.run(main())


@pytest.mark.parametrize("way", ["timeout", "cancel", "task"])
def test_a_cancelled_call_frees_its_worker(run, tmp_path, way):
    """The only worker runs the next call, though the one before it would never have ended."""

    async def main():
        async with AsyncPool(1) as pool:
            for number in range(1, 3):
                tally = Tally(tmp_path / str(number))
                if way == "timeout":
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(None) as limit:
                            expiring = asyncio.create_task(expire(limit, holds(lambda tally=tally: tally.count)))
                            await pool.submit(hang, tally)
                    await expiring
                else:
                    waiting = pool.submit(hang, tally)
                    if way == "task":
                        waiting = asyncio.create_task(waiting)
                    await holds(lambda tally=tally: tally.count)
                    assert waiting.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await waiting
                assert await asyncio.wait_for(pool.submit(same, number), 30) == number

    run(main())


def test_a_task_that_is_cancelled_before_its_first_step_ends_its_call(own, tmp_path):
    """The call has begun by then, as `submit` does not wait for the task. So does a task group that is not open."""

    async def main():
        pool = AsyncPool(own)
        for number in range(2):
            tally = Tally(tmp_path / str(number))
            call = pool.submit(hang, tally)
            until(lambda tally=tally: tally.count)
            task = asyncio.create_task(call)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert call.cancelled()
        call = pool.submit(hang, tally)
        call.close()
        assert call.cancelled()
        assert await asyncio.wait_for(pool.submit(same, 1), 30) == 1

    asyncio.run(main())
    until(lambda: is_at_rest(own))


def test_a_thousand_calls_of_which_half_are_cancelled(run, own):
    """The others give their results, and nothing of the cancelled ones stays in the pool."""

    async def main():
        pool = AsyncPool(own)
        calls = [pool.submit(same, n) for n in range(1_000)]
        for call in calls[::2]:
            call.cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert results[1::2] == list(range(1, 1_000, 2))
        assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
        await pool.close()  # finishes what it began; the pool is another's

    run(main())
    until(lambda: is_at_rest(own))
    assert own.submit(same, 1).result() == 1


def test_loops_in_threads_share_a_pool(run):
    """Each loop gets its own results, calls and maps."""
    pool = AsyncPool(2)
    found = {}

    async def main(number):
        calls = await asyncio.gather(*(pool.submit(same, (number, n)) for n in range(200)))
        mapped = [y async for y in pool.map(same, Source([(number, n) for n in range(200)]))]
        found[number] = calls == mapped == [(number, n) for n in range(200)]

    for round_ in range(2):  # loops that come later, too
        threads = [threading.Thread(target=run, args=(main(number),)) for number in range(round_ * 3, round_ * 3 + 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert found == dict.fromkeys(range(6), True)
    run(pool.close())
    assert pool.pool.size == 0


def test_a_loop_that_is_closed_while_calls_run_is_not_told(tmp_path, own):
    """The pool goes on, and nobody complains."""
    gate = Gate(tmp_path / "gate")
    loop = asyncio.new_event_loop()

    async def begin():
        pool = AsyncPool(own)
        results = pool.map(wait_for, [gate], Source(range(3), waits_at=1))
        return [pool.submit(wait_for, gate) for _ in range(4)], results, asyncio.ensure_future(anext(results))

    calls, results, waiting = loop.run_until_complete(begin())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(waiting)
    loop.close()
    gate.open()
    until(lambda: is_at_rest(own))
    assert not any(call.done() for call in calls)
    del calls, results
    gc.collect()
    assert own.submit(same, 1).result() == 1


# ---- maps -----------------------------------------------------------------------------------------------------------


def test_a_map_gives_what_pool_map_gives(run, shared):
    """From all kinds of sources, in order or not, with each way to treat errors."""

    async def main():
        pool = AsyncPool(shared)
        expected = [n * n for n in range(MANY)]
        assert [y async for y in pool.map(square, range(MANY))] == expected
        assert [y async for y in pool.map(square, iter(range(MANY)), chunk=7)] == expected
        assert [y async for y in pool.map(square, Source(range(MANY)))] == expected
        assert sorted([y async for y in pool.map(square, Source(range(MANY)), ordered=False)]) == expected
        assert [y async for y in pool.map(pow, Source(range(100)), [2] * 50)] == expected[:50]
        assert [y async for y in pool.map(pow, Source(range(50)), Source([2] * 100))] == expected[:50]
        assert [y async for y in pool.map(square, [])] == []
        assert [y async for y in pool.map(fail_at_three, range(6), on_error="skip")] == [0, 1, 2, 4, 5]
        returned = [y async for y in pool.map(fail_at_three, Source(range(6)), on_error="return", retries=1)]
        assert isinstance(returned.pop(3), Failure)
        assert returned == [0, 1, 2, 4, 5]
        results, before = pool.map(fail_at_three, range(6), chunk=1), []
        with pytest.raises(ItemError) as raised:
            async for y in results:
                before.append(y)  # noqa: PERF401 - as far as it came
        assert (before, raised.value.index, type(raised.value.__cause__)) == ([0, 1, 2], 3, ValueError)
        assert [y async for y in results] == []
        with pytest.raises(ConfigError):
            pool.map(square, [], chunk=-1)

    run(main())


def test_what_a_source_gave_before_it_raised_goes_through(shared):
    """Then comes the source's error, be it async or not."""

    def plain():
        yield from range(20)
        raise OSError("no 20")

    async def main():
        pool = AsyncPool(shared)
        for source in (Source(range(50), fails_at=20), plain()):
            found = []
            with pytest.raises(OSError, match="no 20"):
                async for y in pool.map(same, source):
                    found.append(y)  # noqa: PERF401 - as far as it came
            assert found == list(range(20))
            assert getattr(source, "closed", True)

    asyncio.run(main())


def test_items_that_a_source_fills_anew_arrive_as_they_were(shared):
    """An async source may give one buffer over and over."""

    async def refilled():
        row = {}
        for n in range(100):
            row["n"] = n
            yield row

    async def main():
        assert [y["n"] async for y in AsyncPool(shared).map(same, refilled())] == list(range(100))
        assert [y["n"] async for y in Stream(refilled()).map(same)] == list(range(100))

    asyncio.run(main())


def test_results_come_while_an_async_source_waits(shared):
    """A source may go by the results: each item depends on the one before."""

    async def main():
        results = asyncio.Queue()
        results.put_nowait(0)

        async def fed_back():
            while (got := await results.get()) < 50:
                yield got

        async for y in AsyncPool(shared).map(same, fed_back()):
            results.put_nowait(y + 1)
        assert y == 49

    asyncio.run(main())


def test_a_slow_consumer_holds_up_the_source(shared):
    """While nobody takes results an async source is read a few items further than a plain one, and no more."""
    read = 0

    def plain():
        nonlocal read
        for n in range(10**9):
            read += 1
            yield bytes([n % 256]) * 100_000

    async def async_source():
        for item in plain():
            yield item

    async def main():
        nonlocal read
        far = {}
        with Pool(2, buffer_bytes="4M") as small:
            for name, source in (("plain", plain()), ("async", async_source())):
                read = 0
                async with AsyncPool(small).map(len, source, chunk=1) as results:
                    assert await anext(results) == 100_000
                    await asyncio.sleep(0.5)
                    far[name] = read
        assert far["plain"] < 500
        assert far["async"] < 500 + 2 * AHEAD_ITEMS

    asyncio.run(main())


@pytest.mark.parametrize("way", ["timeout", "aclose", "dropped", "cancelled"])
def test_a_map_that_is_left_ends_and_frees_its_workers(run, tmp_path, way):
    """The workers are at items that would never end, the source waits; then another call runs in each worker."""

    async def main():
        async with AsyncPool(2) as pool:
            tally = Tally(tmp_path / "tally")
            source = Source([0, 1, 2], waits_at=2)
            results = pool.map(hang, [tally] * 3, source, chunk=1)

            async def is_under_way():
                await holds(lambda: tally.count == 2 and source.waits)

            if way == "timeout":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(None) as limit:
                        expiring = asyncio.create_task(expire(limit, is_under_way()))
                        async for _ in results:
                            pass
                await expiring
            else:
                waiting = asyncio.ensure_future(anext(results))
                await is_under_way()
                if way == "aclose":
                    await results.aclose()
                    with pytest.raises(ClosedError):
                        await waiting
                else:
                    waiting.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await waiting
            if way == "dropped":
                del results, waiting
            else:
                with pytest.raises(ClosedError):
                    await anext(results)
            assert await asyncio.wait_for(asyncio.gather(*(pool.submit(same, n) for n in range(10))), 30) == list(range(10))
            await holds(lambda: source.closed)

    run(main())


def test_leaving_a_map_of_short_items_costs_no_worker():
    """A worker that finishes what it has within a moment stays."""

    async def main():
        async with AsyncPool(2) as pool:
            pids = {each.pid for each in pool.pool.workers}
            for _ in range(5):
                async with aclosing(pool.map(same, range(10**6))) as results:
                    async for _ in results:
                        break
            assert {each.pid for each in pool.pool.workers} == pids

    asyncio.run(main())


def test_results_that_are_dropped_end_their_map(shared):
    """Without a word: the thread ends, the source is closed, and the pool has nothing in flight."""

    async def main():
        source = Source(range(10**6))
        async for _ in AsyncPool(shared).map(same, source):
            break
        await holds(lambda: source.closed)
        await holds(lambda: not [each for each in threading.enumerate() if each.name == "orchestrator-results"])

    asyncio.run(main())
    until(lambda: is_at_rest(shared))


def test_an_unread_map_is_told_of(shared):
    """As with `Pool.map`; not if it was closed on purpose."""

    async def main():
        pool = AsyncPool(shared)
        async with pool.map(same, Source(range(3))):
            pass
        with pytest.warns(ResourceWarning, match="dropped unread"):
            pool.map(same, Source(range(3)))

    asyncio.run(main())


def test_tasks_share_the_results_of_a_map(shared):
    """Each result goes to one of them, and all see the end."""

    async def main():
        results, found = AsyncPool(shared).map(same, Source(range(300)), chunk=1), []

        async def take():
            async for y in results:
                found.append(y)
                await asyncio.sleep(0)

        await asyncio.gather(*(take() for _ in range(5)))
        assert sorted(found) == list(range(300))

    asyncio.run(main())


def test_a_worker_that_dies_in_a_map_costs_nothing(own, tmp_path):
    """Its items run again."""

    async def main():
        tally = Tally(tmp_path / "tally")
        assert [y async for y in AsyncPool(own).map(die_once, [tally] * 20, Source(range(20)))] == list(range(20))
        assert tally.count == 1

    asyncio.run(main())


# ---- ending ---------------------------------------------------------------------------------------------------------


def test_leaving_the_block_waits_for_calls_and_the_loop_goes_on(run, tmp_path):
    """A call ends only because the loop still runs something else."""
    gate = Gate(tmp_path / "gate")

    async def open_it():
        await asyncio.sleep(0.05)
        gate.open()

    async def main():
        async with AsyncPool(2) as pool:
            call = pool.submit(wait_for, gate, 7)
            opening = asyncio.create_task(open_it())
        assert call.result() == 7
        await opening
        with pytest.raises(ClosedError):
            pool.submit(same, 1)
        with pytest.raises(ClosedError):
            pool.map(same, [1])

    run(main())


@pytest.mark.parametrize("way", ["raises", "is cancelled", "close is cancelled"])
def test_a_block_that_fails_ends_the_workers(run, tmp_path, way):
    """Calls, maps and workers are gone when it is left."""
    tally, pids = Tally(tmp_path / "tally"), []

    async def body():
        async with AsyncPool(2) as pool:
            pids.extend(each.pid for each in pool.pool.workers)
            call = pool.submit(hang, tally)
            mapped = asyncio.ensure_future(anext(pool.map(hang, [tally])))
            await holds(lambda: tally.count == 2)
            if way == "raises":
                mapped.cancel()
                raise KeyError("mine")
            if way == "is cancelled":
                await asyncio.gather(call, mapped)

    async def main():
        with pytest.raises(KeyError if way == "raises" else asyncio.CancelledError):
            task = asyncio.create_task(body())
            if way != "raises":
                await holds(lambda: tally.count == 2)
                await asyncio.sleep(0.1)
                task.cancel()
            await task
        assert not any(is_running(pid) for pid in pids)

    run(main())


def test_a_pool_that_exists_stays_open(own, tmp_path):
    """A block over it finishes its own calls, or ends them if it fails; others of the pool go on."""
    gate, tally = Gate(tmp_path / "gate"), Tally(tmp_path / "tally")

    async def main():
        others = own.submit(wait_for, gate, 1)
        async with AsyncPool(own) as pool:
            call = pool.submit(same, 2)
        assert call.result() == 2
        with pytest.raises(KeyError):
            async with AsyncPool(own) as pool:
                call = pool.submit(hang, tally)
                await holds(lambda: tally.count)
                raise KeyError
        with pytest.raises(asyncio.CancelledError):
            await call
        gate.open()
        assert others.result(30) == 1
        with pytest.raises(ConfigError, match="start_method"):
            AsyncPool(own, start_method="spawn")

    asyncio.run(main())


def test_the_serial_engine_serves():
    """For debuggers: calls run in the loop's thread, maps in theirs."""

    async def main():
        async with AsyncPool(engine="serial") as pool:
            assert await pool.submit(os.getpid) == os.getpid()
            assert [y async for y in pool.map(square, Source(range(5)))] == [0, 1, 4, 9, 16]

    asyncio.run(main())


# ---- streams --------------------------------------------------------------------------------------------------------


def test_a_stream_is_iterated_by_async_for(shared):
    """With a pool of its own or one that is there; async sources are read in this very loop."""
    loops = []

    async def source():
        for n in range(500):
            loops.append(asyncio.get_running_loop())
            yield n
            await asyncio.sleep(0)

    async def main():
        expected = [n * n for n in range(500)]
        assert [y async for y in Stream(range(500)).map(square)] == expected
        assert [y async for y in Stream(source()).map(square)] == expected
        assert [y async for y in Stream(source()).map(square).iterate_async(shared)] == expected
        assert [y async for y in Stream(source()).map_inline(square)] == expected
        merged = Stream.merge(Stream(source()), Stream(source())).map(square)
        assert sorted([y async for y in merged.iterate_async(shared)]) == sorted(expected * 2)
        assert set(loops) == {asyncio.get_running_loop()}
        assert Stream(Stream(range(5)).map_inline(square)).collect() == [0, 1, 4, 9, 16]
        with pytest.raises(ItemError):
            [y async for y in Stream(source()).map(fail).iterate_async(shared)]

    asyncio.run(main())


@pytest.mark.parametrize("inline", [False, True])
def test_a_stream_is_left_while_its_source_waits(run, shared, inline):
    """Its source is closed in its loop, and the pool has nothing in flight."""

    async def main():
        source = Source(range(100), waits_at=50)
        stream = Stream(source).map_inline(square) if inline else Stream(source).map(square)
        found = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                expiring = asyncio.create_task(expire(limit, holds(lambda: len(found) == 50)))
                async for y in stream.iterate_async(shared):
                    found.append(y)  # noqa: PERF401 - as far as it came
        await expiring
        assert found == [n * n for n in range(50)]
        await holds(lambda: source.closed)

    run(main())
    until(lambda: is_at_rest(shared))


# ---- whole programs -------------------------------------------------------------------------------------------------

OPEN = """
    import asyncio, signal, sys, time
    from orchestrator import AsyncPool

    def hang(x):
        print("begun", flush=True)
        time.sleep(600)

    async def source():
        yield 1
        await asyncio.sleep(600)

    async def main():
        {body}
"""


@pytest.mark.parametrize("runner", ["asyncio.run(main())", "loop = asyncio.new_event_loop(); loop.run_until_complete(main())"])
def test_the_interpreter_exits_with_an_open_pool(tmp_path, runner):
    """At once and quietly, whatever runs and waits."""
    body = """
        global pool, calls, results
        pool = AsyncPool(2)
        results = pool.map(abs, source())
        assert await anext(results) == 1
        calls = [pool.submit(hang, n) for n in range(3)]
        await asyncio.sleep(0.2)
    """
    text = OPEN.format(body=body.strip()) + f"\n    {runner}\n"
    assert "Traceback" not in succeeded(run_script(tmp_path, text))


@pytest.mark.parametrize("what", ["await pool.submit(hang, 1)", "[y async for y in pool.map(hang, source())]"])
def test_ctrl_c_ends_the_program(tmp_path, what):
    """The block is left as by any other cancellation: KeyboardInterrupt, no process, no complaint."""
    text = OPEN.format(body=f"async with AsyncPool(1) as pool:\n            {what}") + "\n    asyncio.run(main())\n"
    with start_script(tmp_path, text) as program:
        assert program.stdout.readline() == "begun\n"
        program.send_signal(signal.SIGINT)
        _, told = program.communicate(timeout=60)
    assert told.strip().endswith("KeyboardInterrupt")
    assert "Task was destroyed" not in told
    assert "never awaited" not in told
    assert "Exception ignored" not in told


def test_asyncio_is_not_loaded_for_others():
    """It takes longer than the whole package."""
    program = "import sys, orchestrator; orchestrator.Pool; orchestrator.Stream; print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment(), cwd=ROOT)
    assert done.stdout == "False\n"
