"""Runs `transmla` and looks at its exit code, output and errors."""
import json
import pathlib
import subprocess

from server_process import BIN, PATIENCE_S

PROGRAM = BIN / "transmla"
DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


def run(*arguments, stdin="", expect=DONE):
    """The finished process; fails unless it ended with the exit code `expect`."""
    result = subprocess.run([PROGRAM, *map(str, arguments)], input=stdin, capture_output=True, text=True, check=False,
                            timeout=5 * PATIENCE_S)
    assert result.returncode == expect, f"{arguments} ended with {result.returncode}, not {expect}:\n{result.stderr}"
    assert expect == DONE or result.stderr, "a failure says why"
    return result


def run_json(*arguments, **options):
    """The one JSON object on standard output."""
    return json.loads(run(*arguments, "--json", **options).stdout)


def start(*arguments):
    return subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def names(folder):
    """What lies in a folder, hidden things too."""
    return sorted(path.name for path in pathlib.Path(folder).iterdir())
