"""The documentation page of an API, rendered from its OpenAPI description.

Plain HTML without scripts or external resources: the page shares its origin with log-in cookies,
and a site's hub may have no internet.
"""

import json
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = (
    "body{font:16px/1.4 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "pre{background:#eee;padding:.5em;overflow:auto}h2{margin-top:2em}"
)


def add_page(api: FastAPI, path: str, prefix: str = "") -> None:
    """Add the page to an API at this path. prefix: where the API is mounted, before each path."""

    def page() -> HTMLResponse:
        # Rendered on request: describing all paths takes a tenth of a second.
        text = _render(api.openapi(), prefix)
        return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY})

    api.add_api_route(path, page, include_in_schema=False)


def _render(description: dict[str, Any], prefix: str) -> str:
    info = description["info"]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>",
        f"<style>{_STYLE}</style><h1>{escape(info['title'])}</h1>",
        f"<p>{escape(info['description'])}",
        "<p>OpenAPI description: <a href=openapi.json>openapi.json</a>",
    ]
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            parts.append(f"<h2>{method.upper()} {escape(prefix + path)}</h2>")
            parts.extend(_operation(operation))
    parts.append("<h1>Schemas</h1>")
    for name, schema in description.get("components", {}).get("schemas", {}).items():
        parts.append(f"<h2 id='{escape(name)}'>{escape(name)}</h2>{_json(schema)}")
    return "\n".join(parts)


def _operation(operation: dict[str, Any]) -> list[str]:
    parts = [f"<p>{escape(operation.get('description', operation.get('summary', '')))}"]
    for parameter in operation.get("parameters", ()):
        description = escape(parameter.get("description", ""))
        parts.append(f"<p><b>{escape(parameter['name'])}</b> ({parameter['in']}): {description}")
    if "requestBody" in operation:
        parts.append(f"<p>Request body: {_content(operation['requestBody'])}")
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            parts.append(f"<p>Response {status}: {_content(response)}")
    return parts


def _content(body: dict[str, Any]) -> str:
    shown = []
    for kind, media in body.get("content", {}).items():
        schema = media.get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        link = f"<a href='#{escape(name)}'>{escape(name)}</a>" if name else _json(schema)
        shown.append(f"{escape(kind)} {link}")
    return ", ".join(shown) or "no content"


def _json(schema: dict[str, Any]) -> str:
    return f"<pre>{escape(json.dumps(schema, indent=1, ensure_ascii=False))}</pre>"
