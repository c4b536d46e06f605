"""Signing in with a key, and out."""

from __future__ import annotations

import re

from polybatch.errors import PolybatchError, Unauthenticated
from polybatch.v1 import accounts_pb2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from services.web.client_parts import account_methods
from services.web.dashboard.pages import HEADERS, Site, Visit, read_form, redirect
from services.web.dashboard.session import check_same_site
from services.web.errors import HttpError, from_engine
from services.web.upstream import Engine

# A path of ours, and no address of another host ("//other", "/\other").
_OWN_PATH = re.compile(r"/(?![/\\])[A-Za-z0-9_/.\-]*", re.ASCII)
_MAX_KEY = 256
_NOT_VALID = "This key is not valid. Check that all of it was copied, and that it was not revoked."


async def show(site: Site, request: Request) -> Response:
    """GET /sign-in."""
    if site.sessions.read(request) is not None:
        return redirect("/")
    return _page(site, _own_path(request.query_params.get("next", "")), "", 200)


async def submit(site: Site, request: Request) -> Response:
    """POST /sign-in."""
    address = request.client.host if request.client else ""
    target = "/"
    try:
        check_same_site(request)
        site.tries.check(address)
        site.tries.begin(address)
        fields = await read_form(request)
        target = _own_path(fields.get("next", ""))
        key = fields.get("key", "").strip()
        if not key or len(key) > _MAX_KEY or not (key.isascii() and key.isprintable()):
            return _page(site, target, _NOT_VALID, 401)
        engine = Engine(site.transport.with_key(key))
        await engine.call(account_methods.GET_CURRENT_KEY, accounts_pb2.GetCurrentKeyRequest())
    except Unauthenticated:
        return _page(site, target, _NOT_VALID, 401)
    except PolybatchError as raised:
        # It says nothing about the key.
        site.tries.forgive(address)
        error = from_engine(raised)
        return _page(site, target, error.message, error.status)
    except HttpError as error:
        return _page(site, target, error.message, error.status)
    site.tries.forgive(address)
    response = redirect(target)
    site.sessions.begin(request, response, key)
    return response


async def sign_out(visit: Visit) -> Response:
    """POST /sign-out."""
    await visit.form()
    response = redirect("/sign-in")
    visit.site.sessions.end(visit.request, response)
    return response


def _page(site: Site, target: str, problem: str, status: int) -> Response:
    text = site.text(
        "sign_in.html", next=target, problem=problem, signed_in=False, csrf="", path="/sign-in"
    )
    return HTMLResponse(text, status, headers=HEADERS)


def _own_path(path: str) -> str:
    return path if _OWN_PATH.fullmatch(path) else "/"
