"""Fails on banned calls, #if outside the allowed places, orphaned sources, TODOs without a reason, machine paths."""
import re

import tree

SOURCES = (".h", ".cc", ".cu", ".cuh")

# pattern, what to use instead, files where it is allowed
BANNED = [
    (r"\bstd::j?thread\b", "engine/base/thread.h", r"engine/base/thread(_pool)?\.(h|cc)$"),
    (r"std::chrono::\w+_clock::now|\babsl::Now\(|\btime\(nullptr\)", "engine/base/clock.h",
     r"engine/base/clock\.cc$"),
    (r"\babsl::SleepFor\(|\bstd::this_thread::sleep", "Clock::Sleep (engine/base/clock.h)", r"engine/base/clock\.cc$"),
    (r"\brand\(\)|std::mt19937|std::random_device", "engine/base/random.h", r"engine/base/"),
    (r"(?<![\w:])printf\(|std::cout\b", "absl::StrFormat and the caller's output", r"client/cli/"),
    (r"\bmalloc\(|(?<!\w)free\(", "AlignedBuffer or a container", r"^$"),
]


def code_only(text):
    """The text without comments and string contents, lines kept."""
    text = re.sub(r'R"\w*\(.*?\)\w*"', lambda m: '""' + "\n" * m.group(0).count("\n"), text, flags=re.S)
    text = re.sub(r'"(\\.|[^"\\\n])*"', '""', text)
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group(0).count("\n"), text, flags=re.S)


def check_calls(name, text):
    for number, line in enumerate(code_only(text).splitlines(), 1):
        for pattern, instead, allowed in BANNED:
            if re.search(pattern, line) and not re.search(allowed, name):
                yield f"{name}:{number}: {line.strip()}: use {instead}"
        if re.match(r"\s*#\s*if", line) and not re.match(r"\s*#\s*ifndef TRANSMLA_\w+_H_", line):
            if not re.match(r"engine/(base|backend/cuda)/", name):
                yield f"{name}:{number}: {line.strip()}: choose by file and link, not by preprocessor"


def check_text(name, text):
    for number, line in enumerate(text.splitlines(), 1):
        if name.startswith("tests/structure/"):
            return
        if re.search(r"\bTODO\b(?!\(\w+\): \w)", line) or re.search(r"\bFIXME\b|\bXXX\b", line):
            yield f"{name}:{number}: a TODO names its reason: TODO(subject): why not now"
        if re.search(r"/(work|tmp|root|home)/\w", line):
            yield f"{name}:{number}: a path of one machine: {line.strip()[:80]}"


def check_guard(name, text):
    guard = "TRANSMLA_" + re.sub(r"[^A-Z0-9]", "_", name.upper()) + "_"
    if f"#ifndef {guard}\n" not in text:
        yield f"{name}: the header guard must be {guard}"


def check_listed(names):
    """Every source is named by its folder's CMakeLists.txt, or globbed there."""
    for name in names:
        folder, base = name.rsplit("/", 1)
        lists = []
        while folder:
            try:
                lists.append(tree.read(f"{folder}/CMakeLists.txt"))
            except FileNotFoundError:
                pass
            folder = folder.rpartition("/")[0]
        stem = re.sub(r"(_test)?\.\w+$", "", base)
        globs = ("*.cc", "*_test.cc") if base.endswith("_test.cc") else ("*.cc",)
        # Functions and loops of CMake make names out of stems.
        made = [rf"transmla_\w+\({stem}\b", rf"ITEMS\b[^)]*\b{stem}\b[^)]*\)"]
        # A glob reaches its own folder, or a subfolder that has no list of its own.
        globbed = lists and any(glob in lists[0] for glob in globs)
        if not globbed and not any(base in text or any(re.search(m, text) for m in made) for text in lists):
            yield f"{name}: no CMakeLists.txt names it, so nothing builds it"


def main():
    problems = []
    own = [name for name in tree.files(*SOURCES) if name.startswith(("engine/", "server/", "client/"))]
    for name in own:
        text = tree.read(name)
        problems.extend(check_calls(name, text))
        if name.endswith(".h"):
            problems.extend(check_guard(name, text))
    for name in tree.files(*SOURCES, ".proto", ".py", ".cmake", ".md", ".txt", ".yaml", ".yml", ".json"):
        if not name.startswith("tests/golden/") or name.endswith((".cc", ".h", ".py")):
            problems.extend(check_text(name, tree.read(name)))
    problems.extend(check_listed(name for name in tree.files(".cc", ".cu")))
    tree.finish(problems, "style")


main()
