"""A look through the package's syntax trees for ways in which data could become code.

Names are followed through imports and their aliases; words in comments and strings do not count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "code", "codeop", "pty"}
CALLS = {
    *("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "builtins.compile"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "runpy.run_path"),
    *("joblib.load", "pandas.read_pickle", "torch.hub.load", "numpy.fromregex", "yaml.unsafe_load", "yaml.full_load"),
    *("yaml.load_all", "yaml.unsafe_load_all", "yaml.full_load_all", "pandas.eval", "gensim.utils.unpickle"),
}
FLAGS = {"allow_pickle": True, "weights_only": False, "shell": True, "trust_remote_code": True}
# reading with these is safe only when it is said: (call, argument, value)
SAID = {"numpy.load": ("allow_pickle", False), "torch.load": ("weights_only", True)}
OPENERS = {"subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_call", "subprocess.check_output"}


def findings(source: str, own_pickle_reader: bool = False) -> list[str]:
    """What the source does that could turn data into code, as `line N: what`."""
    tree = ast.parse(source)
    names = dict(_imported(tree))
    found = []
    for node in ast.walk(tree):
        for what in (*_of_import(node, own_pickle_reader), *_of_call(node, names), *_of_flag(node)):
            found.append(f"line {getattr(node, 'lineno', 0)}: {what}")
    return found


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.split(".")[0], alias.name if alias.asname else alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _of_import(node: ast.AST, own_pickle_reader: bool) -> Iterator[str]:
    modules = []
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        modules = [str(node.module)]
    for module in modules:
        first = module.split(".")[0]
        if first in MODULES or (first == "pickletools" and not own_pickle_reader):
            yield f"imports {module}"


def _full_name(node: ast.AST, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        inner = _full_name(node.value, names)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def _of_call(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    # also where a function is only handed on, as `map(eval, lines)` does
    if isinstance(node, ast.Name | ast.Attribute) and _full_name(node, names) in CALLS:
        yield f"uses {_full_name(node, names)}"
    if not isinstance(node, ast.Call):
        return
    name = _full_name(node.func, names)
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if name in SAID:
        argument, value = SAID[name]
        said = given.get(argument)
        if not (isinstance(said, ast.Constant) and said.value is value):
            yield f"{name} without {argument}={value}"
    if name == "yaml.load":
        loader = given.get("Loader") or (node.args[1] if len(node.args) > 1 else None)
        shown = ast.unparse(loader) if loader is not None else ""
        if not ("SafeLoader" in shown or shown == "_core_loader()"):
            yield f"yaml.load with the loader {shown or 'that is unsafe'}"
    if name in OPENERS and node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr):
        yield f"{name} with one string"


def _of_flag(node: ast.AST) -> Iterator[str]:
    pairs: list[tuple[object, ast.AST]] = []
    if isinstance(node, ast.keyword):
        pairs = [(node.arg, node.value)]
    elif isinstance(node, ast.Dict):
        pairs = [(key.value, value) for key, value in zip(node.keys, node.values, strict=True) if _constant(key)]
    for name, value in pairs:
        if name in FLAGS and not (isinstance(value, ast.Constant) and value.value is not FLAGS[str(name)]):
            yield f"{name}={ast.unparse(value)}"


def _constant(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant)
