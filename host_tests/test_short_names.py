"""A device's firmware is the same program, with fewer names and its public constants inlined."""

import ast
import io
import re
import symtable
import tokenize
from itertools import zip_longest

import pytest

from kalitka_build.constants import inline
from kalitka_build.short_names import shorten
from kalitka_build.source_edits import Edit, replaced
from kalitka_build.sources import firmware_sources

SOURCES = firmware_sources(short_names=False)
INLINED = inline(SOURCES)
SHORT = shorten(INLINED)


def run(sources, name="m.py"):
    """Run a module of a program in the simplest of ways; return its names."""
    space = {}
    exec(compile(sources[name], name, "exec"), space)
    return space


def short(text, *others):
    """Return a source with short names, but for those of what the tests look at."""
    return shorten({"m.py": text}, ["import m\nm.out, m.f, m.add\n", *others])["m.py"]


# Names


def tables(table):
    yield table
    for child in table.get_children():
        yield from tables(child)


KINDS = ("is_parameter", "is_global", "is_declared_global", "is_local", "is_free", "is_imported")


@pytest.mark.parametrize("path", SOURCES)
def test_every_scope_of_the_firmware_has_the_same_variables_by_other_names(path):
    before = tables(symtable.symtable(INLINED[path], path, "exec"))
    after = tables(symtable.symtable(SHORT[path], path, "exec"))
    for old, new in zip_longest(before, after):
        assert old.get_lineno() == new.get_lineno()
        pairs = list(zip_longest(old.get_symbols(), new.get_symbols()))
        for one, other in pairs:
            for kind in KINDS:
                assert getattr(one, kind)() == getattr(other, kind)(), (path, one, other)
        # No two variables have become one.
        assert len({new.get_name() for _, new in pairs}) == len(pairs), (path, old)


@pytest.mark.parametrize("path", SOURCES)
def test_every_name_of_the_firmware_has_one_meaning_within_its_module(path):
    attributes = {}
    nodes = zip_longest(ast.walk(ast.parse(INLINED[path])), ast.walk(ast.parse(SHORT[path])))
    for old, new in nodes:
        assert type(old) is type(new)
        for field in ("attr", "name", "arg") if not isinstance(old, ast.arg) else ():
            if isinstance(name := getattr(old, field, None), str):
                assert attributes.setdefault(name, getattr(new, field)) == getattr(new, field)
        if isinstance(old, ast.Constant):
            assert old.value == new.value
    assert len(set(attributes.values())) == len(attributes)


def mentioned_elsewhere(name, path):
    others = io.StringIO("".join(text for p, text in INLINED.items() if p != path))
    return any(
        token.type == tokenize.NAME and token.string == name
        for token in tokenize.generate_tokens(others.readline)
    )


def test_the_firmware_keeps_its_public_names_and_its_lines():
    for path, text in SHORT.items():
        assert text.count("\n") == SOURCES[path].count("\n"), path
        for old, new in zip_longest(ast.walk(ast.parse(INLINED[path])), ast.walk(ast.parse(text))):
            for field in ("name", "attr"):
                name = getattr(old, field, "_") or "_"
                if not name.startswith("_") and name != getattr(new, field):
                    assert not mentioned_elsewhere(name, path), (path, name)
            if isinstance(old, ast.ClassDef):
                assert old.name == new.name


def test_the_firmware_has_far_fewer_names():
    def names(sources):
        found = set()
        for text in sources.values():
            for node in ast.walk(ast.parse(text)):
                found |= {getattr(node, field, None) for field in ("name", "attr", "arg")}
        return len(found)

    assert names(SHORT) < names(SOURCES) * 0.75


def test_parameters_are_named_by_their_place():
    assert short("def add(first, second=1):\n    return first + second\n") == (
        "def add(_0, _1=1):\n    return _0 + _1\n"
    )
    assert short("f = lambda one, two: one - two\n") == "f = lambda _0, _1: _0 - _1\n"
    # Behind letters of several bytes, and with an annotation.
    assert short("def f(a: int): return 'ä', a\n") == "def f(_0: int): return 'ä', _0\n"


