"""The order of the packages: a lower one imports nothing of a higher one, no modules each other.

Imports inside functions count as well. Only in the firmware they do not: there a part of a module
is loaded on demand and forgotten afterwards, and may import the module that loads it.
"""

import ast
import re

import pytest

import kalitka_hub
from kalitka_build.paths import FIRMWARE, ROOT

# A package imports only those before it.
ORDER = ("kalitka", "kalitka_build", "kalitka_hub", "kalitka_sim", "bench", "kalitka_cli")
# These run in MicroPython, beside the firmware.
ON_DEVICE = ("kalitka_sim/chip", "bench/device")


def sources():
    """{module: its file} of the packages."""
    found = {}
    for home, packages in ((FIRMWARE, ORDER[:1]), (ROOT / "tools", ORDER[1:])):
        for package in packages:
            for path in (home / package).rglob("*.py"):
                name = path.relative_to(home).with_suffix("").as_posix()
                if not name.startswith(ON_DEVICE):
                    found[name.removesuffix("/__init__").replace("/", ".")] = path
    return found


def imported(path, module, modules, on_demand):
    """Yield the modules that one imports; on_demand: inside functions as well."""
    tree = ast.parse(path.read_text())
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree) if on_demand else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *base.split(".")])
                base = base.rstrip(".")
            names = {f"{base}.{alias.name}" for alias in node.names} & modules.keys()
            yield from names or ({base} & modules.keys())


@pytest.fixture(scope="module")
def graph():
    """{module: the modules that it imports}."""
    modules = sources()
    return {
        name: set(imported(path, name, modules, not name.startswith("kalitka."))) - {name}
        for name, path in modules.items()
    }


def rising(graph, rank):
    """The imports from a lower rank into a higher one; rank: a module's, or None."""
    return sorted(
        f"{module} imports {target}"
        for module, targets in graph.items()
        for target in targets
        if rank(module) is not None and rank(target) is not None and rank(target) > rank(module)
    )


def test_every_package_imports_only_lower_ones(graph):
    assert rising(graph, lambda module: ORDER.index(module.partition(".")[0])) == []


def test_every_package_of_the_hub_is_described_and_imports_only_those_before_it(graph):
    order = re.findall(r"^    (\w+)  ", kalitka_hub.__doc__, re.MULTILINE)
    home = ROOT / "tools" / "kalitka_hub"
    assert sorted(order) == sorted(path.parent.name for path in home.glob("*/__init__.py"))

    def rank(module):
        # The modules beside the packages are below all of them.
        hub, _, inside = module.partition(".")
        part = inside.partition(".")[0]
        if hub != "kalitka_hub" or not part:
            return None
        return order.index(part) if part in order else -1

    assert rising(graph, rank) == []


def test_no_modules_import_each_other_in_a_circle(graph):
    left = {module: set(targets) for module, targets in graph.items()}
    while done := {module for module, targets in left.items() if not targets & left.keys()}:
        left = {module: targets for module, targets in left.items() if module not in done}
    assert sorted(left) == []
