"""Fails on an include that no arrow of docs/architecture.md allows, and on a third party outside its fence."""
import re

import tree

# folder -> folders it may include directly (itself and engine/base are always allowed). The façade in engine/ sits above
# everything of the engine. Keep docs/architecture.md the same.
ARROWS = {
    "engine/base": [],
    "engine/tensor": [],
    "engine/format": ["engine/tensor"],
    "engine/tokenizer": ["engine/format"],
    "engine/backend": ["engine/tensor"],
    "engine/backend/cpu": ["engine/backend", "engine/tensor"],
    "engine/backend/cuda": ["engine/backend", "engine/tensor"],
    "engine/model": ["engine/backend", "engine/format", "engine/tensor"],
    "engine/cache": [],
    "engine/grammar": [],
    "engine/tool_call": [],
    "engine/sample": ["engine/grammar"],
    "engine/serve": ["engine/model", "engine/cache", "engine/grammar", "engine/sample", "engine/tokenizer",
                     "engine/tool_call", "engine/backend"],
    "engine/linalg": [],
    "engine/convert": ["engine/model", "engine/linalg", "engine/format", "engine/tokenizer", "engine/backend",
                       "engine/tensor"],
    "engine": ["engine/serve", "engine/convert", "engine/backend/cpu", "engine/backend/cuda", "engine/model",
               "engine/cache", "engine/grammar", "engine/tokenizer", "engine/format", "engine/backend",
               "engine/linalg", "engine/tensor"],
    "server": ["engine", "engine/serve", "engine/convert", "engine/grammar", "engine/tokenizer", "engine/tool_call"],
    "client/lib": [],
    "client/cli": ["client/lib", "engine", "engine/convert"],
}
ARROWS["engine/convert/recover"] = ARROWS["engine/convert"] + ["engine/convert"]
ARROWS["engine/convert"].append("engine/convert/recover")
ARROWS["engine/model/families"] = ARROWS["engine/model"] + ["engine/model"]

# header prefix -> folders that may include it
FENCES = {
    r"grpc(pp)?/|google/(protobuf|rpc|longrunning)/|transmla/v1/": ["server", "client/lib"],
    r"cuda|cublas|nccl": ["engine/backend/cuda"],
    r"dnnl|oneapi/": ["engine/backend/cpu"],
    r"lapacke|cblas": ["engine/linalg"],
    r"prometheus/|Civet|civetweb": ["server"],
    r"spdlog/": ["server"],
    r"zlib": ["engine/convert"],
    r"pcre2|sentencepiece|utf8proc": ["engine/tokenizer"],
    r"nlohmann/": ["engine/format", "engine/tokenizer", "engine/grammar", "engine/tool_call", "engine/convert", "server",
                   "client/cli"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^">]+)[">]', re.M)


def folder_of(name):
    return name.rsplit("/", 1)[0]


def check(name):
    folder = folder_of(name)
    if folder not in ARROWS:
        yield f"{name}: folder {folder} has no row in ARROWS; add one, here and in docs/architecture.md"
        return
    for _, header in INCLUDE.findall(tree.read(name)):
        target = folder_of(header) if "/" in header else ""
        if target in ARROWS and target not in (folder, "engine/base") and target not in ARROWS[folder]:
            # families are part of the model layer
            if {folder, target} == {"engine/model", "engine/model/families"}:
                continue
            yield (f"{name}: includes {header}, but {folder} may include only "
                   f"{', '.join(ARROWS[folder]) or 'engine/base'}")
        for pattern, allowed in FENCES.items():
            if re.match(pattern, header) and folder not in allowed:
                yield f"{name}: includes {header}, which only {', '.join(allowed)} may use"
        if re.match(r"(tests|bench)/", header):
            yield f"{name}: includes {header}; nothing includes tests or benchmarks"


def main():
    problems = []
    for name in tree.files(".h", ".cc", ".cu", ".cuh"):
        if name.startswith(("engine/", "server/", "client/")):
            problems.extend(check(name))
    tree.finish(problems, "layering")


main()
