"""The REST API of codes: what a written or printed code means, and what the scanners send."""

from typing import Annotated, Literal

from fastapi import Depends, Path, Query
from pydantic import BaseModel

from kalitka_hub.rest.api import create_router
from kalitka_hub.rest.auth import Operator, State, Viewer
from kalitka_hub.site.inputs import InputModel, SearchText
from kalitka_hub.site.scanners import declared_scanners, set_scanners
from kalitka_hub.site.token_codes import HEX, Printed
from kalitka_hub.site.tokens import code_notes, find_token, read_code
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.models import NAME_MAX

_CODE_MAX = 4 * 255  # characters
# Route order: before `rest.resources`, as `rest.site`.
router = create_router()
ReaderCode = Annotated[SearchText, Path(max_length=NAME_MAX)]


class CodeMeaning(BaseModel):
    """What a code means. code: as a scanner sends it. stored: whether there is a token with it.

    notes: what a person should know, such as that no scanner of the site can send it.
    """

    given: str
    code: str
    stored: bool
    notes: list[str]


class Scanners(InputModel):
    """What scanners send: names of presets; an empty list is not declared."""

    scanners: list[str]


def _printed(
    printed: Annotated[
        Literal["decimal8", "decimal10", "fc-number", "hex"] | None,
        Query(description="The codes are numbers printed on cards, of this form."),
    ] = None,
    reversed: Annotated[
        bool, Query(description="The scanners send the bytes in reverse order.")
    ] = False,
    scanner: Annotated[
        SearchText | None,
        Query(max_length=40, description="Convert for this scanner; by default the site's."),
    ] = None,
) -> Printed | None:
    if printed is None and not reversed:
        return None
    return Printed(printed or HEX, reversed, scanner)


PrintedNumbers = Annotated[Printed | None, Depends(_printed)]


@router.get("/code", tags=["tokens"], operation_id="read_code")
def read(
    state: State,
    _caller: Viewer,
    printed: PrintedNumbers,
    code: Annotated[SearchText, Query(max_length=_CODE_MAX, description="As written.")],
) -> CodeMeaning:
    """Show the code that a scanner sends for a code as written or printed; store nothing."""
    with state.database.snapshot() as session:
        sent = read_code(session, code, printed)
        stored = find_token(session, sent) is not None
        return CodeMeaning(given=code, code=sent, stored=stored, notes=[*code_notes(session)])


@router.get("/site/scanners", tags=["site"], operation_id="show_scanners")
def show(state: State, _caller: Viewer) -> Scanners:
    """Show what the site's scanners send."""
    with state.database.snapshot() as session:
        return Scanners(scanners=[*declared_scanners(session, None)])


@router.put("/site/scanners", tags=["site"], operation_id="set_scanners")
def change(state: State, caller: Operator, data: Scanners) -> Scanners:
    """Declare what the site's scanners send."""
    with write_transaction(state.database, caller.who) as session:
        set_scanners(session, None, data.scanners)
        return Scanners(scanners=[*declared_scanners(session, None)])


@router.get("/readers/{code}/scanners", tags=["readers"], operation_id="show_reader_scanners")
def show_reader(state: State, _caller: Viewer, code: ReaderCode) -> Scanners:
    """Show what this reader's scanner sends; an empty list: what the site's send."""
    with state.database.snapshot() as session:
        return Scanners(scanners=[*declared_scanners(session, code)])


@router.put("/readers/{code}/scanners", tags=["readers"], operation_id="set_reader_scanners")
def change_reader(state: State, caller: Operator, code: ReaderCode, data: Scanners) -> Scanners:
    """Declare what this reader's scanner sends; an empty list: what the site's send."""
    with write_transaction(state.database, caller.who) as session:
        set_scanners(session, code, data.scanners)
        return Scanners(scanners=[*declared_scanners(session, code)])
