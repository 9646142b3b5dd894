"""Runs one integration test in a virtual environment that holds an independent gRPC client.

Usage: run.py --bin DIR --googleapis DIR --environment DIR TEST.py [CLASS.CASE…]

The environment is made once a build folder: the packages of requirements.txt, and Python modules that grpc_tools
generates from our own .proto files. Exits with 77, which CTest shows as skipped, only where Python cannot make a
virtual environment at all.
"""
import argparse
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parents[1]
PROTOS = SOURCE / "proto"
OWN = ["transmla/v1/generation.proto", "transmla/v1/model.proto"]
GOOGLE = ["google/longrunning/operations.proto", "google/rpc/status.proto", "google/rpc/code.proto",
          "google/rpc/error_details.proto", "google/api/annotations.proto", "google/api/http.proto",
          "google/api/client.proto", "google/api/launch_stage.proto", "google/api/field_behavior.proto"]
SKIPPED = 77


def stamp_of():
    text = b"".join(path.read_bytes() for path in [HERE / "requirements.txt", *(PROTOS / name for name in OWN)])
    return hashlib.sha256(text).hexdigest()


def make(folder, googleapis):
    shutil.rmtree(folder, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", folder / "venv"], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        print(f"skipped: Python makes no virtual environment: {made.stdout}{made.stderr}")
        sys.exit(SKIPPED)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r",
                    HERE / "requirements.txt"], check=True)
    stubs = folder / "stubs"
    stubs.mkdir()
    subprocess.run([python, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"-I{googleapis}", f"--python_out={stubs}",
                    f"--grpc_python_out={stubs}", *OWN, *GOOGLE], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--googleapis", required=True)
    parser.add_argument("--environment", required=True, type=pathlib.Path)
    parser.add_argument("test")
    parser.add_argument("cases", nargs="*")
    arguments = parser.parse_args()

    folder = arguments.environment
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / "stamp"
        if not stamp.exists() or stamp.read_text() != stamp_of():
            make(folder, arguments.googleapis)
            stamp.write_text(stamp_of())

    os.environ["TRANSMLA_BIN"] = arguments.bin
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, [folder / "stubs", HERE, SOURCE / "tests" / "testing"]))
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    python = folder / "venv" / "bin" / "python"
    os.execv(python, [python, HERE / arguments.test, *arguments.cases])


main()
