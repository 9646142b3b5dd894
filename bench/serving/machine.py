"""What a reader must know of the machine to judge a benchmark's numbers."""
import datetime
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORES = len(os.sched_getaffinity(0))


def cpu_name():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor")


def has(flag):
    """Whether the processor reports a flag of /proc/cpuinfo."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return any(line.startswith("flags") and flag in line.split() for line in lines)


def conditions(threads, load_before):
    """Of a run that ends now; load_before: os.getloadavg()[0] at its start."""
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], stdout=subprocess.PIPE, text=True,
                            check=False).stdout.strip()
    return {"date": datetime.date.today().isoformat(), "cpu": cpu_name(), "cores": CORES, "threads": threads,
            "commit": commit, "load_before": round(load_before, 2), "load_after": round(os.getloadavg()[0], 2)}


def line(told):
    return (f"{told['cpu']}, {told['threads']} threads of {told['cores']} cores; {told['date']}, "
            f"commit {told['commit']}; load average {told['load_before']} before, {told['load_after']} after")
