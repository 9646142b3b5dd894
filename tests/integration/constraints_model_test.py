"""JSON documents of a real model: every one valid under its schema."""
import unittest

import documents
import harness
from schemas import UNBOUNDED
from server_process import real_model

SEEDS = 8  # 208 documents


class ConstraintsModelTest(unittest.TestCase):
    def test_json_schemas(self):
        with harness.Server(real_model(), "--cache-memory=512MiB") as server:
            documents.check(self, server, SEEDS, endless=UNBOUNDED)


harness.main()