@pytest.mark.parametrize(
    "text",
    [
        # A parameter that an inner function, a comprehension or a lambda has, too.
        "def f(a, b):\n    def g(a):\n        return a * 2\n    return g(b) + a\nout = f(1, 2)\n",
        "def f(a, b):\n    return [a for a in b], a\nout = f(1, [2, 3])\n",
        "def f(a, b):\n    return (lambda a, c=b: a + c)(7) + a\nout = f(1, 2)\n",
        "def f(a):\n    def g(b):\n        return lambda c: (a, b, c)\n    return g\n"
        "out = f(1)(2)(3)\n",
        # One that is set again, in its own function and in an inner one.
        "def f(a):\n    a += 1\n    def g():\n        nonlocal a\n        a += 1\n"
        "    g()\n    return a\nout = f(1)\n",
        "def f(a):\n    def g():\n        a = 5\n        return a\n    return g() + a\n"
        "out = f(1)\n",
        "def f(e):\n    try:\n        1 / e\n    except ZeroDivisionError as e:\n"
        "        return str(e)\nout = f(0)\n",
        "def f(os):\n    import os\n    return os.sep\nout = f(1)\n",
        "def f(a):\n    class C:\n        a = 2\n    return C.a, a\nout = f(1)\n",
        "def f(a):\n    del a\n    return 3\nout = f(1)\n",
        # One that a call gives by its name, or that is a default.
        "def f(a, b):\n    return a - b\nout = f(b=1, a=2)\n",
        "def f(a, b=lambda a: a + 1):\n    return b(a)\nout = f(1)\n",
        "def f(a, *b, c=3, **d):\n    return a, b, c, d\nout = f(1, 2, e=4)\n",
        # Private names: of a module, of a class and its instances, and one that a text may mean.
        "_a, _b = 1, 2\n_long = 3\ndef _f(_long):\n    return _long\nout = _f(4), _long, _a, _b\n",
        "class _C:\n    _n = 1\n    def _get(self):\n        self._m = 2\n"
        "        return self._n, self._m\nout = _C()._get()\n",
        "class C:\n    def __init__(self):\n        self._n = 1\nout = getattr(C(), '_n')\n",
        "def f():\n    global _n\n    _n = 5\nf()\nout = _n\n",
    ],
)
def test_a_program_does_the_same_with_short_names(text):
    assert run({"m.py": short(text)})["out"] == run({"m.py": text})["out"]


def test_what_another_file_may_mean_stays():
    text = "class C:\n    def __init__(self):\n        self._n = self._m = 1\n"
    shortened = short(text, "import m\nm.C()._n\n")
    assert "._n" in shortened and "._m" not in shortened
    # And what this module does not set is another one's.
    assert "._build" in short("import sys\n_x = sys.implementation._build\n")


CLASS = """
import asyncio

class Box(BASE):
    def put(self, new):
        self.thing = new
        return self

    def both(self, other):
        return self.thing, other.put

def make(first):
    return Box().put(first)

out = make("it").both(Box())
"""


def test_a_public_name_that_only_its_module_mentions_is_short_where_that_is_sure():
    shortened = short(CLASS.replace("BASE", ""))
    # `put` may be another object's, too; the class is told to people.
    assert re.findall(r"(?:def|class) (\w+)", shortened) == ["Box", "put", "both", "_a"]
    assert "self.thing" not in shortened and "_0._b = _1" in shortened
    # Of a class from elsewhere nobody knows the names.
    assert "self.thing".replace("self", "_0") in short(CLASS.replace("BASE", "asyncio.Event"))
    used = {"m.py": CLASS.replace("BASE", ""), "n.py": "from m import make\nmake(1).thing\n"}
    found = shorten(used)["m.py"]
    assert "def make" in found and "_0.thing" in found
    for outside in ("import m\nm.make\n", "import m\nm.x().thing\n"):
        name = outside.split()[-1].rpartition(".")[2]
        assert name in short(CLASS.replace("BASE", ""), outside)


@pytest.mark.parametrize(
    "text",
    [
        # A builtin of the same name, and a name that is imported.
        "class C:\n    def sum(self):\n        return sum([1])\nout = sum([C().sum()])\n",
        "class C:\n    def sep(self):\n        return 1\nfrom os import sep\nout = sep\n",
        "class C:\n    def get(self):\n        return {}.get(1, 2)\nout = C().get()\n",
        "def f():\n    return 1\ndef g(f):\n    return f\nout = f(), g(3), globals()['f']()\n",
    ],
)
def test_a_public_name_with_another_meaning_stays(text):
    assert run({"m.py": short(text)})["out"] == run({"m.py": text})["out"]


def test_classes_of_one_object_share_no_short_name():
    base = "class Base:\n    def __init__(self):\n        self._one = 1\n"
    derived = "from base import Base\nclass Derived(Base):\n    _two = 2\n"
    found = shorten({"base.py": base, "derived.py": derived})
    assert run(found, "base.py")["Base"]().__dict__.keys() == {"_a"}
    assert "_b = 2" in found["derived.py"]


