#!/usr/bin/env python3
"""Checks that #include lines follow the direction of the folders, that every header begins with #pragma once, that no
task is named outside of its own file, and no model family outside of compress/families.

usage: check_includes.py [ROOT]        (default: the repository that this script is in)

    layers of compress/ <- {datasets, distill, prune, quantize, export} <- recipes <- apps

A layer of compress/ includes itself and those below it that LAYERS names, directly or through others. The five in the
middle do not include each other; yaml-cpp is seen only in recipes/, CLI11 only in apps/, Boost only in compress/serve/, LibTorch
not in the layers of PLAIN. A task (TaskType::NAME) is named in the table of tasks, TASK_TABLE, and in its own file, compress/task/NAME.cpp.
A family is named ("roberta", "RobertaTokenizer") in FAMILIES, where these texts are found, and as OTHER_WORDS says.
Tests and benchmarks may include and name anything. Prints a line for each violation and exits with 1 if there is one.
"""
import re
import sys
from pathlib import Path

# The layers of compress/, the lowest first, and what each is built on.
LAYERS = {
    "base": set(),
    "kernels": {"base"},
    "storage": {"kernels"},
    "runtime": {"storage"},
    "ops": {"runtime"},
    "checkpoint": {"base"},
    "tokenizer": {"checkpoint"},
    "spec": {"base"},
    "workflow": {"base"},
    "state_dict": {"checkpoint", "ops"},
    "families": {"spec", "storage", "tokenizer"},
    "model_files": {"families"},
    "engine": {"runtime", "model_files"},
    "pipeline": {"engine"},
    "c": {"pipeline"},
    "serve": {"pipeline"},
    "model": {"engine", "state_dict", "workflow"},
    "task": {"model", "pipeline"},
    "evaluate": {"task"},
    "model_folder": {"task"},
    "train": {"evaluate", "model_folder"},
}
PLAIN = {"compress/" + layer for layer in ("base", "kernels", "storage", "runtime", "checkpoint", "tokenizer", "spec", "families",
                                         "model_files", "engine", "pipeline", "c", "serve")}


def layers():
    """What each layer may include, itself first; a layer that is built on one above it is an error."""
    result = {}
    for name, below in LAYERS.items():
        result[name] = {name}.union(*(result[other] for other in below))
    return {f"compress/{name}": {f"compress/{other}" for other in may} for name, may in result.items()}


CORE = set(layers())
MIDDLE = {"datasets", "distill", "prune", "quantize", "export"}
MAY_INCLUDE = {
    **layers(),
    **{folder: CORE | {folder} for folder in MIDDLE},
    "recipes": CORE | MIDDLE | {"recipes"},
    "apps": CORE | MIDDLE | {"recipes", "apps"},
}
UNCHECKED = {"tests", "bench"}
LIBRARIES = {"yaml-cpp": "recipes", "CLI": "apps", "boost": "compress/serve"}  # first part of an include -> the one folder that may have it
LIBTORCH = {"torch", "ATen", "c10", "caffe2"}

TASK_TABLE = Path("compress/spec/task.h")
TASK = re.compile(r"\bTaskType::(\w+)|\busing enum TaskType\b")

FAMILIES = "compress/families"
FAMILY_TEXTS = re.compile(r'\bmodel_type = (?:family\.gguf = )?"([\w-]+)"|\{"(\w+)",\s*TokenizerRules::')
CLASS_PREFIX = re.compile(r'\bclass_prefix = "(\w+)"')
TEXT = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
OTHER_WORDS = {  # what is called as a family is, and is something else
    "compress/tokenizer/gguf_tokenizer.cpp": {"gpt2", "llama", "qwen2"},  # values of GGUF's own fields
    "compress/model/model.cpp": {"bert"},  # the module of the first stack, as all names of ours begin
    "compress/model/language_model.cpp": {"bert"},
    "compress/spec/config.h": {"bert"},  # whose defaults these are
}

HEADERS = {".h", ".hpp"}
SOURCES = HEADERS | {".cpp", ".cc", ".cxx", ".inc"}
INCLUDE = re.compile(r'\s*#\s*include\s*[<"]([^>"]+)[>"]')
COMMENTS = re.compile(r"\s+|//[^\n]*|/\*.*?\*/", re.DOTALL)


def folder_of(path):
    """The folder of the layout that a path from the root is in; None if it is in none."""
    parts = path.parts
    folder = "/".join(parts[:2]) if parts[0] == "compress" else parts[0]
    return folder if len(parts) > 1 and folder in MAY_INCLUDE.keys() | UNCHECKED else None


