"""Short names for what only its own module names: private names, parameters, and a few more.

Each different name takes heap on a chip for ever: its letters and seven bytes, also after its
module was unloaded, and from ROM the seven bytes. (A frozen image has them in flash.) So what is
compiled for a device has few different names: private ones become `_a`, `_b` and so on, each with
one meaning within a module, and parameters that no call names `_0`, `_1` by their place. A public
name is as good as private if no other module mentions it, and its own one only bare or of `self`.

Promises: the same program, line by line, so a traceback has the right lines; the same sources give
the same names. Names of classes stay, and so does any name that a string, a module that does not
set it, or a file outside of the package may mean.
"""

import ast
import builtins
import io
import re
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import count, product
from string import ascii_lowercase

from kalitka_build.source_edits import Edit, replaced

_PRIVATE = re.compile(r"_[A-Za-z]\w*")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def shorten(modules: Mapping[str, str], others: Iterable[str] = ()) -> dict[str, str]:
    """Return the sources of a program's modules, by the same keys, with short names.

    others: sources that are not compiled, and use the modules.
    """
    trees = {name: ast.parse(text) for name, text in modules.items()}
    outside = [ast.parse(text) for text in others]
    calls = [n for n in _nodes([*trees.values(), *outside]) if isinstance(n, ast.keyword)]
    called = {call.arg for call in calls if call.arg}
    private = _short_private_names(trees, outside, called)
    shortened = {}
    for path, text in modules.items():
        stay = called | private[path].keys()
        stay |= {name for name in _names(trees[path]) if _PRIVATE.fullmatch(name)}
        edits = _private_edits(text, private[path]) + _parameter_edits(trees[path], stay)
        shortened[path] = replaced(text, edits)
    return shortened


def _nodes(trees: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for tree in trees:
        yield from ast.walk(tree)


def _names(tree: ast.AST) -> set[str]:
    # Every name that occurs, set or not.
    found = set()
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name", "asname"):
            found.add(getattr(node, field, None))
        if isinstance(node, ast.Global | ast.Nonlocal):
            found.update(node.names)
    return {name for name in found if isinstance(name, str)}


def _set_names(tree: ast.AST) -> set[str]:
    # The names and attributes that a source itself sets.
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return found


def _constants(tree: ast.Module) -> set[str]:
    # What the compiler puts in the place of its name.
    return {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("const(")
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _own_names(tree: ast.Module, classes: set[str]) -> set[str]:
    # The public names that a source sets, and that it means wherever it has them, if no other
    # source does. classes: those of the program; of another one nobody knows the attributes.
    bases = [base for node in ast.walk(tree) for base in getattr(node, "bases", [])]
    known = all(
        _last_name(base) in classes or hasattr(builtins, _last_name(base)) for base in bases
    )
    found, others = set(), set()
    bare, bound = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
            bound.add(node.name)
        elif isinstance(node, ast.Attribute):
            of_self = isinstance(node.value, ast.Name) and node.value.id == "self" and known
            (found if of_self else others).add(node.attr)
        elif isinstance(node, ast.Name):
            (bound if isinstance(node.ctx, ast.Store) else bare).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            others.update(part for name in names for part in name.split("."))
    if not known:
        others |= {n.name for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for n in _defs(c)}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            found |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    builtin = bare - bound
    found &= _set_names(tree)
    return {name for name in found - others - builtin if not name.startswith("__")}


def _defs(node: ast.ClassDef) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def _last_name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def _short_private_names(
    trees: Mapping[str, ast.Module], outside: Iterable[ast.Module], called: set[str]
) -> dict[str, dict[str, str]]:
    # Returns {module: {name: short name}}.
    kept = {n.value for n in _nodes(trees.values()) if isinstance(n, ast.Constant)}
    for tree in outside:
        kept |= _names(tree)
    private = {}  # of each module
    for module, tree in trees.items():
        private[module] = {name for name in _names(tree) if _PRIVATE.fullmatch(name)}
        kept |= private[module] - _set_names(tree)
        kept |= {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
    modules_of: dict[str, set[str]] = defaultdict(set)
    mentions = Counter(name for tree in trees.values() for name in _names(tree))
    classes = {n.name for n in _nodes(trees.values()) if isinstance(n, ast.ClassDef)}
    for module, tree in trees.items():
        own = {name for name in _own_names(tree, classes) if mentions[name] == 1}
        for name in (private[module] | (own - called)) - kept - _constants(tree):
            modules_of[name].add(module)
    used = set().union(*map(_names, [*trees.values(), *outside]))
    fresh = (word for word in _words() if word not in used)
    pool: list[str] = []
    taken: dict[str, set[str]] = defaultdict(set)  # short names, by module
    relatives = _relatives(trees)
    short: dict[str, dict[str, str]] = {module: {} for module in trees}
    # The names of many modules first: fewer are needed so.
    for name in sorted(modules_of, key=lambda name: (-len(modules_of[name]), name)):
        around = set().union(*(relatives[module] for module in modules_of[name]))
        busy = set().union(*(taken[module] for module in around))
        free = next((word for word in pool if word not in busy), None)
        if not free:
            free = next(fresh)
            pool.append(free)
        for module in modules_of[name]:
            short[module][name] = free
            taken[module].add(free)
    return short


def _relatives(trees: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    # By module: it and those whose classes may be of one object with its own, as base or derived.
    classes = defaultdict(set)
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                classes[node.name].add(module)
    family = {module: {module} for module in trees}
    for module, tree in trees.items():
        for node in ast.walk(tree):
            for base in getattr(node, "bases", []):
                for other in classes[_last_name(base)]:
                    joined = family[module] | family[other]
                    for member in joined:
                        family[member] = joined
    return family


def _words() -> Iterator[str]:
    for size in count(1):
        for letters in product(ascii_lowercase, repeat=size):
            yield "_" + "".join(letters)


def _private_edits(text: str, short: Mapping[str, str]) -> list[Edit]:
    edits = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and token.string in short:
            line, column = token.start
            place = len(token.line[:column].encode())
            end = place + len(token.string)
            edits.append(Edit(line, place, line, end, short[token.string], token.string))
    return edits


def _parameter_edits(tree: ast.AST, stay: set[str], taken: int = 0) -> list[Edit]:
    # stay: names that some call gives. taken: how many parameters are renamed around `tree`.
    edits = []
    for node in ast.iter_child_nodes(tree):
        own: dict[str, str] = {}
        if isinstance(node, _FUNCTIONS):
            body = ast.Module(node.body, []) if isinstance(node.body, list) else node.body
            kept = stay | _bound_again(body)
            for one in [*node.args.posonlyargs, *node.args.args]:
                if one.arg not in kept:
                    own[one.arg] = f"_{taken + len(own)}"
                    edits.append(_edit_name(one, own[one.arg], one.arg))
            for word in ast.walk(body):
                if isinstance(word, ast.Name) and word.id in own:
                    edits.append(_edit_name(word, own[word.id], word.id))
        edits += _parameter_edits(node, stay, taken + len(own))
    return edits


def _edit_name(node: ast.arg | ast.Name, new: str, old: str) -> Edit:
    # Not all of the node: a parameter's annotation stays.
    line, start = node.lineno, node.col_offset
    return Edit(line, start, line, start + len(old), new, old)


def _bound_again(body: ast.AST) -> set[str]:
    # The names that may mean something else in a part of a function's body, or in more than it.
    found = set()
    for node in ast.walk(body):
        if isinstance(node, (*_FUNCTIONS, *_COMPREHENSIONS, ast.ClassDef)):
            found |= _set_names(node)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            found.update(node.names)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
    return found
