"""32 concurrent streams of a real model."""
import unittest

import crowd
import harness
from server_process import real_model


class ConcurrentStreamsModelTest(unittest.TestCase):
    def test_smollm2(self):
        with harness.Server(real_model(), "--cache-memory=512MiB") as server:
            crowd.check(self, server, max_tokens=24)


harness.main()
