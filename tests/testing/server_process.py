"""Starts the real transmla-server for a test and reads what it says: its log, its metrics, its probes.

Needs nothing but Python's standard library. Environment: TRANSMLA_BIN, the folder of the built programs.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("TRANSMLA_BIN", SOURCE / "build" / "release" / "bin"))
TINY_MODELS = SOURCE / "tests" / "golden" / "tiny_models"
# Sanitizers and busy machines slow things down; what never happens is noticed after this.
PATIENCE_S = 60


def real_model(name="SmolLM2-135M-Instruct.Q4_1.gguf"):
    """Path of a real model; the test is skipped where it is not fetched."""
    folder = os.environ.get("TRANSMLA_MODELS") or os.path.expanduser("~/.cache/transmla/models")
    path = pathlib.Path(folder) / name
    if not path.exists():
        raise unittest.SkipTest(f"{name} is not there; scripts/fetch-models fetches it")
    return path


def until(condition, what, patience_s=PATIENCE_S):
    """Waits for condition() to be true and returns its value."""
    end = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience_s} s: {what}")
        time.sleep(0.01)


class Server:
    """A running server on free ports of this machine; a context manager that ends it.

    The model is a path, or the name of a tiny model, whose copy then gets the context length `context`.
    """

    def __init__(self, model="llama_tied", *flags, context=None, wait_until_ready=True):
        self._folder = tempfile.TemporaryDirectory(prefix="transmla-test-")
        self.folder = pathlib.Path(self._folder.name)
        if isinstance(model, str):
            model = self._copy_tiny(model, context)
        self._lines = []
        command = [str(BIN / "transmla-server"), f"--model={model}", "--listen=127.0.0.1:0",
                   "--metrics-listen=127.0.0.1:0", "--log-format=json", "--cache-memory=64MiB", *flags]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            listening = until(lambda: self._find(r"gRPC at (\S+), HTTP at ([^;]+);"), "the server listens")
            self.address, self.http = listening.groups()
            if wait_until_ready:
                until(lambda: self.probe("/readyz") == 200, "the server is ready")
        except BaseException:
            self.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the server did not end after SIGTERM; its log:\n{self.log()}") from None
        self.kill()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stderr.close()
        self._folder.cleanup()

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout_s=PATIENCE_S):
        """The exit code."""
        return self.process.wait(timeout_s)

    def log(self):
        return "".join(self._lines)

    def requests_logged(self):
        """The log's lines about requests, as objects."""
        objects = (json.loads(line) for line in list(self._lines) if line.startswith("{"))
        return [item for item in objects if item["message"] == "request"]

    def probe(self, path):
        """HTTP status of a GET; None while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=PATIENCE_S) as response:
                return response.status
        except urllib.error.HTTPError as error:
            return error.code
        except (urllib.error.URLError, ConnectionError):
            return None

    def metrics_text(self):
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=PATIENCE_S) as response:
            return response.read().decode()

    def metrics(self):
        """Every sample: {'name{label="value",…}': number}, labels sorted, without the model's."""
        return parse_metrics(self.metrics_text())

    def metric(self, name):
        return self.metrics()[name]

    def pages_used(self):
        return self.metric('transmla_kv_cache_blocks{state="used"}')

    def wait_until_idle(self):
        """Nothing runs, waits or holds a page."""
        def idle():
            now = self.metrics()
            return (now["transmla_requests_running"] == 0 and now["transmla_requests_waiting"] == 0 and
                    now['transmla_kv_cache_blocks{state="used"}'] == 0 and now["transmla_kv_cache_usage_ratio"] == 0)
        until(idle, "the server is idle and no page is used")

    def _copy_tiny(self, name, context):
        folder = self.folder / name
        shutil.copytree(TINY_MODELS / name, folder)
        if context is not None:
            config = json.loads((folder / "config.json").read_text())
            config["max_position_embeddings"] = context
            (folder / "config.json").write_text(json.dumps(config))
        return folder

    def _read_log(self):
        for line in self.process.stderr:
            self._lines.append(line)

    def _find(self, pattern):
        if self.process.poll() is not None:
            self._reader.join()
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log()}")
        return re.search(pattern, self.log())


def parse_metrics(text):
    samples = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, labels, value = re.fullmatch(r"([\w:]+)(?:\{(.*)\})? (\S+)", line).groups()
        pairs = sorted(pair for pair in re.findall(r'(\w+="[^"]*")', labels or "")
                       if not pair.startswith(("model=", "model_name=", "engine=")))
        samples[name + (f"{{{','.join(pairs)}}}" if pairs else "")] = float(value)
    return samples


@contextlib.contextmanager
def at_most(seconds, what):
    """Fails if the block takes longer."""
    start = time.monotonic()
    yield
    took = time.monotonic() - start
    if took > seconds:
        raise AssertionError(f"{what} took {took:.2f} s, more than {seconds} s")
