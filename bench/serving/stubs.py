"""Brings a benchmark of a running server into the Python environment of the integration tests.

It holds gRPC, the stubs of our own .proto files, and the tests' modules `harness` and `server_process`. It is the build
folder's own; tests/integration/run.py makes it where it is missing, and starts the benchmark again in it.
"""
import importlib.util
import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUN = ROOT / "tests/integration/run.py"


def add_arguments(parser):
    parser.add_argument("--build", default=ROOT / "build/release", type=pathlib.Path,
                        help="build folder whose environment of the integration tests, and programs, are used")
    parser.add_argument("--bin", type=pathlib.Path, help="folder of transmla-server, if not the build folder's")


def enter(args):
    """Returns only in the environment: elsewhere it starts this program again there."""
    if not importlib.util.find_spec("harness"):
        start(args, sys.argv[0], sys.argv[1:])


def start(args, script, command_line):
    """Becomes a script in the environment."""
    programs = args.bin or args.build / "bin"
    if not (programs / "transmla-server").is_file():
        sys.exit(f"{programs / 'transmla-server'} is missing: cmake --build --preset release --target transmla-server")
    command = [sys.executable, RUN, "--bin", programs.resolve(), "--googleapis", googleapis(args.build),
               "--environment", args.build.resolve() / "tests/integration/environment", "--",
               pathlib.Path(script).resolve(), *command_line]
    os.execv(sys.executable, [str(word) for word in command])


def googleapis(build):
    """Where the build has Google's .proto files."""
    cache = build / "CMakeCache.txt"
    found = re.search(r"^TRANSMLA_GOOGLEAPIS_DIR:\w+=(.+)$", cache.read_text() if cache.is_file() else "", re.M)
    if not found:
        sys.exit(f"{build} is no build folder with a server: cmake --preset release")
    return found.group(1)
