"""What the documents say by example is held against the code."""

import json
import re
from pathlib import Path

from kalitka import settings
from kalitka.access import decision, packing
from kalitka.table import manifest

ROOT = Path(__file__).parents[1]
SETTINGS = (ROOT / "boards" / "SETTINGS.md").read_text()


def test_the_manifest_in_the_description_of_the_format_is_one(tmp_path):
    text = (ROOT / "firmware" / "kalitka" / "table" / "FORMAT.md").read_text()
    example = re.search(r"^    kalitka table 1\n(?:    .+\n)+", text, re.MULTILINE)
    assert example
    (tmp_path / manifest.NAME).write_text(re.sub(r"(?m)^    ", "", example[0]))
    found = manifest.load(str(tmp_path))
    assert (found.minute, found.generation) == (29921460, 7)
    assert found.segments == ("base-5.seg", "delta-7.seg")


def test_every_setting_stands_in_its_page_with_its_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", SETTINGS, re.MULTILINE))
    assert {name: json.loads(value) for name, value in rows.items()} == {
        name: default for name, (default, _) in settings.FIELDS.items()
    }


def test_the_examples_of_settings_files_are_right():
    examples = re.findall(r"^    \{\n(?:     .+\n)+    \}", SETTINGS, re.MULTILINE)
    assert len(examples) == 3
    both = {}
    for written in examples:
        # `deploy` refuses the placeholders themselves.
        example = written.replace('"..."', '"a-long-secret"')
        _, faults = settings.parse(example.encode())
        assert faults == []
        both.update(json.loads(example))
    assert settings.with_defaults(both)[1] == []


def test_the_rules_that_the_readme_names_are_rules():
    text = (ROOT / "README.md").read_text()
    found = re.findall(r"\b[1379]_\d[\d_]*", text)
    assert found
    for rule in found:
        packing.pack(rule.encode())


def test_every_verdict_stands_in_its_page_with_its_number_and_its_words():
    text = (ROOT / "firmware" / "kalitka" / "access" / "VERDICTS.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", text, re.MULTILINE)
    assert rows == [(str(number), words) for number, words in enumerate(decision.REASONS)]
    for rule in re.findall(r"\b[1379]_\d[\d_]*", text):
        packing.pack(rule.encode())


def test_every_link_between_pages_leads_somewhere():
    folders = (ROOT / name for name in ("boards", "firmware", "tools"))
    pages = [*ROOT.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))]
    assert len(pages) > 8
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if "://" in target:
                continue
            name, _, part = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            assert file.exists(), f"{page}: {target}"
            if part:
                titles = re.findall(r"^#+ (.+)$", file.read_text().lower(), re.MULTILINE)
                anchors = [re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in titles]
                assert part in anchors, f"{page}: {target}"
