"""Bad requests, each with the error it must get: the table of docs/bad_input.md, section "Requests".

The document holds the errors word by word, so that a change of one is a change of the document. To write it anew, run
this test with TRANSMLA_WRITE_DOCS=1.
"""
import os
import pathlib
import shutil
import tempfile
import unittest

import grpc
import harness
from google.longrunning import operations_pb2 as ops
from harness import pb, request
from server_process import SOURCE, TINY_MODELS
from transmla.v1 import model_pb2

DOCUMENT = SOURCE / "docs" / "bad_input.md"
HEADING = "\n## Requests\n"
INTRODUCTION = HEADING + """
Each row is a case of `tests/integration/bad_requests_test.py`, with the status and the `ErrorInfo.reason` it gets from a
running server (model `llama_tied` of `tests/golden/tiny_models`, context 512); that test fails if this file does not say
what the server says. Errors that a client can repair name the field in `BadRequest` too. `ROOT` stands for
`--conversion-root`. An oversized message is refused by gRPC itself, which gives no reason.

| what is wrong | status |
|---|---|
"""


def sampling(**fields):
    return request("a", 1, greedy=False, sampling=pb.SamplingOptions(**fields))


def stop(**fields):
    return request("a", stop=pb.StopOptions(**fields))


def constrained(**kind):
    return request("a", 1, constraint=pb.OutputConstraint(**kind))


def chat(*messages, **fields):
    return request(None, 1, chat=pb.ChatPrompt(messages=[pb.ChatMessage(**item) for item in messages], **fields))


def conversion(source="source", destination="out", overwrite=False, sample_text=True, **options):
    return model_pb2.ConvertModelRequest(source=source, destination=destination, overwrite=overwrite,
                                         options=model_pb2.ConversionOptions(sample_text=sample_text, **options))


