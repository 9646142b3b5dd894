"""TLS, and clients that must show a certificate."""
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import grpc
import harness
from harness import PATIENCE_S, pb, request
from transmla.v1 import generation_pb2_grpc


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder, name):
        self.folder, self.name = pathlib.Path(folder), name
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem",
                     "-subj", f"/CN={name}", "-days", "2")

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def issue(self, name):
        """Files of a key and a certificate for this machine."""
        (self.folder / "san.conf").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj",
                     f"/CN={name}")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{self.name}.pem", "-CAkey", f"{self.name}.key",
                     "-CAcreateserial", "-days", "2", "-extfile", "san.conf", "-out", f"{name}.pem")
        return self.folder / f"{name}.key", self.folder / f"{name}.pem"

    def pem(self):
        return (self.folder / f"{self.name}.pem").read_bytes()


@unittest.skipUnless(shutil.which("openssl"), "openssl makes the certificates")
class TlsTest(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory(prefix="transmla-test-"))
        self.authority = Authority(self.folder, "authority")
        self.key, self.certificate = self.authority.issue("server")

    def ask(self, server, credentials):
        with grpc.secure_channel(server.address, credentials) as channel:
            call = generation_pb2_grpc.GenerationServiceStub(channel).Generate(
                request("a", 3, endless=True), timeout=PATIENCE_S)
            return harness.read(call).usage.completion_tokens

    def test_encrypted(self):
        with harness.Server("llama_tied", f"--tls-cert={self.certificate}", f"--tls-key={self.key}") as server:
            self.assertEqual(self.ask(server, grpc.ssl_channel_credentials(self.authority.pem())), 3)
            stranger = grpc.ssl_channel_credentials(Authority(self.folder, "stranger").pem())
            self.assertEqual(harness.failure(lambda: self.ask(server, stranger)).code, grpc.StatusCode.UNAVAILABLE)
            plain = harness.failure(lambda: server.generate(request("a", 1)))
            self.assertEqual(plain.code, grpc.StatusCode.UNAVAILABLE)

    def test_clients_show_a_certificate(self):
        with harness.Server("llama_tied", f"--tls-cert={self.certificate}", f"--tls-key={self.key}",
                            f"--tls-client-ca={self.authority.folder / 'authority.pem'}") as server:
            key, certificate = self.authority.issue("client")
            known = grpc.ssl_channel_credentials(self.authority.pem(), key.read_bytes(), certificate.read_bytes())
            self.assertEqual(self.ask(server, known), 3)
            key, certificate = Authority(self.folder, "stranger").issue("impostor")
            for unknown in (grpc.ssl_channel_credentials(self.authority.pem()),
                            grpc.ssl_channel_credentials(self.authority.pem(), key.read_bytes(),
                                                         certificate.read_bytes())):
                self.assertEqual(harness.failure(lambda: self.ask(server, unknown)).code, grpc.StatusCode.UNAVAILABLE)

    def test_broken_files_are_named(self):
        for flag, path in (("--tls-cert", "missing.pem"), ("--tls-key", "missing.key")):
            flags = {"--tls-cert": self.certificate, "--tls-key": self.key} | {flag: path}
            with self.assertRaisesRegex(AssertionError, f"ended with 1(.|\n)*{path}"):
                harness.Server("llama_tied", *(f"{name}={value}" for name, value in flags.items()))

    def test_an_open_port_is_an_explicit_wish(self):
        with self.assertRaisesRegex(AssertionError, "ended with 2(.|\n)*--insecure-bind"):
            harness.Server("llama_tied", "--listen=0.0.0.0:0")
        with harness.Server("llama_tied", "--listen=0.0.0.0:0", "--insecure-bind") as server:
            self.assertEqual(server.once(request("a", 2, endless=True)).usage,
                             pb.Usage(prompt_tokens=1, completion_tokens=2))


harness.main()