def test_the_same_sources_give_the_same_names():
    assert shorten(dict(reversed(INLINED.items()))) == SHORT


# Constants

LIMITS = "from micropython import const\nMAX = const(9)\nMIN = const(-MAX)\nNAME = 'short'\n"


def inlined(text, *others, limits=LIMITS):
    found = inline({"k/limits.py": limits, "k/user.py": text}, others)
    return found["k/user.py"], found["k/limits.py"]


def test_constants_take_the_place_of_their_names():
    user, limits = inlined("from k import limits\nout = limits.MAX, limits.MIN, limits.NAME\n")
    assert user == "from k import limits\nout = 9, (-9), 'short'\n"
    assert limits == "pass\npass\npass\npass\n"
    call = "from micropython import const, schedule\nMAX = const(9)\nprint(const(8))\n"
    assert inline({"m.py": call})["m.py"].startswith("from micropython import const, schedule\n")
    user, _ = inlined("from k.limits import (\n    MAX,\n    NAME,\n)\nout = MAX\n")
    assert user == "pass\n\n\n\nout = 9\n"
    user, _ = inlined("def f():\n    from k.limits import MAX, f\n    return f(MAX)\n")
    assert user == "def f():\n    from k.limits import f\n    return f(9)\n"


def test_a_constant_made_of_others_is_one_and_so_is_one_that_is_passed_on():
    user, _ = inlined("from k import limits\nMOST = limits.MAX * 2\nout = MOST\n")
    assert user == "from k import limits\npass\nout = 18\n"
    found = inline(
        {
            "k/limits.py": LIMITS,
            "k/middle.py": "from k.limits import MAX\n",
            "k/user.py": "from k import middle\nfrom k.middle import MAX\nout = MAX, middle.MAX\n",
        }
    )
    assert found["k/user.py"] == "from k import middle\npass\nout = 9, 9\n"


@pytest.mark.parametrize(
    "text",
    [
        "from k import limits\nout = getattr(limits, 'MAX')\n",  # a text
        "import k.limits\nout = k.limits.MAX\n",  # an access that is not resolved
        "def f(limits):\n    return limits.MAX\n",
    ],
)
def test_a_constant_that_may_be_meant_otherwise_stays(text):
    user, limits = inlined(text)
    assert user == text
    assert "MAX = const(9)" in limits


def test_what_is_no_constant_stays():
    limits = LIMITS + "COUNT = 0\nTEXT = 'longer than ten'\nLIST = [1]\nMAX = 8\n"
    limits += "def f():\n    global COUNT\n    COUNT += 1\n"
    text = "from k import limits\nout = limits.MAX, limits.COUNT, limits.TEXT, limits.LIST\n"
    assert inlined(text, limits=limits)[0] == text
    # A name of the user's own, and what a file outside or a tool asks for.
    own = "from k.limits import MAX\ndef f(MAX):\n    return MAX\n"
    assert inlined(own)[0] == own
    assert inlined("out = 1\n", "from k import limits\nlimits.MAX\n")[1].count("const(9)") == 1
    package = {"k/__init__.py": "VERSION = '1'\n", "k/user.py": "from k import VERSION\n"}
    assert inline(package) == package


def test_nothing_but_names_of_constants_is_replaced_in_the_firmware():
    for path, text in INLINED.items():
        assert text.count("\n") == SOURCES[path].count("\n"), path
    # Every module still finds what it imports.
    names = {path: set(dir_of(text)) for path, text in INLINED.items()}
    for path, text in INLINED.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kalitka"):
                for alias in node.names:
                    where = node.module.replace(".", "/")
                    module = f"{where}/{alias.name}"
                    if not {module + ".py", module + "/__init__.py"} & set(SOURCES):
                        source = where + ".py"
                        source = source if source in names else where + "/__init__.py"
                        assert alias.name in names[source], (path, alias.name)


def dir_of(text):
    """Yield the names that a module has once it was imported."""
    for table in symtable.symtable(text, "", "exec").get_symbols():
        if table.is_assigned() or table.is_imported() or table.is_namespace():
            yield table.get_name()


def test_an_edit_where_something_else_stands_is_refused():
    assert (
        replaced("a = b\n", [Edit(1, 4, 1, 5, "c", "b"), Edit(1, 0, 1, 1, "z", "a")]) == "z = c\n"
    )
    with pytest.raises(ValueError, match=r"line 1: .* has no 'c' at 4"):
        replaced("a = b\n", [Edit(1, 4, 1, 5, "d", "c")])
