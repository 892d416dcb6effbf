"""Files behind URLs are read in ranges by the workers and written whole: real servers on loopback, in processes or threads."""

import gzip
import os
import re
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestrator import ConfigError, Stream

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

LINES = [f"line {number}" for number in range(20_000)]
DATA = "".join(f"{line}\n" for line in LINES).encode()


class Server(ThreadingHTTPServer):
    """Serves one file in ranges; `faults` says what becomes of the next requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.ranges, self.data = [], [], DATA
        self.url = f"http://127.0.0.1:{self.server_port}/in.txt"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(200 if self.path == "/in.txt" else 404, b"", len(self.server.data))

    def do_GET(self):
        data, asked = self.server.data, self.headers.get("Range")
        if asked:
            start, end = map(int, re.findall(r"\d+", asked))
            self.server.ranges.append((start, end))
            data = data[start : end + 1]
        fault = 404 if self.path != "/in.txt" else self.server.faults.pop(0) if self.server.faults else None
        if isinstance(fault, int):
            self.answer(fault, b"", 0)
        else:
            self.answer(206 if asked else 200, data[: len(data) // 2] if fault == "cut" else data, len(data))

    def answer(self, status, data, length):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True


@pytest.fixture
def http():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def command(folder, *arguments, **variables):
    (folder / "f.py").write_text("def up(s): return s.upper()\ndef fail(s): return int(s)\ndef same(x): return x\n")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", **variables}
    words = [sys.executable, "-m", "orchestrator", "run", "-q", "-j2", *arguments]
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, timeout=100, check=False)


def test_workers_read_ranges(http, tmp_path):
    done = command(tmp_path, "f.py:up", http.url, "--block", "50K")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == DATA.upper()
    assert len(http.ranges) > len(DATA) // 51_200
    assert max(end - start for start, end in http.ranges) <= 2**16


def test_a_server_that_fails_throttles_or_cuts_is_tried_again(http, tmp_path):
    http.faults = [None, 500, 429, "cut", 503, "cut"]
    done = command(tmp_path, "f.py:up", http.url, "--block", "50K")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == DATA.upper()
    assert not http.faults


def test_a_server_that_fails_for_good_is_named(http, tmp_path):
    http.faults = [500] * 1000
    done = command(tmp_path, "f.py:up", http.url, "-o", "out")
    assert done.returncode == 1
    assert b"gave up after 5 tries" in done.stderr
    assert http.url.encode() in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_server_that_fails_for_good_fails_its_file_alone(http, tmp_path):
    http.faults = [500] * 1000
    (tmp_path / "in").write_text("here\n")
    done = command(tmp_path, "f.py:up", http.url, "in", "--on-error", "skip")
    assert (done.returncode, done.stdout) == (1, b"HERE\n")
    assert f"can't read {http.url}: gave up after 5 tries: the server answered 500".encode() in done.stderr


def test_compressed_files_come_in_ranges_too(http, tmp_path):
    http.data = gzip.compress(DATA)
    done = command(tmp_path, "f.py:up", http.url)
    assert (done.returncode, done.stdout) == (0, DATA.upper())


def test_what_is_not_there_is_one_line_before_anything_starts(http, tmp_path):
    http.faults = []
    done = command(tmp_path, "f.py:up", "nothing://a/b")
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"nothing" in done.stderr


def test_an_address_that_has_no_file_says_so(http, tmp_path):
    url = http.url.replace("in.txt", "none.csv")
    done = command(tmp_path, "f.py:up", url)
    assert done.returncode == 2
    assert done.stderr.decode() == f"orchestrator: can't read {url}: the server answered 404 Not Found\n"


def test_an_address_that_can_not_be_written_to_says_so(http, tmp_path):
    (tmp_path / "in").write_text("1\n")
    done = command(tmp_path, "f.py:up", "in", "-o", http.url)
    assert done.returncode == 2
    assert b"can only be read" in done.stderr


@pytest.mark.parametrize("scheme", ["memory:/", "file:/"])
def test_an_output_of_a_run_that_fails_leaves_nothing(tmp_path, scheme):
    (tmp_path / "in").write_text("one\n")
    done = command(tmp_path, "f.py:fail", "in", "-o", f"{scheme}{tmp_path}/out")
    assert done.returncode == 1
    assert b"stopped; nothing was written" in done.stderr
    assert b"/cli/" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_options_of_a_file_system_may_hold_anything():
    with pytest.raises(ConfigError, match=r"^can't read memory://none: No such file or directory$"):
        Stream.read("memory://none", storage_options={"client_kwargs": {"a": []}})
    for options in (["a"], {1: 2}, 5):
        with pytest.raises(ConfigError, match="storage_options must be a dict"):
            Stream.read("memory://none", storage_options=options)


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-c", f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert server.poll() is None
    code = (
        "import s3fs, sys; fs = s3fs.S3FileSystem(key='x', secret='y', endpoint_url=sys.argv[1]); fs.mkdir('bucket'); "
        "[fs.pipe(f'bucket/logs/{n}.txt', f'{n} ä\\n'.encode() * 5000) for n in range(3)]"
    )
    assert s3fs
    subprocess.run([sys.executable, "-c", code, url], check=True, timeout=60)
    yield url
    server.kill()
    server.wait()


def content(url, key):
    code = "import s3fs, sys; fs = s3fs.S3FileSystem(key='x', secret='y', endpoint_url=sys.argv[1]); sys.stdout.buffer.write(fs.cat(sys.argv[2]) if fs.exists(sys.argv[2]) else b'-')"
    return subprocess.run([sys.executable, "-c", code, url, key], check=True, capture_output=True, timeout=60).stdout


def test_s3_patterns_in_and_an_object_out(s3, tmp_path):
    done = command(tmp_path, "f.py:up", "s3://bucket/logs/*.txt", "-o", "s3://bucket/out.txt", "--storage-option", f"endpoint_url={s3}", "--block", "9K")
    assert (done.returncode, done.stderr) == (0, b"")
    assert content(s3, "bucket/out.txt").decode() == "".join(f"{n} Ä\n" * 5000 for n in range(3))


def test_an_object_of_a_run_that_fails_is_not_there(s3, tmp_path):
    done = command(tmp_path, "f.py:fail", "s3://bucket/logs/*.txt", "-o", "s3://bucket/never.txt", AWS_ENDPOINT_URL=s3)
    assert done.returncode == 1
    assert content(s3, "bucket/never.txt") == b"-"


def test_an_upload_can_not_be_resumed(s3, tmp_path):
    done = command(tmp_path, "f.py:up", "s3://bucket/logs/*.txt", "-o", "s3://bucket/o.txt", "--checkpoint", "saved", AWS_ENDPOINT_URL=s3)
    assert done.returncode == 2
    assert b"can't be resumed" in done.stderr
    assert done.stderr.count(b"\n") == 1
