"""Models come and go while the server runs: converted, loaded, streamed from, unloaded; others notice nothing."""
import collections
import pathlib
import re
import shutil
import tempfile
import threading
import time
import unittest

import grpc
import harness
from google.longrunning import operations_pb2 as ops
from google.protobuf.duration_pb2 import Duration
from harness import request
from server_process import PATIENCE_S, TINY_MODELS, until
from transmla.v1 import model_pb2

QUICK = dict(recipe="transmla", sample_text=True, qk_rope_head_dim=8, kv_lora_rank=32, nsamples=4, seqlen=32, evaluation_sequences=1)
ENDLESS = dict(recipe="transmla", sample_text=True, qk_rope_head_dim=8, kv_lora_rank=32, nsamples=100000, seqlen=256)
CACHE = 4 << 20  # bytes
GRPC_THREADS = ("grpc", "event_engine", "nexting_thread", "timer_manager", "resolver-", "default-exec")  # names begin


class LoadingTest(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="transmla-test-")))
        shutil.copytree(TINY_MODELS / "llama_tied", self.root / "source")
        self.server = self.enterContext(harness.Server(
            "llama_tied", f"--conversion-root={self.root}", "--conversion-threads=1", context=100000))

    def convert(self, destination="out", options=None, **fields):
        return self.server.models.ConvertModel(model_pb2.ConvertModelRequest(
            source="source", destination=destination, options=model_pb2.ConversionOptions(**(options or QUICK)), **fields))

    def load(self, path, name="", cache=CACHE):
        return self.server.models.LoadModel(model_pb2.LoadModelRequest(path=path, name=name, cache_memory_bytes=cache))

    def unload(self, name):
        return self.server.models.UnloadModel(model_pb2.UnloadModelRequest(name=name))

    def wait(self, operation, response=None):
        done = self.server.operations.WaitOperation(
            ops.WaitOperationRequest(name=operation.name, timeout=Duration(seconds=PATIENCE_S)), timeout=PATIENCE_S + 10)
        self.assertTrue(done.done)
        self.assertFalse(done.HasField("error"), done.error)
        if response is not None:
            self.assertTrue(done.response.Unpack(response))
        return response

    def names(self):
        return [model.name for model in self.server.models.ListModels(model_pb2.ListModelsRequest()).models]

    def test_converted_loaded_streamed_from_and_unloaded(self):
        expected = self.server.generate(request("The sea is", 20, endless=True)).text
        others = self.server.stream(request("a", endless=True))
        next(others)
        self.wait(self.convert())
        model = self.wait(self.load("out", "small"), model_pb2.LoadModelResponse()).model
        self.assertEqual((model.name, model.attention, model.kv_lora_rank), ("small", "mla", 32))
        self.assertEqual(model.state, model_pb2.Model.STATE_READY)
        self.assertLessEqual(model.cache_pages * 64 * model.cache_bytes_per_token, CACHE)
        self.assertEqual(self.names(), ["llama_tied", "small"])
        # What a server of its own would say.
        with harness.Server(self.root / "out") as alone:
            wanted = alone.generate(request("The sea is", 20, endless=True)).text
        self.assertEqual(self.server.generate(request("The sea is", 20, endless=True, model="small")).text, wanted)
        self.assertEqual(self.server.generate(request("The sea is", 20, endless=True)).text, expected)
        text = self.server.metrics_text()
        self.assertIn('transmla_generation_tokens_total{model="small"} 20\n', text)
        self.assertIn('transmla_engine_state{model="small",state="ready"} 1\n', text)
        self.assertIn('vllm:num_requests_running{model_name="small",engine="0"} 0\n', text)
        kinds = re.findall(r"^# TYPE (\S+) ", text, re.M)
        self.assertEqual(len(kinds), len(set(kinds)), "a family twice")

        self.wait(self.unload("small"))
        self.assertEqual(self.names(), ["llama_tied"])
        self.assertNotIn('"small"', self.server.metrics_text())
        gone = harness.failure(lambda: self.server.generate(request("a", 1, model="small")))
        self.assertEqual((gone.code, gone.reason), (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"))
        # The stream of the other model went on all the time.
        self.assertEqual(self.server.metric("transmla_requests_running"), 1)
        others.cancel()
        harness.read_until_cancelled(others)
        self.server.wait_until_idle()
        self.assertEqual(self.server.probe("/readyz"), 200)

    def test_a_conversion_is_served_when_it_is_done(self):
        response = self.wait(self.convert(serve_as="small"), model_pb2.ConvertModelResponse())
        self.assertEqual(response.load_error.code, 0, response.load_error)
        self.wait(ops.Operation(name=response.load_operation))
        self.assertEqual(self.server.generate(request("a", 5, endless=True, model="small")).usage.completion_tokens, 5)

    def own_threads(self):
        """The server's threads by name, but those that gRPC starts and ends as it likes."""
        names = collections.Counter()
        for task in pathlib.Path(f"/proc/{self.server.process.pid}/task").iterdir():
            try:
                names[(task / "comm").read_text(encoding="utf-8").strip()] += 1
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                pass
        return collections.Counter({name: n for name, n in names.items() if not name.startswith(GRPC_THREADS)})

    def test_memory_comes_back(self):
        self.wait(self.convert())
        for name in ("a", "b", "c"):
            self.wait(self.load("out", name))
            self.wait(self.unload(name))
        before = self.own_threads()
        for i in range(10):
            self.wait(self.load("out", "again"))
            self.assertEqual(len(self.server.generate(request("a", 5, endless=True, model="again")).finished), 1)
            self.wait(self.unload("again"))
        until(lambda: not self.own_threads() - before, "its threads are gone")

    def test_the_cache_must_fit(self):
        refused = harness.failure(lambda: self.load("source", "big", cache=1 << 60))
        self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_MEMORY"))
        self.assertRegex(refused.message, rf"needs \d+ bytes for its weights and {1 << 60} for its cache, but \d+ are free")
        self.assertIsNone(refused.retry_s)
        self.assertEqual(self.names(), ["llama_tied"])

    def test_unloading_waits_for_streams(self):
        self.wait(self.load("source", "other"))
        results = []
        thread = threading.Thread(target=lambda: results.append(
            self.server.generate(request("a", 400, endless=True, model="other"))))
        thread.start()
        until(lambda: 'transmla_requests_running{model="other"} 1' in self.server.metrics_text() or results, "it runs")
        unloading = self.unload("other")
        if not results:
            refused = harness.failure(lambda: self.server.generate(request("a", 1, model="other")))
            self.assertIn(refused.reason, ("DRAINING", "MODEL_NOT_FOUND"))
        self.wait(unloading)
        thread.join()
        self.assertEqual(results[0].usage.completion_tokens, 400)

    def test_a_conversion_has_its_share_of_the_cores(self):
        running = self.convert(options=ENDLESS)
        until(lambda: self.server.metric('transmla_conversion_operations{state="running"}') == 1, "it runs")

        def polite():
            """Seconds of processor time of the threads with a raised nice value, and their names."""
            seconds, names = 0, set()
            for task in pathlib.Path(f"/proc/{self.server.process.pid}/task").iterdir():
                try:
                    name, fields = re.fullmatch(r"\d+ \((.*)\) (.*)", (task / "stat").read_text().strip()).groups()
                except FileNotFoundError:
                    continue
                fields = fields.split()
                if int(fields[16]) >= 10:
                    seconds += (int(fields[11]) + int(fields[12])) / 100
                    names.add(name)
            return seconds, names

        def all_of_it():
            return self.server.metric("process_cpu_seconds_total")

        # Until its threads are there and compute.
        until(lambda: polite()[0] > 0.2, "it computes")
        self.assertIn("conversion", polite()[1])
        self.assertNotIn("engine", polite()[1])
        start, polite_before, all_before = time.monotonic(), polite()[0], all_of_it()
        time.sleep(3)
        took = time.monotonic() - start
        # One thread has one core at most; clocks tick in hundredths.
        self.assertLessEqual(polite()[0] - polite_before, took + 0.1)
        self.assertLess(all_of_it() - all_before, 1.3 * took, "nothing of it runs elsewhere")
        self.server.operations.CancelOperation(ops.CancelOperationRequest(name=running.name))


harness.main()
