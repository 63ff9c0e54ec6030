"""Public constants, put in the place of their names in every module of a program.

MicroPython's compiler does that with a module's private constants only (`_MAX = const(9)`). A
public one is a name that takes heap on a chip for ever, an entry of its module, and code wherever
it is used. Integers are replaced, and texts so short that MicroPython has them as names anyway.

Promises: the same program, line by line. A constant stays that a string, a file outside of the
package or an access that cannot be resolved may mean, and so do those of a package itself, which
tools ask a device for.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from types import SimpleNamespace

from kalitka_build.source_edits import Edit, edit_node, replaced

_CONSTANT = re.compile(r"[A-Z][A-Z0-9_]*")
_TEXT_MAX = 10  # MicroPython's MICROPY_ALLOC_PARSE_INTERN_STRING_LEN
_Value = int | str
_Values = dict[str, dict[str, _Value]]  # by module, by name


def inline(modules: Mapping[str, str], others: Iterable[str] = ()) -> dict[str, str]:
    """Return the sources of a program's modules, by the same keys, without public constants.

    modules: by their paths, such as `kalitka/access/rules.py`. others: sources that are not
    compiled, and use the modules.
    """
    trees = {path: ast.parse(text) for path, text in modules.items()}
    scopes: dict[str, _Scope] = {}
    for path, tree in trees.items():
        scopes[path] = _Scope(tree, trees, scopes)
    kept = _unresolved(scopes, map(ast.parse, others))
    values = {
        path: {
            name: value
            for name, value in own.items()
            if _CONSTANT.fullmatch(name) and name not in kept and not path.endswith("__init__.py")
        }
        for path, own in _values(scopes).items()
    }
    return {
        path: replaced(text, scopes[path].edits(values[path], values))
        for path, text in modules.items()
    }


class _Scope:
    """What the names of one module mean.

    modules: {local name: path} of imported modules. imported: {local name: (path, name)} of what
    was imported from a module. assigned: {name: [the values that are assigned to it]}.
    """

    def __init__(self, tree: ast.Module, paths: Iterable[str], scopes: "Mapping[str, _Scope]"):
        self.tree = tree
        self._scopes = scopes
        self.modules: dict[str, str] = {}
        self.imported: dict[str, tuple[str, str]] = {}
        self.assigned: dict[str, list[ast.expr | None]] = defaultdict(list)
        self._imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        for node in self._imports:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                local = alias.asname or alias.name
                if path := _path_of(whole, paths):
                    self.modules[local] = path
                elif path := _path_of(node.module or "", paths):
                    self.imported[local] = path, alias.name
        used = sum(isinstance(node, ast.Name) and node.id == "const" for node in ast.walk(tree))
        self._folds = used == sum(
            isinstance(statement, ast.Assign) and ast.unparse(statement.value).startswith("const(")
            for statement in tree.body
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.assigned[node.id].append(None)
            elif isinstance(node, ast.arg):
                self.assigned[node.arg].append(None)
        for statement in tree.body:
            if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                target = statement.targets[0]
                if isinstance(target, ast.Name) and len(self.assigned[target.id]) == 1:
                    self.assigned[target.id] = [statement.value]

    def meant(self, node: ast.AST) -> tuple[str, str] | None:
        """Return the (path, name) of another module that a node means, or None."""
        if isinstance(node, ast.Name) and node.id not in self.assigned:
            return self._origin(node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            path = self.modules.get(node.value.id)
            if path and node.value.id not in self.assigned:
                return self._scopes[path]._origin(node.attr) or (path, node.attr)
        return None

    def _origin(self, name: str) -> tuple[str, str] | None:
        # Where an imported name comes from, which may not be where it is imported from.
        found = self.imported.get(name)
        return found and (self._scopes[found[0]]._origin(found[1]) or found)

    def value(self, node: ast.expr, own: Mapping[str, _Value], values: _Values) -> object:
        """Return the value of an expression, None if it is not made of known values only."""
        known: dict[str, object] = {"__builtins__": {}, "const": lambda value: value, **own}
        for name, path in self.modules.items():
            known[name] = SimpleNamespace(**values[path])
        for name in self.imported:
            path, original = self._origin(name) or ("", "")
            if original in values[path]:
                known[name] = values[path][original]
        try:
            return eval(compile(ast.Expression(node), "", "eval"), known)
        except Exception:  # whatever it is, the compiler on the device's side will see
            return None

    def edits(self, own: Mapping[str, _Value], values: _Values) -> Iterator[Edit]:
        """Yield what puts values in the place of the names."""
        for node in self._imports:
            kept = []
            for alias in node.names:
                path, name = self._origin(alias.asname or alias.name) or ("", "")
                if name not in values.get(path, {}):
                    kept.append(ast.unparse(alias))
            # The compiler knows `const` by its name, and leaves no call of it.
            if node.module == "micropython" and self._folds:
                kept = [name for name in kept if name != "const"]
            if not kept:
                yield edit_node(node, "pass")
            elif len(kept) < len(node.names):
                yield edit_node(node, f"from {node.module} import {', '.join(kept)}")
        gone = [
            statement
            for statement in self.tree.body
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in own
        ]
        for statement in gone:
            yield edit_node(statement, "pass")
        rest = [statement for statement in self.tree.body if statement not in gone]
        for node in ast.walk(ast.Module(rest, [])):
            value = own.get(node.id) if isinstance(node, ast.Name) else None
            if meant := self.meant(node):
                value = values[meant[0]].get(meant[1])
            if value is not None:
                text = repr(value)
                yield edit_node(node, f"({text})" if text.startswith("-") else text)


def _path_of(name: str, paths: Iterable[str]) -> str:
    # The path of a module by its name, "" if there is none.
    path = name.replace(".", "/")
    return next((p for p in (f"{path}.py", f"{path}/__init__.py") if p in paths), "")


def _values(scopes: Mapping[str, _Scope]) -> _Values:
    # What the modules assign once, private ones too.
    values: _Values = {path: {} for path in scopes}
    found = True
    while found:  # one may be made of others
        found = False
        for path, scope in scopes.items():
            for name, (expression, *more) in scope.assigned.items():
                if expression and not more and name not in values[path]:
                    value = scope.value(expression, values[path], values)
                    if type(value) is int or (type(value) is str and len(value) <= _TEXT_MAX):
                        values[path][name] = value
                        found = True
    return values


def _unresolved(scopes: Mapping[str, _Scope], others: Iterable[ast.AST]) -> set[str]:
    # The names that something may mean which is not seen here.
    kept = set()
    for tree in others:
        for node in ast.walk(tree):
            kept |= {getattr(node, field, None) for field in ("id", "attr", "name")}
    for scope in scopes.values():
        # Of a name that is also set here nobody knows where it means what.
        kept |= {name for local, (_, name) in scope.imported.items() if local in scope.assigned}
        for node in ast.walk(scope.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                kept.add(node.value)
            elif isinstance(node, ast.Attribute) and not scope.meant(node):
                kept.add(node.attr)
    return kept
