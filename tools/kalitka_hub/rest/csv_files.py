"""The REST API of CSV: exporting tables, and importing files with an optional preview."""

from tempfile import SpooledTemporaryFile
from typing import Annotated, BinaryIO, Literal, cast

from fastapi import Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import Field

from kalitka_hub.rest.api import create_router
from kalitka_hub.rest.auth import Operator, State, Viewer
from kalitka_hub.rest.codes import PrintedNumbers
from kalitka_hub.site.inputs import SearchText
from kalitka_hub.tables import csv_import, csv_tables
from kalitka_hub.tables.csv_import import Report
from kalitka_hub.web.bounded_body import allow_body_size
from kalitka_hub.web.snapshot_response import SnapshotResponse

FILE_MAX = 32 << 20  # bytes of a file
_IN_MEMORY = 1 << 20  # bytes of a file in memory; a longer one goes to a temporary file
_SEPARATORS = {"comma": ",", "semicolon": ";"}

router = create_router()
Table = Annotated[SearchText, Path(max_length=40, description=", ".join(csv_tables.TABLES))]


class Imported(Report):
    """The report on a file. secrets: those of new readers by code, never shown again."""

    secrets: dict[str, str] = Field(default_factory=dict)


class Refusal(Report):
    """The report on a file with problems: nothing was written. error: a sentence that sums up."""

    error: str


@router.post(
    "/import/{name}",
    dependencies=[Depends(allow_body_size(FILE_MAX))],
    responses={422: {"model": Refusal, "description": "The problems: nothing was written."}},
    openapi_extra={
        "requestBody": {"content": {"text/csv": {"schema": {"type": "string"}}}, "required": True}
    },
)
async def import_table(
    request: Request,
    state: State,
    caller: Operator,
    name: Table,
    preview: Annotated[bool, Query(description="Report the changes, write nothing.")] = False,
    replace: Annotated[bool, Query(description="Also remove rows not in the file.")] = False,
    site_secret: Annotated[
        bool,
        Query(description="New readers use the site's secret, to migrate from an older hub."),
    ] = False,
    printed: PrintedNumbers = None,
) -> Imported:
    """Import a CSV file: all of it, or nothing if any row has a problem.

    A preview answers 200 even if the file has problems. New readers get secrets of their own,
    which are shown only in this answer.
    """
    with SpooledTemporaryFile(_IN_MEMORY) as spooled:
        file = cast(BinaryIO, spooled)
        async for part in request.stream():
            await run_in_threadpool(file.write, part)
        if preview:
            report = await run_in_threadpool(
                csv_import.preview,
                state.database,
                name,
                file,
                replace=replace,
                printed=printed,
            )
            return Imported(**report.model_dump())
        secrets: dict[str, str] = {}
        report = await run_in_threadpool(
            csv_import.import_table,
            state.database,
            caller.who,
            name,
            file,
            replace=replace,
            site_secret=site_secret,
            take_secrets=secrets.update,
            printed=printed,
        )
    if not report.is_valid:
        return _refusal(report)  # type: ignore[return-value]
    return Imported(**report.model_dump(), secrets=secrets)


@router.get("/export/{name}", response_class=Response)
def export_table(
    state: State,
    _caller: Viewer,
    name: Table,
    separator: Annotated[
        Literal["comma", "semicolon"], Query(description="Separator of cells.")
    ] = "comma",
) -> Response:
    """Export a table as a CSV file that can be imported again."""
    csv_tables.table_of(name)
    parts = csv_tables.export(state.database, name, _SEPARATORS[separator])
    response = SnapshotResponse(parts, parts.close)
    response.headers["content-type"] = "text/csv; charset=utf-8"
    response.headers["content-disposition"] = f'attachment; filename="{name}.csv"'
    return response


def _refusal(report: Report) -> JSONResponse:
    refusal = Refusal(**report.model_dump(), error=report.error_message)
    return JSONResponse(refusal.model_dump(), 422)
