"""inspect, eval and convert on models of this machine's disk."""
import json
import pathlib
import shutil
import signal
import tempfile
import time
import unittest

import cli
from server_process import TINY_MODELS, until

QUICK = ["--qk-rope-head-dim=8", "--kv-lora-rank=32", "--nsamples=4", "--seqlen=32", "--eval-sequences=1",
         "--eval-length=64"]
TEXT = "The sea is a very old and cold place where ships sail under stars and people tell long stories of winter. "


class LocalTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="transmla-test-")))
        self.text = self.folder / "text.txt"
        self.text.write_text(TEXT * 60)

    def test_inspect(self):
        grouped = cli.run_json("inspect", TINY_MODELS / "llama_tied")
        self.assertEqual({key: grouped[key] for key in ("family", "attention", "num_layers", "hidden_size", "vocab_size",
                                                         "num_attention_heads", "num_key_value_heads", "head_dim",
                                                         "max_context_tokens", "cache_bytes_per_token")},
                         {"family": "llama", "attention": "gqa", "num_layers": 2, "hidden_size": 64, "vocab_size": 400,
                          "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
                          "max_context_tokens": 512, "cache_bytes_per_token": 256})
        self.assertEqual(sum(grouped["weight_bytes_by_dtype"].values()), grouped["weight_bytes"])
        self.assertEqual([plan["cache_bytes_per_token"] for plan in grouped["conversions"]], [128, 84, 64, 32])
        latent = cli.run_json("inspect", TINY_MODELS / "mla")
        self.assertNotIn("conversions", latent)
        self.assertEqual(len(cli.run_json("inspect", TINY_MODELS / "mistral")["conversions"]), 4)
        broken = self.folder / "model"
        shutil.copytree(TINY_MODELS / "llama_tied", broken)
        config = (broken / "config.json").read_text()
        (broken / "config.json").write_text(config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
        self.assertIn("model.layers.2.", cli.run_json("inspect", broken)["conversion_error"])
        self.assertEqual((latent["attention"], latent["kv_lora_rank"], latent["qk_rope_head_dim"]), ("mla", 32, 8))
        gguf = cli.run_json("inspect", TINY_MODELS / "llama_tied_q8_0_gguf" / "model.gguf")
        self.assertIn("q8_0", gguf["weight_bytes_by_dtype"])
        self.assertNotIn("n_routed_experts", grouped)
        keys = ("n_routed_experts", "num_experts_per_tok", "n_shared_experts", "moe_intermediate_size", "layers_with_experts")
        for model, numbers in (("mixtral", [5, 2, 0, 32, 2]), ("qwen3_moe_stepped", [6, 3, 0, 20, 1]),
                               ("deepseek_v3", [12, 3, 2, 20, 2])):
            inspected = cli.run_json("inspect", TINY_MODELS / model)
            self.assertEqual([inspected[key] for key in keys], numbers, model)
        self.assertIn("experts: 12 of width 20 in 2 of the layers, 3 a token and 2 shared by all",
                      cli.run("inspect", TINY_MODELS / "deepseek_v3").stdout)
        self.assertIn("grouped-query, 4 heads over 2", cli.run("inspect", TINY_MODELS / "llama_tied").stdout)

    def evaluate(self, model, *flags):
        return cli.run_json("eval", model, "--text", self.text, "--sequences", "5", "--length", "64", *flags)

    def test_eval(self):
        result = self.evaluate(TINY_MODELS / "llama_tied")
        # The loss counts every position but the first of each sequence.
        self.assertEqual(result["tokens"], 5 * 63)
        self.assertGreater(result["perplexity"], 1)
        self.assertEqual(self.evaluate(TINY_MODELS / "llama_tied", "--threads=1")["perplexity"], result["perplexity"],
                         "the number of threads changes nothing")
        line = cli.run("eval", TINY_MODELS / "llama_tied", "--text", self.text, "--sequences=5", "--length=64").stdout
        self.assertIn(f"perplexity {result['perplexity']:.4f} over 315 tokens", line)
        # A text that is too short gives fewer sequences, and says so.
        short = cli.run_json("eval", TINY_MODELS / "llama_tied", "--text", self.text, "--sequences=1000")
        self.assertLess(short["sequences"], 1000)
        self.assertEqual(short["tokens"], short["sequences"] * 511)
        self.text.write_text("The sea")
        cli.run("eval", TINY_MODELS / "llama_tied", "--text", self.text, expect=cli.FAILED)
        cli.run("eval", TINY_MODELS / "llama_tied", "--text", self.folder / "nothing.txt", expect=cli.FAILED)

    def test_an_equivalent_conversion_has_the_same_perplexity(self):
        before = self.evaluate(TINY_MODELS / "llama_tied")["perplexity"]
        report = cli.run_json("convert", TINY_MODELS / "llama_tied", self.folder / "out", "--recipe", "equivalent",
                              "--eval-sequences=0")
        self.assertEqual(report["recipe"], "equivalent")
        self.assertLessEqual(report["cache_bytes_per_token_after"], report["cache_bytes_per_token_before"])
        after = self.evaluate(self.folder / "out")["perplexity"]
        self.assertLess(abs(after / before - 1), 1e-4)
        self.assertEqual(cli.run_json("inspect", self.folder / "out")["attention"], "mla")

    def test_the_format_reaches_the_converter(self):
        report = cli.run_json("convert", TINY_MODELS / "llama_tied", self.folder / "out", "--recipe", "equivalent",
                              "--format", "deepseek-v3", "--eval-sequences=0")
        self.assertEqual(report["format"], "deepseek-v3")
        config = json.loads((self.folder / "out" / "config.json").read_text())
        self.assertEqual(config["architectures"], ["DeepseekV3ForCausalLM"])

    def test_convert(self):
        out = self.folder / "out"
        report = cli.run_json("convert", TINY_MODELS / "llama_tied", out, "--text", self.text, *QUICK)
        self.assertEqual((report["qk_rope_head_dim"], report["kv_lora_rank"], report["num_layers"]), (8, 32, 2))
        self.assertEqual((report["cache_bytes_per_token_before"], report["cache_bytes_per_token_after"]), (256, 160))
        self.assertEqual(len(report["layers"]), 2)
        for key in ("perplexity_before", "perplexity_after", "kl_divergence", "greedy_agreement"):
            self.assertIn(key, report["quality"])
        self.assertEqual(json.loads((out / "transmla_report.json").read_text()), report)
        self.assertLessEqual({"config.json", "model.safetensors", "tokenizer.json"}, set(cli.names(out)))

        self.assertIn("exists", cli.run("convert", TINY_MODELS / "llama_tied", out, "--text", self.text, *QUICK, expect=cli.FAILED).stderr)
        error = cli.run("convert", TINY_MODELS / "llama_tied", self.folder / "other", *QUICK, expect=cli.FAILED).stderr
        self.assertIn("--sample-text", error)
        text = cli.run("convert", TINY_MODELS / "llama_tied", out, "--text", self.text, "--overwrite", *QUICK)
        self.assertIn("256 bytes a token before, 160 after", text.stdout)
        # Not a terminal: progress comes a line a tenth.
        self.assertRegex(text.stderr, r"\[#+\.*\] +\d+ %  calibrate")
        self.assertEqual(cli.names(self.folder), ["out", "text.txt"])

    def test_a_dry_run_writes_nothing(self):
        plan = cli.run_json("convert", TINY_MODELS / "llama_tied", self.folder / "out", "--dry-run", "--sample-text", *QUICK)
        self.assertEqual(plan["cache_bytes_per_token_after"], 160)
        self.assertEqual(cli.names(self.folder), ["text.txt"])
        error = cli.run("convert", TINY_MODELS / "llama_tied", self.folder / "out", "--dry-run", "--sample-text", "--qk-rope-head-dim=7",
                        expect=cli.FAILED).stderr
        self.assertIn("qk_rope_head_dim", error)

    def test_an_interrupted_conversion_leaves_nothing(self):
        process = cli.start("convert", TINY_MODELS / "llama_tied", self.folder / "out", "--qk-rope-head-dim=8",
                            "--kv-lora-rank=32", "--nsamples=100000", "--sample-text")
        until(lambda: cli.names(self.folder) != ["text.txt"], "it has begun to write")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, cli.INTERRUPTED)
        self.assertEqual(cli.names(self.folder), ["text.txt"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