# What is wrong, and the request. Each must fail with a status of its own.
GENERATE = [
    ("no prompt", request(max_tokens=1)),
    ("empty text", request("", 1)),
    ("empty token_ids", request(ids=[], max_tokens=1, token_ids=pb.TokenIds())),
    ("token id outside the vocabulary", request(ids=[1, 400], max_tokens=1)),
    ("token id of 2^32 - 1", request(ids=[2**32 - 1], max_tokens=1)),
    ("more token ids than any model takes", request(ids=[1] * (2**20 + 1), max_tokens=1)),
    ("text of 9 MiB", request("x" * (9 << 20), 1)),
    ("message of 17 MiB", request("x" * (17 << 20), 1)),
    ("prompt longer than the context", request(ids=[5] * 512, max_tokens=1)),
    ("prompt and max_tokens longer than the context", request(ids=[5] * 100, max_tokens=413)),
    ("model that is not served", request("a", 1, model="gpt-5")),
    ("request_id of 129 characters", request("a", 1, request_id="i" * 129)),
    ("request_id with a line break", request("a", 1, request_id="a\nb")),
    ("request_id that is not ASCII", request("a", 1, request_id="ä")),
    ("negative temperature", sampling(temperature=-1)),
    ("temperature that is no number", sampling(temperature=float("nan"))),
    ("infinite temperature", sampling(temperature=float("inf"))),
    ("top_p of 0", sampling(top_p=0)),
    ("top_p above 1", sampling(top_p=1.5)),
    ("top_k of four billion", sampling(top_k=4000000000)),
    ("negative min_p", sampling(min_p=-0.5)),
    ("typical_p of 0", sampling(typical_p=0)),
    ("presence_penalty of 3", sampling(presence_penalty=3)),
    ("frequency_penalty that is no number", sampling(frequency_penalty=float("nan"))),
    ("repetition_penalty of 0", sampling(repetition_penalty=0)),
    ("logit_bias of 101", sampling(logit_bias={3: 101})),
    ("1025 logit biases", sampling(logit_bias={i: 1 for i in range(1025)})),
    ("logit_bias outside the vocabulary", sampling(logit_bias={400: 1})),
    ("allowed token outside the vocabulary", sampling(allowed_token_ids=[400])),
    ("more allowed tokens than the vocabulary has", sampling(allowed_token_ids=[3] * 401)),
    ("allowed token that is forbidden",
     request("a", 4, greedy=False, sampling=pb.SamplingOptions(allowed_token_ids=[3]),
             stop=pb.StopOptions(stop_token_ids=[3], min_tokens=2))),
    ("no sequences", sampling(num_sequences=0)),
    ("17 sequences", sampling(num_sequences=17)),
    ("max_tokens of 0", stop(max_tokens=0)),
    ("min_tokens above max_tokens", stop(max_tokens=4, min_tokens=5)),
    ("empty stop string", stop(stop_strings=["", "x"])),
    ("stop string of 257 bytes", stop(stop_strings=["x" * 257])),
    ("17 stop strings", stop(stop_strings=["x"] * 17)),
    ("1025 stop tokens", stop(stop_token_ids=[1] * 1025)),
    ("stop token of three billion", stop(stop_token_ids=[3000000000])),
    ("21 log-probabilities", request("a", 1, output=pb.OutputOptions(logprobs=21))),
    ("21 log-probabilities of the prompt", request("a", 1, output=pb.OutputOptions(prompt_logprobs=21))),
    ("tenant of 65 characters", request("a", 1, tenant="t" * 65)),
    ("tenant with a line break", request("a", 1, tenant="a\nb")),
    ("cache_salt of 129 bytes", request("a", 1, cache=pb.CacheOptions(cache_salt="s" * 129))),
    ("17 guessed tokens", request("a", 1, draft_tokens=17)),
    ("best_of below num_sequences", sampling(num_sequences=3, best_of=2)),
    ("best_of 17", sampling(best_of=17)),
    ("best_of of a stream", sampling(best_of=2)),
    ("empty bad word", sampling(bad_words=["a", ""])),
    ("257 bad words", sampling(bad_words=["a"] * 257)),
    ("bad words of 5000 bytes", sampling(bad_words=["a" * 5000])),
    ("bad words that leave no token", sampling(bad_words=[chr(c) for c in range(128)], allowed_token_ids=[40])),
    ("schema that is no JSON", constrained(json_schema='{"type":')),
    ("schema of an unknown type", constrained(json_schema='{"properties": {"a": {"type": "text"}}}')),
    ("schema with a keyword that is not supported", constrained(json_schema='{"items": {"multipleOf": 3}}')),
    ("schema that refers to nothing", constrained(json_schema='{"$ref": "#/$defs/x"}')),
    ("schema nested 300 deep", constrained(json_schema='{"items":' * 300 + "{}" + "}" * 300)),
    ("schema that nothing is valid under", constrained(json_schema="false")),
    ("schema of 257 KiB", constrained(json_schema=" " * (257 << 10))),
    ("json_object that is false", constrained(json_object=False)),
    ("regular expression without its )", constrained(regex="(a|b")),
    ("regular expression with a back reference", constrained(regex=r"(a)\1")),
    ("regular expression of 300,000 parts", constrained(regex="a{1000}" * 300)),
    ("grammar without root", constrained(grammar='main ::= "a"')),
    ("grammar that begins with itself", constrained(grammar='root ::= root "a" | "b"')),
    ("grammar with a missing rule", constrained(grammar="root ::= other")),
    ("choice of nothing", constrained(choice=pb.OutputConstraint.Choices())),
    ("tool calls of a model that has none", request("a", 1, output=pb.OutputOptions(parse_tool_calls=True))),
    ("conversation without messages", chat()),
    ("role that does not exist", chat(dict(role="king", content="a"))),
    ("role cut inside a character", chat(dict(role="ü" * 40, content="a"))),
    ("tools that are no JSON", chat(dict(role="user", content="a"), tools_json="{")),
    ("tools that are no array", chat(dict(role="user", content="a"), tools_json='{"name": "f"}')),
    ("tool calls that are no JSON", chat(dict(role="assistant", tool_calls_json="[1,"))),
]
TOKENIZE = [
    ("Tokenize: no prompt", pb.TokenizeRequest()),
    ("Tokenize: model that is not served", pb.TokenizeRequest(model="gpt-5", text="a")),
]
DETOKENIZE = [
    ("Detokenize: id outside the vocabulary", pb.DetokenizeRequest(ids=[400])),
    ("Detokenize: more ids than any model takes", pb.DetokenizeRequest(ids=[1] * (2**20 + 1))),
]
GET_MODEL = [
    ("GetModel: model that is not served", model_pb2.GetModelRequest(name="gpt-5")),
]
LIST_MODELS = [
    ("ListModels: negative page_size", model_pb2.ListModelsRequest(page_size=-1)),
    ("ListModels: page_token of somebody else", model_pb2.ListModelsRequest(page_token="x")),
]
CONVERT = [
    ("ConvertModel: no source", conversion(source="")),
    ("ConvertModel: absolute path", conversion(source="/etc/passwd")),
    ("ConvertModel: path that climbs", conversion(destination="models/../../out")),
    ("ConvertModel: path through a link that leads out", conversion(source="link/etc")),
    ("ConvertModel: destination that exists", conversion(destination="source")),
    ("ConvertModel: destination that is no model, to be overwritten", conversion(destination="other", overwrite=True)),
    ("ConvertModel: source that does not exist", conversion(source="nothing")),
    ("ConvertModel: source that is no model", conversion(source="notes.txt")),
    ("ConvertModel: source that is latent already", conversion(source="latent")),
    ("ConvertModel: recipe that does not exist", conversion(recipe="magic")),
    ("ConvertModel: format whose constants a type does not hold", conversion(format="deepseek-v3", dtype="f16")),
    ("ConvertModel: quantised weights", conversion(dtype="q4_0")),
    ("ConvertModel: quantised weights in a folder", conversion(dtype="q8_0")),
    ("ConvertModel: output format that does not exist", conversion(format="zip")),
    ("ConvertModel: GGUF with a tokenizer that has no name there", conversion(format="gguf")),
    ("ConvertModel: no text to calibrate on", conversion(sample_text=False)),
    ("ConvertModel: text and text of its own", conversion(text_files=["notes.txt"])),
    ("ConvertModel: odd rope dimension", conversion(qk_rope_head_dim=7)),
    ("ConvertModel: rank of four billion", conversion(kv_lora_rank=4000000000)),
    ("ConvertModel: latent wider than keys and values", conversion(qk_rope_head_dim=8, kv_lora_rank=1000)),
    ("ConvertModel: cache larger than the source's", conversion(cache_ratio=1.5)),
    ("ConvertModel: recovery of what loses nothing", conversion(recipe="equivalent", recovery_tokens=512)),
    ("ConvertModel: result under a name that is served",
     model_pb2.ConvertModelRequest(source="source", destination="out", serve_as="llama_tied")),
    ("ConvertModel: rank and ratio", conversion(kv_lora_rank=16, cache_ratio=0.5)),
    ("ConvertModel: cache that the rope key fills", conversion(qk_rope_head_dim=8, cache_ratio=0.05)),
]
LOAD = [
    ("LoadModel: no path", model_pb2.LoadModelRequest()),
    ("LoadModel: absolute path", model_pb2.LoadModelRequest(path="/etc")),
    ("LoadModel: path that climbs", model_pb2.LoadModelRequest(path="../x")),
    ("LoadModel: path through a link that leads out", model_pb2.LoadModelRequest(path="link/etc")),
    ("LoadModel: nothing there", model_pb2.LoadModelRequest(path="nothing")),
    ("LoadModel: folder that is no model", model_pb2.LoadModelRequest(path="other")),
    ("LoadModel: name that is served", model_pb2.LoadModelRequest(path="source", name="llama_tied")),
    ("LoadModel: name of 129 characters", model_pb2.LoadModelRequest(path="source", name="n" * 129)),
    ("LoadModel: cache of no bytes", model_pb2.LoadModelRequest(path="source", cache_memory_bytes=0)),
    ("LoadModel: type of cache that does not exist", model_pb2.LoadModelRequest(path="source", cache_dtype="int4")),
    ("LoadModel: context of four billion", model_pb2.LoadModelRequest(path="source", max_context_tokens=4000000000)),
]
UNLOAD = [
    ("UnloadModel: no name", model_pb2.UnloadModelRequest()),
    ("UnloadModel: model that is not served", model_pb2.UnloadModelRequest(name="gpt-5")),
    ("UnloadModel: model that the server was started with", model_pb2.UnloadModelRequest(name="llama_tied")),
]
OPERATIONS = [
    ("GetOperation: operation that does not exist", "GetOperation", ops.GetOperationRequest(name="operations/x-1")),
    ("WaitOperation: empty name", "WaitOperation", ops.WaitOperationRequest()),
    ("CancelOperation: operation that does not exist", "CancelOperation", ops.CancelOperationRequest(name="y")),
    ("ListOperations: negative page_size", "ListOperations", ops.ListOperationsRequest(page_size=-5)),
    ("ListOperations: page_token of somebody else", "ListOperations", ops.ListOperationsRequest(page_token="x")),
    ("ListOperations: filter", "ListOperations", ops.ListOperationsRequest(filter="done=true")),
]


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


class BadRequestsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="transmla-test-"))).resolve()
        shutil.copytree(TINY_MODELS / "llama_tied", cls.root / "source")
        shutil.copytree(TINY_MODELS / "mla", cls.root / "latent")
        (cls.root / "notes.txt").write_text("Dear diary")
        (cls.root / "other").mkdir()
        (cls.root / "other" / "precious").write_text("x")
        (cls.root / "link").symlink_to("/")
        cls.server = cls.enterClassContext(harness.Server("llama_tied", f"--conversion-root={cls.root}"))

    def cases(self):
        server = self.server
        for what, message in GENERATE:
            yield what, lambda: server.generate(message)
        for what, message in TOKENIZE:
            yield what, lambda: server.generation.Tokenize(message)
        for what, message in DETOKENIZE:
            yield what, lambda: server.generation.Detokenize(message)
        for what, message in GET_MODEL:
            yield what, lambda: server.models.GetModel(message)
        for what, message in LIST_MODELS:
            yield what, lambda: server.models.ListModels(message)
        for what, message in CONVERT:
            yield what, lambda: server.models.ConvertModel(message)
        for what, message in LOAD:
            yield what, lambda: server.models.LoadModel(message)
        for what, message in UNLOAD:
            yield what, lambda: server.models.UnloadModel(message)
        for what, method, message in OPERATIONS:
            yield what, lambda: getattr(server.operations, method)(message)

    def test_every_case_fails_with_its_error(self):
        rows = []
        for what, action in self.cases():
            with self.subTest(what):
                failure = harness.failure(action)
                # Our own errors say why in a word; those of gRPC itself cannot.
                by_grpc = "message of" in what
                self.assertEqual(failure.reason == "", by_grpc)
                self.assertNotIn(failure.code, (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL))
                if failure.reason == "INVALID_PARAMETER" and failure.fields:
                    self.assertIn(failure.fields[0], failure.message)
                message = failure.message.replace(str(self.root), "ROOT")
                rows.append(f"| {cell(what)} | {failure.code.name} {failure.reason or '-'}: {cell(message)} |\n")
        self.assertEqual(len({row.split(" | ")[0] for row in rows}), len(rows), "a case twice")
        self.assertGreaterEqual(len(rows), 20)

        section = INTRODUCTION + "".join(rows)
        text = DOCUMENT.read_text()
        files = text.split(HEADING)[0]
        if os.environ.get("TRANSMLA_WRITE_DOCS"):
            DOCUMENT.write_text(files + section)
        self.assertEqual(section, DOCUMENT.read_text()[len(files):], "write it anew with TRANSMLA_WRITE_DOCS=1")

    def test_nothing_is_left_of_them(self):
        for _, action in self.cases():
            harness.failure(action)
        self.server.wait_until_idle()
        # Every place in the queue was given back.
        self.assertEqual(self.server.metric("transmla_waiting_prompt_tokens"), 0)
        message = request("a", 3, endless=True)
        message.sampling.num_sequences = 16
        self.assertEqual(self.server.generate(message).usage.completion_tokens, 48)
        self.assertEqual(sorted(path.name for path in self.root.iterdir()),
                         ["latent", "link", "notes.txt", "other", "source"])
        self.assertTrue((self.root / "other" / "precious").exists())

    def test_an_id_that_is_in_use(self):
        message = request("a", 400, endless=True, request_id="same")
        first = self.server.stream(message)
        next(first)
        failure = harness.failure(lambda: self.server.generate(message))
        self.assertEqual((failure.code, failure.reason), (grpc.StatusCode.ALREADY_EXISTS, "DUPLICATE_REQUEST"))
        first.cancel()
        self.server.wait_until_idle()
        self.assertEqual(self.server.generate(request("a", 2, endless=True, request_id="same")).accepted.request_id,
                         "same")

    def test_without_a_root_there_are_no_conversions(self):
        with harness.Server("mla") as server:
            failure = harness.failure(lambda: server.models.ConvertModel(conversion()))
            self.assertEqual((failure.code, failure.reason),
                             (grpc.StatusCode.FAILED_PRECONDITION, "CONVERSION_DISABLED"))

    def test_bytes_that_are_no_message(self):
        call = self.server.channel.unary_stream("/transmla.v1.GenerationService/Generate")
        for junk in (b"\xff\xff\xff\xff", b"\x12\x05ab", b"\x12\x02\xc3\x28"):
            failure = harness.failure(lambda: list(call(junk)))
            self.assertIn(failure.code, (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT,
                                         grpc.StatusCode.UNIMPLEMENTED))
        missing = self.server.channel.unary_unary("/transmla.v1.GenerationService/Missing")
        self.assertEqual(harness.failure(lambda: missing(b"")).code, grpc.StatusCode.UNIMPLEMENTED)
        self.assertEqual(self.server.generate(request("a", 2, endless=True)).usage.completion_tokens, 2)


harness.main()
