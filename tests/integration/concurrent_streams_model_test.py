"""32 concurrent streams of a real model and of its conversion."""
import pathlib
import subprocess
import tempfile
import unittest

import crowd
import harness
from server_process import BIN, real_model


class ConcurrentStreamsModelTest(unittest.TestCase):
    def test_smollm2(self):
        with harness.Server(real_model(), "--cache-memory=512MiB") as server:
            crowd.check(self, server, max_tokens=24)

    def test_smollm2_converted(self):
        source = real_model()
        with tempfile.TemporaryDirectory(prefix="transmla-test-") as folder:
            converted = pathlib.Path(folder) / "converted"
            # How good the text is does not matter here.
            subprocess.run([BIN / "transmla", "convert", source, converted, "--sample-text", "--nsamples=2", "--seqlen=64",
                            "--eval-sequences=0"], check=True, capture_output=True)
            with harness.Server(converted, "--cache-memory=512MiB") as server:
                crowd.check(self, server, max_tokens=24)


harness.main()
