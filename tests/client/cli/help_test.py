"""--help of the program and of each command, and the exit codes of wrong usage."""
import re
import unittest

import cli

COMMANDS = ["chat", "generate", "models", "load", "unload", "convert", "inspect", "eval", "bench"]
# What the issue and the published converter call them.
FLAGS = {
    "convert": ["--recipe", "--format", "--shared-frequencies", "--qk-rope-head-dim", "--kv-lora-rank", "--q-lora-rank", "--freqfold",
                "--balance-kv-ratio", "--nsamples", "--seqlen", "--text", "--dtype", "--overwrite", "--json"],
    "eval": ["--text", "--sequences", "--length", "--json"],
    "generate": ["--server", "--max-tokens", "--temperature", "--top-p", "--seed", "--stop", "--json"],
    "chat": ["--system", "--server"],
    "load": ["--server", "--name", "--cache-memory", "--cache-dtype", "--max-context", "--json"],
    "unload": ["--server", "--json"],
    "models": ["--server", "--tls-ca", "--json"],
    "inspect": ["--json"],
    "bench": ["--concurrency", "--requests", "--prompt-tokens", "--json"],
}


class HelpTest(unittest.TestCase):
    def test_the_overview_names_every_command(self):
        for arguments in (["--help"], ["-h"], ["help"]):
            text = cli.run(*arguments).stdout
            for command in COMMANDS:
                self.assertRegex(text, rf"(?m)^  {command} +\w")
            self.assertIn("Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.", text)

    def test_every_command_explains_itself(self):
        for command in COMMANDS:
            with self.subTest(command):
                text = cli.run(command, "--help").stdout
                self.assertTrue(text.startswith(f"Usage: transmla {command}"), text)
                for flag in FLAGS[command]:
                    self.assertIn(flag, text)
                self.assertIsNone(re.search(r"--\w+_", text), "flags are written with dashes")
                self.assertLessEqual(max(map(len, text.splitlines())), 120)
                # Also behind other words, as people add it when they are stuck.
                self.assertEqual(cli.run(command, "x", "--json", "--help").stdout, text)

    def test_every_flag_that_is_explained_exists(self):
        for command in COMMANDS:
            text = cli.run(command, "--help").stdout
            for flag in sorted(set(re.findall(r"--[a-z-]+[a-z]", text)) - {"--flags"}):
                with self.subTest(command=command, flag=flag):
                    # A value that no flag takes: the error is about the value, not about the flag.
                    error = cli.run(command, f"{flag}=\x01", "1", "2", "3", expect=cli.WRONG_USAGE).stderr
                    self.assertNotIn("there is no flag", error)

    def test_wrong_usage(self):
        cases = [
            ([], "Usage: transmla COMMAND"),
            (["sing"], "no command 'sing'"),
            (["generate"], "usage: transmla generate PROMPT"),
            (["generate", "a", "b"], "usage: transmla generate PROMPT"),
            (["models", "x"], "usage: transmla models"),
            (["load"], "usage: transmla load PATH"),
            (["unload", "a", "b"], "usage: transmla unload NAME"),
            (["convert", "a", "b", "--serve-as=c"], "--serve-as needs --remote"),
            (["generate", "a", "--colour"], "there is no flag --colour"),
            (["generate", "a", "--kv-lora-rank=3"], "there is no flag --kv-lora-rank"),
            (["generate", "a", "--max-tokens", "many"], "--max-tokens cannot be \"many\""),
            (["generate", "a", "--max_tokens"], "--max_tokens needs a value"),
            (["convert", "only-one"], "usage: transmla convert SOURCE DEST"),
            (["convert", "a", "b", "--recipe", "magic"], "--recipe is 'magic'; it must be best, transmla or equivalent"),
            (["convert", "a", "b", "--dtype=q4_0"], "--dtype is 'q4_0'; it must be f32, f16 or bf16"),
            (["convert", "a", "b", "--dtype=q8_0"], "--dtype is 'q8_0'; it must be f32, f16 or bf16 (q8_0: as GGUF)"),
            (["convert", "a", "b", "--format=zip"], "--format is 'zip'; it must be transmla, deepseek-v3, gguf or gguf-deepseek2"),
            (["convert", "a", "b", "--remote", "--eval-text=x"], "do not go with --remote"),
            (["eval", "model"], "eval needs --text FILE"),
            (["eval", "model", "--text", "a", "--cache-dtype", "q8_0"], "--cache-dtype is 'q8_0'"),
            (["bench", "--concurrency", "0"], "--concurrency is 1 to"),
        ]
        for arguments, message in cases:
            with self.subTest(arguments):
                result = cli.run(*arguments, expect=cli.WRONG_USAGE)
                self.assertIn(message, result.stderr)
                self.assertEqual(result.stdout, "")

    def test_failures_are_not_wrong_usage(self):
        self.assertIn("no such file", cli.run("inspect", "/nothing", expect=cli.FAILED).stderr)
        # What the command names is broken, not the command.
        self.assertIn("of no known format", cli.run("inspect", cli.__file__, expect=cli.FAILED).stderr)
        error = cli.run("models", "--server", "127.0.0.1:1", expect=cli.FAILED).stderr
        self.assertIn("no server answers at 127.0.0.1:1", error)
        self.assertIn("transmla-server --model", error)


if __name__ == "__main__":
    unittest.main(verbosity=2)
