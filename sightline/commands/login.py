"""sightline login · logout · token · auth doctor: who we are when we ask the API.

sightline login               a person: prints an address and a code, waits, keeps the tokens (0600)
sightline token               prints an access token: of the service account that is set, else of who logged in
sightline auth doctor TOKEN   what is wrong with it, in words; exit 1 when the API would refuse it
--user NAME                   a demo user of the local stack, for scripts
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from connectors.access import Tokens
    from contracts.settings import Settings
    from inference.api.identity import Identity
    from sightline.token_diagnosis import Circumstances, Diagnosis

DEMO_CLIENT: Final = "sightline-demo"

User = Annotated[str | None, typer.Option(help="A demo user of the local stack: viewer, reviewer, scientist …")]

auth = typer.Typer(no_args_is_help=True, help="Tokens: what is wrong with one.")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("login")(login)
    app.command("logout")(logout)
    app.command("token")(token)
    app.add_typer(auth, name="auth")


def login(user: User = None) -> None:
    """Logs a person in. Opens nothing: prints an address and a code for a browser anywhere."""
    from connectors import access
    from contracts.settings import Settings

    settings = Settings.load()
    if user is not None:
        tokens = _of_demo_user(settings, user, is_kept=True)
    else:
        begun = access.begin_login(settings)
        print(f"Open {begun.whole_url}\nor open {begun.url} and enter the code {begun.code}")
        print(f"Waiting, {begun.seconds / 60:.0f} minutes at most. Ctrl-C gives up.", flush=True)
        tokens = access.finish_login(settings, begun)
    print(
        f"Logged in as {_name(tokens.access_token)}. Kept in {settings.login.token_file.expanduser()}; `sightline logout` ends it."
    )


def logout() -> None:
    """Ends the login."""
    from connectors import access
    from contracts.settings import Settings

    print("Logged out." if access.forget(Settings.load()) else "Nobody was logged in.")


def token(user: User = None) -> None:
    """Prints an access token that is good for half a minute at least, and nothing else."""
    from connectors import access
    from contracts.settings import Settings

    settings = Settings.load()
    print(_of_demo_user(settings, user, is_kept=False).access_token if user else access.access_token(settings))


@auth.command()
def doctor(
    suspect: Annotated[
        str | None,
        typer.Argument(metavar="[TOKEN]", help="- reads it from stdin; without it, your own.", show_default=False),
    ] = None,
    *,
    route: Annotated[
        str | None, typer.Option(help="What it is meant for, such as 'POST /v1/detections': is the role there?")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """Explains what is wrong with a token. Exit 1 when it would be refused."""
    import sys

    from connectors import access
    from contracts import logs
    from contracts.errors import Misconfigured
    from contracts.settings import Settings
    from sightline.token_diagnosis import diagnose

    settings = Settings.load()
    logs.configure(level="ERROR", as_json=False)
    asked = None
    if route is not None:
        method, _, path = route.strip().partition(" ")
        if not path:
            raise Misconfigured("a route is a method and a path: --route 'GET /v1/frames'")
        asked = (method, path.strip())
    if suspect is None:
        given = access.access_token(settings)
    else:
        given = (sys.stdin.read() if suspect == "-" else suspect).strip()
    around, verdict = _judged(settings, given)
    found = diagnose(given, verdict, around, asked)
    print(_as_json(found) if as_json else _page(found))
    raise typer.Exit(0 if found.is_accepted else 1)


def _judged(settings: Settings, token: str) -> tuple[Circumstances, Identity | str]:
    """Asks Keycloak for its keys and its clock, and the API's verifier for its word."""
    from contracts.errors import Transient
    from inference.api.problems import Problem
    from inference.api.tokens import Verifier
    from sightline.token_diagnosis import Circumstances, clock

    keys, server_clock = _keys_and_clock(settings)
    try:
        verdict: Identity | str = Verifier(settings.auth).verify(token)
    except Problem as problem:
        verdict = problem.code
    except Transient:
        verdict = "keys_away"
    return Circumstances(auth=settings.auth, now=clock(), keys=keys, server_clock=server_clock), verdict


def _keys_and_clock(settings: Settings) -> tuple[frozenset[str] | None, float | None]:
    from email.utils import parsedate_to_datetime

    import httpx

    try:
        answer = httpx.get(settings.auth.jwks_url, timeout=5, trust_env=False)
        answer.raise_for_status()
        keys = frozenset(str(key["kid"]) for key in answer.json()["keys"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None, None
    date = answer.headers.get("date")
    return keys, parsedate_to_datetime(date).timestamp() if date else None


def _of_demo_user(settings: Settings, user: str, *, is_kept: bool) -> Tokens:
    from connectors import access
    from contracts.errors import Misconfigured
    from sightline.stack import logins
    from sightline.stack.home import Home

    people = logins.read(Home(settings.stack.home)).people
    if user not in people:
        raise Misconfigured(f"there is no demo user {user}: there are {', '.join(people)}")
    return access.with_password(settings, client=DEMO_CLIENT, user=user, password=people[user], is_kept=is_kept)


def _name(access_token: str) -> str:
    import jwt

    claims = jwt.decode(access_token, options={"verify_signature": False})
    return str(claims.get("preferred_username", "somebody"))


def _as_json(found: Diagnosis) -> str:
    from dataclasses import asdict

    return json.dumps(asdict(found), indent=1)


def _page(found: Diagnosis) -> str:
    lines = [f"✗ {finding.what} [{finding.code}]\n  {finding.advice}" for finding in found.findings]
    if found.name:
        lines.append(f"of {found.name}, through {found.client}; roles: {', '.join(found.roles) or 'none of ours'}")
    if found.is_accepted:
        lines.append(f"The API believes it, {found.seconds_left} s more.")
    else:
        lines.append("The API would refuse it.")
    return "\n".join(lines)