def included_folder(root, file, target):
    """Where an include leads: a folder of the layout, or None for a library's header."""
    beside = (root / file).parent / target
    if beside.is_file():
        resolved = beside.resolve()
        if resolved.is_relative_to(root):
            return folder_of(resolved.relative_to(root))
    return folder_of(Path(target))


def include_problem(root, file, target):
    folder = folder_of(file)
    library = target.split("/")[0]
    if LIBRARIES.get(library, folder) != folder:
        return f"{folder}/ includes <{target}>, which only {LIBRARIES[library]}/ may"
    if folder in PLAIN and library in LIBTORCH:
        return f"{folder}/ includes <{target}>, but is built without LibTorch"
    target_folder = included_folder(root, file, target)
    if target_folder is not None and target_folder not in MAY_INCLUDE[folder]:
        return f'{folder}/ includes "{target}", but may only include {", ".join(sorted(MAY_INCLUDE[folder]))}'
    return None


def begins_with_pragma_once(text):
    at = 0
    while match := COMMENTS.match(text, at):
        at = match.end()
    return re.compile(r"#\s*pragma\s+once\b").match(text, at) is not None


def family_names(root):
    """Texts that are a family's name, and a pattern of its classes' names."""
    texts, prefixes = set(), set()
    for path in (root / FAMILIES).glob("*.cpp"):
        content = path.read_text(encoding="utf-8")
        texts.update(name for pair in FAMILY_TEXTS.findall(content) for name in pair if name)
        prefixes.update(CLASS_PREFIX.findall(content))
    classes = "|".join(sorted(prefixes | {text for text in texts if text[0].isupper()})) or r"(?!)"
    return texts, re.compile(rf"(?:{classes})(?:Config|For\w+|Model|Tokenizer(?:Fast)?)")


def problems_of(root, file, families):
    text = (root / file).read_text(encoding="utf-8")
    once = file.suffix in HEADERS and not file.name.endswith("-inl.h")  # Highway's, which are read once for each target
    if once and not begins_with_pragma_once(text):
        yield 1, "does not begin with #pragma once"
    if folder_of(file) in UNCHECKED:
        return
    if folder_of(file) is None:
        yield 1, "is in no layer that scripts/check_includes.py knows"
        return
    for number, line in enumerate(text.split("\n"), 1):
        if match := INCLUDE.match(line):
            if problem := include_problem(root, file, match[1]):
                yield number, problem
        for match in TASK.finditer(line):
            if file not in (TASK_TABLE, Path(f"compress/task/{match[1]}.cpp")):
                yield number, f"names a task, {match[0]}: ask {TASK_TABLE} or compress/task/task.h for what it is about"
        if folder_of(file) == FAMILIES:
            continue
        for text in TEXT.findall(re.sub(r"(^|\s)//.*", "", line)):
            named = text in families[0] - OTHER_WORDS.get(file.as_posix(), set()) or families[1].fullmatch(text)
            if named:
                yield number, f'names a model family, "{text}": only {FAMILIES}/ may'


def link_problems(root):
    """Where the targets are linked otherwise than LAYERS says."""
    for name, below in LAYERS.items():
        lists = root / "compress" / name / "CMakeLists.txt"
        if not lists.is_file():
            continue
        text = lists.read_text()
        found = set(re.findall(r"compress::(\w+)", re.sub(r".*\bDEPENDS\b|\bPRIVATE\b.*", "", text, flags=re.DOTALL)))
        if found != below:
            yield f"{lists.relative_to(root)}: depends on {sorted(found)}, in scripts/check_includes.py on {sorted(below)}"
        if ("libtorch::" in text or " PLAIN" not in text) == (f"compress/{name}" in PLAIN):
            yield f"{lists.relative_to(root)}: is it built with LibTorch or PLAIN? scripts/check_includes.py says otherwise"


def source_files(root):
    for folder in sorted({folder.split("/")[0] for folder in MAY_INCLUDE} | UNCHECKED):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SOURCES and path.is_file():
                yield path.relative_to(root)


def main():
    if len(sys.argv) > 2:
        sys.exit(__doc__.split("\n\n")[1])
    root = Path(sys.argv[1] if len(sys.argv) == 2 else Path(__file__).parents[1]).resolve()
    files = list(source_files(root))
    if not files:
        sys.exit(f"check_includes: no C++ files below {root}")
    families = family_names(root)
    violations = [f"{file}:{line}: {problem}" for file in files for line, problem in problems_of(root, file, families)]
    violations += link_problems(root)
    print("\n".join(violations) or f"check_includes: {len(files)} files follow the direction of the folders")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
