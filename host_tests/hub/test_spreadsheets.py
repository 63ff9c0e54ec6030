"""Point 9: an export that a spreadsheet opens and saves again imports without a change.

With LibreOffice itself; without it only what the export writes is tested.
"""

import csv
import io
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hub.hub_accounts import everything_in
from hub.hub_site import ON_SQLITE, TokenAssignment, assign_tokens
from kalitka_hub.kormitel import service
from kalitka_hub.site import people, reader_groups, readers
from kalitka_hub.site.tokens import TokenSetting, set_tokens
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.tables import csv_text
from kalitka_hub.tables.csv_import import import_table
from kalitka_hub.tables.csv_tables import export

# What a spreadsheet changes if it is not told that it is text.
HARMED = [
    *("001234", "1234E5", "12E3", "0E123456", "00000000", "08617284", "123456789012"),
    *("12345678901234567890", "12-05", "1-2-3", "2026-12-31", "1/2", "12:30", "1.5", "1,5"),
    *(
        "1FEB2026",
        "12DEC99",
        "DEC12",
        "MAR1",
        "SEP2",
        "TRUE",
        "FALSE",
        "5%",
        "1E-5",
        "00",
        "+1",
        "-2",
    ),
]
# What it keeps as it is.
KEPT = ["04A1B2C3", "DEADBEEF", "12345678", "7", "A1", "Ticket 7", "=FF", "@x", '"q"']
KEPT += ["a|\\", "x;y", "0a1b2c3d4e5f60718293a4b5c6d7e8f9", "phn-ABCDEF123456", "'x", "Кухня"]
CODES = sorted({code for code in HARMED + KEPT if "," not in code and "%" not in code})
SOFFICE = shutil.which("soffice")


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=12))
@example("001234")
@example('"001234"')
@example('""')
def test_point_9_any_code_is_read_as_it_was_written_to_a_cell(code):
    assert csv_text.from_text_cell(csv_text.text_cell(code)) == code


def test_point_9_what_a_spreadsheet_would_change_is_in_quotes():
    for code in HARMED:
        assert csv_text.text_cell(code) == f'"{code}"', code
    for code in KEPT:
        if code != '"q"':
            assert csv_text.text_cell(code) == code


@pytest.fixture
def full(database):
    """A site with codes of every kind in every table that has codes."""
    with write_transaction(database) as session:
        for code in ("007", "1E5", "3-4", "12:30"):
            readers.create_reader(session, readers.ReaderSetting(code=code))
        group = reader_groups.ReaderGroupSetting(name="All of them", readers=["007", "1E5"])
        reader_groups.add_reader_group(session, group)
        reader_groups.add_reader_group(
            session, reader_groups.ReaderGroupSetting(name="One", readers=["3-4"])
        )
        set_tokens(session, [TokenSetting(code, ("9_1",)) for code in CODES])
        set_tokens(session, [TokenSetting("04AA", ("9_1",), ("007",))])
        anna = people.add_person(session, people.PersonSetting(name="Anna"))
        boris = people.add_person(session, people.PersonSetting(name="=Boris"))
        assign_tokens(session, [TokenAssignment("001234", anna)])
        assign_tokens(
            session, [TokenAssignment(code, boris) for code in ("1234E5", "08617284", "00")]
        )
        for qr in ("0008617284", "1234E5", "04a1b2c3"):
            service.put_object(session, "badges", None, {"name": "B", "qr": qr}, new=True)
    return database


TABLES = ("tokens", "people", "readers", "reader-groups", "badges")


@ON_SQLITE
def test_point_9_no_cell_of_an_export_is_a_formula_or_a_harmed_code(full):
    for name in TABLES:
        text = b"".join(export(full, name)).decode().removeprefix("\ufeff")
        for row in csv.reader(io.StringIO(text, newline="")):
            assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row)
            assert not set(row) & {"001234", "1234E5", "007", "0008617284"}


def saved_again(folder: Path, files: dict[str, bytes], separator: str) -> dict[str, bytes]:
    """Return CSV files as LibreOffice saves them after opening them."""
    for name, data in files.items():
        (folder / f"{name}.csv").write_bytes(data)
    form = f"{ord(separator)},34,76,1"
    done = subprocess.run(
        [
            *(str(SOFFICE), "--headless", f"-env:UserInstallation=file://{folder}/profile"),
            *(f"--infilter=CSV:{form}", "--convert-to"),
            *(f"csv:Text - txt - csv (StarCalc):{form}", "--outdir", str(folder / "saved")),
            *(str(folder / f"{name}.csv") for name in files),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: (folder / "saved" / f"{name}.csv").read_bytes() for name in files}


@pytest.mark.skipif(SOFFICE is None, reason="no soffice here: install libreoffice-calc-nogui")
@ON_SQLITE
@pytest.mark.parametrize("separator", [",", ";"])
def test_point_9_exported_opened_saved_and_imported_nothing_changes(full, tmp_path, separator):
    before = everything_in(full)
    rows = 0
    files = {name: b"".join(export(full, name, separator)) for name in TABLES}
    for _ in range(2):  # also when they are opened and saved once more
        files = saved_again(tmp_path, files, separator)
    for name, data in files.items():
        report = import_table(full, "olga", name, io.BytesIO(data), replace=True)
        assert report.problems == [], (name, report.problems)
        assert (report.left, report.removed) == (report.rows, 0), name
        rows += report.rows
    assert everything_in(full) == before
    print(f"codes tried: {len(CODES)}; rows through LibreOffice: {rows}, 0 changed")


@pytest.mark.skipif(SOFFICE is None, reason="no soffice here: install libreoffice-calc-nogui")
def test_point_9_without_the_quotes_the_spreadsheet_does_change_codes(tmp_path):
    codes = ["001234", "1234E5", "12345678901234567890"]
    plain = "".join(f"{code}\n" for code in ["code", *codes]).encode()
    rows = saved_again(tmp_path, {"plain": plain}, ",")["plain"].decode().split()
    saved = [row.strip('"') for row in rows]
    assert saved[0] == "code"
    assert not set(saved) & set(codes)
