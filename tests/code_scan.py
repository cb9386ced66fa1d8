"""A look through the package's syntax trees for ways in which data could become code.

Names are followed through imports and their aliases; words in comments and strings do not count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

MODULES = {
    "pickle",
    "pickletools",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "code",
    "codeop",
    "pty",
}
CALLS = {
    *("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "builtins.compile"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "runpy.run_path"),
    *("joblib.load", "pandas.read_pickle", "torch.hub.load", "numpy.fromregex", "yaml.unsafe_load", "yaml.full_load"),
    *("yaml.load_all", "yaml.unsafe_load_all", "yaml.full_load_all", "pandas.eval", "gensim.utils.unpickle"),
    *("torch.jit.load", "torch.hub.load_state_dict_from_url", "numpy.core.multiarray._reconstruct"),
    # in the one module that may import pickle
    *("pickle.load", "pickle.loads", "pickle.Unpickler"),
}
# the one value that may be given, written out: anything else is unsafe or cannot be told from the source
FLAGS = {"allow_pickle": False, "weights_only": True, "shell": False, "trust_remote_code": False}
# reading with these is safe only when it is said, so they are never named without being called: function, argument
SAID = {
    **dict.fromkeys(("numpy.load", "numpy.lib.npyio.load"), "allow_pickle"),
    **dict.fromkeys(("torch.load", "torch.serialization.load"), "weights_only"),
}
OPENERS = {"subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_call", "subprocess.check_output"}


def findings(source: str, own_pickle_reader: bool = False) -> list[str]:
    """What the source does that could turn data into code, as `line N: what`."""
    tree = ast.parse(source)
    names = dict(_imported(tree))
    names |= dict(_renamed(tree, names))
    said = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and _says(node, names)}
    found = []
    for node in ast.walk(tree):
        named = () if id(node) in said else _of_name(node, names)
        for what in (*_of_import(node, own_pickle_reader), *named, *_of_call(node, names), *_of_flag(node)):
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


def _renamed(tree: ast.AST, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Modules and functions that get another name by assignment, as in `t = torch`.

    What a name means already, here or as a builtin that may not be used, it goes on meaning elsewhere in the file.
    """
    taken = CALLS | names.keys()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            value = _full_name(node.value, names) if node.value is not None else ""
            if value.split(".")[0] in names.values() or value in names.values():
                found = [target.id for target in targets if isinstance(target, ast.Name)]
                yield from ((name, value) for name in found if name not in taken)


def _says(node: ast.Call, names: dict[str, str]) -> bool:
    """Whether a call that is safe only when it says so says so."""
    argument = SAID.get(_full_name(node.func, names))
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    return argument in given and _safe(argument, given[argument])


def _safe(argument: str, value: ast.AST) -> bool:
    return isinstance(value, ast.Constant) and value.value is FLAGS[argument]


def _of_import(node: ast.AST, own_pickle_reader: bool) -> Iterator[str]:
    modules = []
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        modules = [str(node.module)]
        if any(alias.name == "*" for alias in node.names):
            yield f"imports everything of {node.module}, so that names cannot be followed"
    for module in modules:
        first = module.split(".")[0]
        if first in MODULES and not (first == "pickle" and own_pickle_reader):
            yield f"imports {module}"


def _full_name(node: ast.AST, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        inner = _full_name(node.value, names)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def _of_name(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    """What is named, be it called or only handed on, as `map(eval, lines)` does."""
    name = ""
    if isinstance(node, ast.Name | ast.Attribute):
        name = _full_name(node, names)
    elif isinstance(node, ast.Call) and _full_name(node.func, names) in {"getattr", "builtins.getattr"}:
        name = ".".join([_full_name(node.args[0], names), *(ast.unparse(each).strip("'") for each in node.args[1:2])])
    if name in CALLS:
        yield f"uses {name}"
    if name in SAID:
        yield f"{name} without being called with {SAID[name]}={FLAGS[SAID[name]]}"


def _of_call(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    if not isinstance(node, ast.Call):
        return
    name = _full_name(node.func, names)
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if name == "yaml.load":
        loader = given.get("Loader") or (node.args[1] if len(node.args) > 1 else None)
        shown = ast.unparse(loader) if loader is not None else ""
        if not ("SafeLoader" in shown or shown == "_core_loader()"):
            yield f"yaml.load with the loader {shown or 'that is unsafe'}"
    if name in OPENERS and node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr):
        yield f"{name} with one string"
    if name in OPENERS and len(node.args) > 1:
        yield f"{name} with options that are not named"


def _of_flag(node: ast.AST) -> Iterator[str]:
    pairs: list[tuple[object, ast.AST]] = []
    if isinstance(node, ast.keyword):
        pairs = [(node.arg, node.value)]
    elif isinstance(node, ast.Dict):
        keys = zip(node.keys, node.values, strict=True)
        pairs = [(key.value, value) for key, value in keys if isinstance(key, ast.Constant)]
    elif isinstance(node, ast.Assign):
        places = [target.slice for target in node.targets if isinstance(target, ast.Subscript)]
        pairs = [(place.value, node.value) for place in places if isinstance(place, ast.Constant)]
    for name, value in pairs:
        if isinstance(name, str) and name in FLAGS and not _safe(name, value):
            yield f"{name}={ast.unparse(value)}"
