"""models, generate, chat, bench and convert --remote against a running server."""
import json
import pathlib
import shutil
import signal
import tempfile
import unittest

import cli
from server_process import TINY_MODELS, Server, until

RESULT_KEYS = {"request_id", "text", "finish_reason", "seed", "prompt_tokens", "cached_prompt_tokens",
               "completion_tokens", "time_to_first_token_ms", "total_ms", "server_queue_ms", "server_prefill_ms",
               "server_decode_ms"}
GREEDY = ["--temperature", "0", "--max-tokens", "20"]


class ServedTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="transmla-test-")))
        shutil.copytree(TINY_MODELS / "llama_tied", cls.root / "source")
        cls.server = cls.enterClassContext(
            Server("llama_tied", "--model-name=tiny", f"--conversion-root={cls.root}", context=100000))
        cls.at = ["--server", cls.server.address]

    def test_models(self):
        models = cli.run_json("models", *self.at)["models"]
        self.assertEqual(len(models), 1)
        expected = {"name": "tiny", "family": "llama", "state": "ready", "attention": "gqa", "vocab_size": 400,
                    "num_layers": 2, "cache_bytes_per_token": 256, "has_chat_template": True}
        self.assertEqual({key: models[0][key] for key in expected}, expected)
        self.assertIn("tiny  (llama, gqa, ready)", cli.run("models", "--ready", *self.at).stdout)

    def test_generate(self):
        result = cli.run_json("generate", "The sea is", *self.at, *GREEDY, "--ignore-eos")
        self.assertEqual(set(result), RESULT_KEYS)
        self.assertEqual((result["finish_reason"], result["completion_tokens"]), ("length", 20))
        self.assertGreater(result["time_to_first_token_ms"], 0)
        streamed = cli.run("generate", "The sea is", *self.at, *GREEDY, "--ignore-eos", "--stats")
        self.assertEqual(streamed.stdout, result["text"] + "\n")
        self.assertRegex(streamed.stderr, r"^20 tokens in [\d.]+ s: first after \d+ ms, then [\d.]+ tokens/s\n$")
        piped = cli.run("generate", "-", *self.at, *GREEDY, "--ignore_eos", stdin="The sea is")
        self.assertEqual(piped.stdout, streamed.stdout)
        seeded = [cli.run("generate", "The sea is", *self.at, "--seed=5", "--temperature=1", "--max_tokens=20").stdout
                  for _ in range(2)]
        self.assertEqual(seeded[0], seeded[1])

    def test_generate_stops_at_a_text(self):
        whole = cli.run_json("generate", "The sea is", *self.at, *GREEDY, "--ignore-eos")["text"]
        stop = next(word for word in whole.split() if "," not in word and len(word) > 1)
        stopped = cli.run_json("generate", "The sea is", *self.at, *GREEDY, "--ignore-eos", "--stop", stop)
        self.assertEqual(stopped["text"], whole[:whole.index(stop)])
        self.assertEqual(stopped["finish_reason"], "stop")

    def test_errors_of_the_server_are_failures(self):
        error = cli.run("generate", "a", *self.at, "--model", "other", expect=cli.FAILED).stderr
        self.assertIn("[MODEL_NOT_FOUND]", error)
        error = cli.run("generate", "a", *self.at, "--temperature=-1", expect=cli.FAILED).stderr
        self.assertIn("sampling.temperature is -1", error)

    def test_chat(self):
        chat = cli.run("chat", *self.at, *GREEDY, stdin="Hello\n\n/new\nHello\nAnd?\n/quit\nnever\n")
        alone = cli.run("generate", "Hello", "--chat", *self.at, *GREEDY).stdout
        # The same first answer before and after /new, then one that knows it.
        self.assertEqual(chat.stdout[:2 * len(alone)], alone * 2)
        self.assertGreater(len(chat.stdout), 2 * len(alone))

    def test_an_interrupt_stops_the_stream(self):
        process = cli.start("generate", "a", *self.at, "--max-tokens=0", "--ignore-eos")
        until(lambda: self.server.metric("transmla_requests_running") == 1, "it streams")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, cli.INTERRUPTED)
        self.server.wait_until_idle()

    def test_a_reader_that_goes_away_stops_the_stream(self):
        process = cli.start("generate", "a", *self.at, "--max-tokens=0", "--ignore-eos")
        process.stdout.read(10)
        process.stdout.close()
        self.assertNotEqual(process.wait(60), 0)
        process.stderr.close()
        self.server.wait_until_idle()

    def test_bench(self):
        report = cli.run_json("bench", *self.at, "--concurrency=4", "--requests=12", "--prompt-tokens=30",
                              "--max-tokens=16")
        self.assertEqual((report["requests"], report["errors"]), (12, 0))
        self.assertEqual((report["prompt_tokens"], report["completion_tokens"]), (12 * 30, 12 * 16))
        for key in ("time_to_first_token_ms", "between_tokens_ms", "total_ms"):
            values = report[key]
            self.assertLessEqual(values["p50"], values["p90"])
            self.assertLessEqual(values["p99"], values["max"])
        self.assertIn("time to first token", cli.run("bench", *self.at, "--requests=2", "--max-tokens=4").stdout)

    def test_convert_on_the_server(self):
        flags = ["--remote", *self.at, "--qk-rope-head-dim=8", "--kv-lora-rank=32", "--nsamples=4", "--seqlen=32",
                 "--eval-sequences=0", "--sample-text"]
        plan = cli.run("convert", "source", "out", "--dry-run", *flags)
        self.assertEqual(json.loads(plan.stdout)["cache_bytes_per_token_after"], 160)
        report = json.loads(cli.run("convert", "source", "out", *flags).stdout)
        self.assertEqual(report["kv_lora_rank"], 32)
        self.assertEqual(cli.run_json("inspect", self.root / "out")["attention"], "mla")
        error = cli.run("convert", "source", "out", *flags, expect=cli.FAILED).stderr
        self.assertIn("[TARGET_EXISTS]", error)
        # What was converted is served by the same process, and gone again.
        loaded = cli.run_json("load", "out", "--name=small", "--cache-memory=4000000", *self.at)
        self.assertEqual((loaded["name"], loaded["attention"], loaded["state"]), ("small", "mla", "ready"))
        self.assertEqual([model["name"] for model in cli.run_json("models", *self.at)["models"]], ["tiny", "small"])
        self.assertGreater(len(cli.run("generate", "The sea is", "--model=small", *self.at, *GREEDY).stdout), 1)
        self.assertIn("[TARGET_EXISTS]", cli.run("load", "out", "--name=small", *self.at, expect=cli.FAILED).stderr)
        self.assertEqual(cli.run("unload", "small", *self.at).stdout, "small is unloaded\n")
        self.assertIn("[MODEL_NOT_FOUND]", cli.run("unload", "small", *self.at, expect=cli.FAILED).stderr)
        cli.run("convert", "source", "again", "--serve-as=again", *flags)
        self.assertIn("again  (transmla, mla, ready)", cli.run("models", *self.at).stdout)
        cli.run("unload", "again", *self.at)
        error = cli.run("convert", "../x", "out2", *flags, expect=cli.FAILED).stderr
        self.assertIn("[INVALID_PARAMETER]", error)


if __name__ == "__main__":
    unittest.main(verbosity=2)
