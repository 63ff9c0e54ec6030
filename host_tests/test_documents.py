"""What the documents say by example is held against the code."""

import json
import re
from pathlib import Path

from kalitka import settings
from kalitka.access import decision, rules
from kalitka.table import manifest

ROOT = Path(__file__).parents[1]
BOARD = (ROOT / "boards" / "ESP32_GENERIC" / "README.md").read_text()


def test_the_manifest_in_the_description_of_the_format_is_one(tmp_path):
    text = (ROOT / "firmware" / "kalitka" / "table" / "FORMAT.md").read_text()
    example = re.search(r"^    kalitka table 1\n(?:    .+\n)+", text, re.MULTILINE)
    assert example
    (tmp_path / manifest.NAME).write_text(re.sub(r"(?m)^    ", "", example[0]))
    found = manifest.load(str(tmp_path))
    assert (found.minute, found.generation) == (29921460, 7)
    assert found.segments == ("base-5.seg", "delta-7.seg")


def test_every_setting_stands_in_the_boards_readme_with_its_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", BOARD, re.MULTILINE))
    assert {name: json.loads(value) for name, value in rows.items()} == {
        name: default for name, (default, _) in settings.FIELDS.items()
    }


def test_the_example_of_a_settings_file_is_right():
    example = re.search(r"^    \{\n(?:     .+\n)+    \}", BOARD, re.MULTILINE)
    assert example
    _, faults = settings.parse(example[0].encode())
    assert faults == []


def test_the_rules_that_the_readme_names_are_rules():
    text = (ROOT / "README.md").read_text()
    found = re.findall(r"\b[1379]_\d[\d_]*", text)
    assert found
    for rule in found:
        rules.pack(rule.encode())


def test_every_verdict_stands_in_its_page_with_its_number_and_its_words():
    text = (ROOT / "firmware" / "kalitka" / "access" / "VERDICTS.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", text, re.MULTILINE)
    assert rows == [(str(number), words) for number, words in enumerate(decision.WORDS)]
    for rule in re.findall(r"\b[1379]_\d[\d_]*", text):
        rules.pack(rule.encode())


def test_the_manifest_of_a_frozen_build_names_what_is_there():
    # The build's own functions, noting what they are told.
    folder = ROOT / "boards" / "ESP32_GENERIC"
    frozen = []

    def package(name, base_path, opt):
        frozen.append(folder / base_path / name / "__init__.py")

    def module(name, base_path, opt):
        frozen.append(folder / base_path / name)

    included = []
    code = (folder / "manifest.py").read_text()
    exec(code, {"include": included.append, "package": package, "module": module})
    assert included == ["$(PORT_DIR)/boards/manifest.py"]
    names = {"__init__.py", "main.py", "boot.py", "board.py"}
    assert {path.name for path in frozen} == names
    assert all(path.is_file() for path in frozen)
