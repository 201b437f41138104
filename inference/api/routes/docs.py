"""The API's own pages: /docs with Swagger UI, from files of this installation alone: no internet is needed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html, get_swagger_ui_oauth2_redirect_html
from fastapi.responses import FileResponse, HTMLResponse

from contracts.errors import Misconfigured
from inference.api.guard import GuardedRoute
from inference.api.problems import not_found

router = APIRouter(include_in_schema=False, route_class=GuardedRoute)

_ASSETS: Final = "/docs/assets"
_REDIRECT: Final = "/docs/oauth2-redirect"
_TYPES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


@router.get("/docs")
async def page(request: Request) -> HTMLResponse:
    """Swagger UI; its Authorize button logs in with Keycloak (authorization code with PKCE)."""
    auth = request.app.state.parts.settings.auth
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Sightline API",
        swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{_ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{_ASSETS}/favicon-32x32.png",
        oauth2_redirect_url=_REDIRECT,
        init_oauth={"clientId": auth.browser_client, "usePkceWithAuthorizationCodeGrant": True},
    )


@router.get(_REDIRECT)
async def redirect() -> HTMLResponse:
    """Where Keycloak sends the browser after the login."""
    return get_swagger_ui_oauth2_redirect_html()


@router.get(_ASSETS + "/{name}")
async def asset(name: str) -> FileResponse:
    """One file of Swagger UI."""
    if name not in _TYPES:
        raise not_found("such file")
    return FileResponse(_folder() / name, media_type=_TYPES[name], headers={"Cache-Control": "max-age=86400"})


def _folder() -> Path:
    """Where flask-swagger-ui keeps Swagger UI. The package itself, which is for Flask, is not imported."""
    found = find_spec("flask_swagger_ui")
    if found is None or not found.submodule_search_locations:
        raise Misconfigured("Swagger UI is not installed: run the set-up again")
    return Path(found.submodule_search_locations[0]) / "dist"
