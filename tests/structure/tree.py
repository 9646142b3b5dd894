"""What the structure tests share: the project's own files and how they report."""
import os
import subprocess
import sys


def root():
    return os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else ".")


def files(*endings):
    """Files of the project with one of these endings, relative to its root, sorted."""
    listed = subprocess.run(["git", "-C", root(), "ls-files", "-co", "--exclude-standard"],
                            capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        names = listed.stdout.splitlines()
    else:  # an exported tree without git
        names = [os.path.relpath(os.path.join(folder, name), root())
                 for folder, _, entries in os.walk(root()) for name in entries
                 if "/build" not in folder]
    return sorted(name for name in names
                  if name.endswith(endings) and os.path.exists(os.path.join(root(), name)))


def read(name):
    with open(os.path.join(root(), name), encoding="utf-8") as file:
        return file.read()


def finish(problems, what):
    for problem in problems:
        print(problem)
    print(f"{what}: {len(problems)} problem(s)")
    sys.exit(1 if problems else 0)
