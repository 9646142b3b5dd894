"""ConvertModel as a long-running operation: progress, wait, cancel, list; what it leaves on the disk."""
import json
import pathlib
import shutil
import tempfile
import time
import unittest

import grpc
import harness
from google.longrunning import operations_pb2 as ops
from google.protobuf.duration_pb2 import Duration
from harness import request
from server_process import PATIENCE_S, TINY_MODELS, at_most, until
from transmla.v1 import model_pb2

# Small enough to be over in a moment.
QUICK = dict(recipe="transmla", sample_text=True, qk_rope_head_dim=8, kv_lora_rank=32, nsamples=4, seqlen=32, evaluation_sequences=1)
# Sampling so much text takes minutes; it is cancelled before that.
ENDLESS = dict(recipe="transmla", sample_text=True, qk_rope_head_dim=8, kv_lora_rank=32, nsamples=100000, seqlen=256)


class ConversionTest(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="transmla-test-")))
        shutil.copytree(TINY_MODELS / "llama_tied", self.root / "source")
        shutil.copy(TINY_MODELS / "llama_tied_q8_0_gguf" / "model.gguf", self.root / "source.gguf")
        self.server = self.enterContext(harness.Server("llama_tied", f"--conversion-root={self.root}"))

    def convert(self, destination="out", source="source", options=None, **fields):
        return self.server.models.ConvertModel(model_pb2.ConvertModelRequest(
            source=source, destination=destination, options=model_pb2.ConversionOptions(**(options or QUICK)), **fields))

    def wait(self, name, seconds=PATIENCE_S):
        return self.server.operations.WaitOperation(
            ops.WaitOperationRequest(name=name, timeout=Duration(seconds=seconds)), timeout=PATIENCE_S + 10)

    def metadata(self, operation):
        metadata = model_pb2.ConvertModelMetadata()
        self.assertTrue(operation.metadata.Unpack(metadata))
        return metadata

    def names(self):
        """What lies in the root, hidden things too."""
        return sorted(path.name for path in self.root.iterdir())

    def finished(self, result):
        return self.server.metric(f'transmla_conversions_finished_total{{result="{result}"}}')

    def test_converts_to_the_layout_of_deepseek(self):
        done = self.wait(self.convert(options=QUICK | dict(recipe="best", format="deepseek-v3")).name)
        self.assertFalse(done.HasField("error"), done.error)
        config = json.loads((self.root / "out" / "config.json").read_text())
        self.assertEqual(config["architectures"], ["DeepseekV3ForCausalLM"])
        self.assertEqual((config["kv_lora_rank"], config["q_lora_rank"]), (32, 65))
        with harness.Server(self.root / "out") as converted:
            model = converted.models.GetModel(model_pb2.GetModelRequest()).model
            self.assertEqual((model.attention, model.kv_lora_rank), ("mla", 32))

    def test_converts_and_serves(self):
        for source in ("source", "source.gguf"):
            with self.subTest(source=source):
                destination = f"{source}-mla"
                started = self.convert(destination, source)
                self.assertFalse(started.done)
                done = self.wait(started.name)
                self.assertTrue(done.done)
                self.assertFalse(done.HasField("error"), done.error)
                metadata = self.metadata(done)
                self.assertEqual(metadata.state, model_pb2.ConvertModelMetadata.STATE_SUCCEEDED)
                self.assertEqual(metadata.progress_ratio, 1)
                self.assertEqual((metadata.source, metadata.destination), (source, destination))
                response = model_pb2.ConvertModelResponse()
                self.assertTrue(done.response.Unpack(response))
                # Two layers: keys and values of two heads of 16; [latent 32 | rope key 8]; BF16.
                self.assertEqual(response.cache_bytes_per_token_before, 2 * 64 * 2)
                self.assertEqual(response.cache_bytes_per_token_after, 2 * 40 * 2)
                self.assertEqual(json.loads(response.report_json)["kv_lora_rank"], 32)
                with harness.Server(self.root / destination) as converted:
                    model = converted.models.GetModel(model_pb2.GetModelRequest()).model
                    self.assertEqual((model.attention, model.kv_lora_rank, model.cache_bytes_per_token), ("mla", 32, 160))
                    self.assertEqual(model.gqa_equivalent_cache_bytes_per_token, 256)
                    self.assertEqual(converted.generate(request("a", 5, endless=True)).usage.completion_tokens, 5)
        self.assertEqual(self.finished("succeeded"), 2)

    def test_converts_to_gguf_and_serves_the_folder_or_the_file(self):
        for format in ("gguf", "gguf-deepseek2"):
            with self.subTest(format=format):
                done = self.wait(self.convert(format, "source.gguf", QUICK | dict(format=format, dtype="q8_0")).name)
                self.assertFalse(done.HasField("error"), done.error)
                folder = self.root / format
                self.assertEqual(sorted(path.name for path in folder.iterdir()), ["model.gguf", "transmla_report.html", "transmla_report.json"])
                for path in (folder, folder / "model.gguf"):
                    with harness.Server(path) as converted:
                        model = converted.models.GetModel(model_pb2.GetModelRequest()).model
                        self.assertEqual((model.attention, model.cache_bytes_per_token), ("mla", 160))
                        self.assertEqual(model.gqa_equivalent_cache_bytes_per_token, 256)
                        self.assertTrue(model.has_chat_template)
                        self.assertEqual(converted.generate(request("a", 5, endless=True)).usage.completion_tokens, 5)

    def test_progress_is_told_and_cancelling_leaves_nothing(self):
        before = self.names()
        started = self.convert(options=ENDLESS)
        with at_most(PATIENCE_S, "a wait with a timeout of 1 s"):
            waited = self.wait(started.name, seconds=1)
        self.assertFalse(waited.done)
        running = self.metadata(waited)
        self.assertEqual(running.state, model_pb2.ConvertModelMetadata.STATE_RUNNING)
        self.assertIn(running.stage, ("load", "text", "calibrate"))
        self.assertLess(running.progress_ratio, 1)
        self.assertEqual(self.server.metric('transmla_conversion_operations{state="running"}'), 1)

        def further():
            now = self.metadata(self.server.operations.GetOperation(ops.GetOperationRequest(name=started.name)))
            return now.progress_ratio > running.progress_ratio and now.update_time.ToNanoseconds()

        self.assertGreater(until(further, "progress"), started_at := running.start_time.ToNanoseconds())
        self.assertLess(abs(started_at / 1e9 - time.time()), 2 * PATIENCE_S)
        # The model is served meanwhile.
        self.assertEqual(self.server.generate(request("a", 5, endless=True)).usage.completion_tokens, 5)

        self.server.operations.CancelOperation(ops.CancelOperationRequest(name=started.name))
        done = self.wait(started.name)
        self.assertTrue(done.done)
        self.assertEqual(done.error.code, grpc.StatusCode.CANCELLED.value[0])
        self.assertEqual(self.metadata(done).state, model_pb2.ConvertModelMetadata.STATE_CANCELLED)
        self.assertTrue(self.metadata(done).cancel_requested)
        self.assertEqual(self.names(), before, "nothing is left of it")
        self.assertEqual(self.finished("cancelled"), 1)
        self.assertEqual(self.server.metric('transmla_conversion_operations{state="running"}'), 0)

    def test_one_at_a_time_and_a_bounded_queue(self):
        running = self.convert("out0", options=ENDLESS)
        until(lambda: self.server.metric('transmla_conversion_operations{state="running"}') == 1, "the first runs")
        waiting = [self.convert(f"out{i}", options=ENDLESS) for i in range(1, 5)]
        self.assertEqual(self.server.metric('transmla_conversion_operations{state="queued"}'), 4)
        refused = harness.failure(lambda: self.convert("out5", options=ENDLESS))
        self.assertEqual((refused.code, refused.reason), (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"))
        self.assertIsNotNone(refused.retry_s)
        twice = harness.failure(lambda: self.convert("./out0", options=ENDLESS))
        self.assertEqual((twice.code, twice.reason), (grpc.StatusCode.ABORTED, "OPERATION_IN_PROGRESS"))

        names = [running.name, *(operation.name for operation in waiting)]
        first = self.server.operations.ListOperations(ops.ListOperationsRequest(page_size=3))
        rest = self.server.operations.ListOperations(ops.ListOperationsRequest(page_token=first.next_page_token))
        listed = [operation.name for operation in [*first.operations, *rest.operations]]
        self.assertEqual([name for name in listed if name in names], names, "oldest first")
        early = harness.failure(
            lambda: self.server.operations.DeleteOperation(ops.DeleteOperationRequest(name=running.name)))
        self.assertEqual(early.code, grpc.StatusCode.FAILED_PRECONDITION)

        for name in names:
            self.server.operations.CancelOperation(ops.CancelOperationRequest(name=name))
        for name in names:
            self.assertEqual(self.wait(name).error.code, grpc.StatusCode.CANCELLED.value[0])
        self.server.operations.DeleteOperation(ops.DeleteOperationRequest(name=running.name))
        gone = harness.failure(
            lambda: self.server.operations.GetOperation(ops.GetOperationRequest(name=running.name)))
        self.assertEqual((gone.code, gone.reason), (grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND"))

    def test_a_plan_converts_nothing(self):
        before = self.names()
        plan = self.convert(validate_only=True)
        self.assertTrue(plan.done)
        response = model_pb2.ConvertModelResponse()
        self.assertTrue(plan.response.Unpack(response))
        self.assertEqual(response.cache_bytes_per_token_after, 2 * 40 * 2)
        self.assertEqual(self.names(), before)

    def test_an_existing_destination_needs_overwrite(self):
        self.assertFalse(self.wait(self.convert().name).HasField("error"))
        failure = harness.failure(self.convert)
        self.assertEqual((failure.code, failure.reason), (grpc.StatusCode.ALREADY_EXISTS, "TARGET_EXISTS"))
        done = self.wait(self.convert(overwrite=True).name)
        self.assertFalse(done.HasField("error"), done.error)
        self.assertEqual(self.names(), ["out", "source", "source.gguf"])

    def test_the_end_of_the_server_cancels(self):
        before = self.names()
        started = self.convert(options=ENDLESS)
        until(lambda: self.server.metric('transmla_conversion_operations{state="running"}') == 1, "it runs")
        until(lambda: self.names() != before, "it has begun to write")
        # A wait that is open is answered, so that it does not hold up the end.
        waiter = self.server.operations.WaitOperation.future(ops.WaitOperationRequest(name=started.name))
        self.server.signal(15)
        self.assertFalse(waiter.result().done)
        self.assertEqual(self.server.wait(), 0)
        # What has been computed waits for the same request; one for another result clears it away.
        self.assertEqual(self.names(), [".out.transmla-work"] + before)
        with harness.Server("llama_tied", f"--conversion-root={self.root}") as self.server:
            self.assertFalse(self.wait(self.convert().name).HasField("error"))
        self.assertEqual(self.names(), ["out"] + before)

    def test_the_next_server_goes_on_where_the_last_one_ended(self):
        words = (f"word{7919 * i % 1000}" for i in range(60000))
        (self.root / "text").write_text(" ".join(words))
        options = dict(recipe="best", nsamples=800, seqlen=256, evaluation_sequences=1, text_files=["text"])
        before = self.names()
        started = self.convert(options=options)

        def in_the_second_layer():
            at = self.metadata(self.server.operations.GetOperation(ops.GetOperationRequest(name=started.name)))
            return at.stage == "calibrate" and at.layers_done == 1

        until(in_the_second_layer, "a layer is done")
        self.server.signal(15)
        self.assertEqual(self.server.wait(), 0)
        with harness.Server("llama_tied", f"--conversion-root={self.root}") as self.server:
            done = self.wait(self.convert(options=options).name)
            self.assertFalse(done.HasField("error"), done.error)
        report = json.loads((self.root / "out" / "transmla_report.json").read_text())
        self.assertEqual(report["resumed_layers"], 1)
        self.assertEqual(self.names(), ["out"] + before)


harness.main()
