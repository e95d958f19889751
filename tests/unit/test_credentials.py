"""Each login of each store under the other environment's name, in each place where one is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandbox.envfiles import fingerprint
from sandbox.errors import Refused
from sandbox.identities import new_secret, write_private
from sandbox.project import Project, open_project
from sandbox.report import silent
from sandbox.stores.qdrant import token
from sandbox.urls import holds
from sandbox.workflows.credentials import check, remember_logins
from sandbox.workflows.session import Session

ROOT = Path(__file__).parents[2]
KINDS = ("postgres", "mongo", "qdrant", "redis")
PAIRS = [
    (f"{kind}/{theirs}", f"{kind}/{ours}")
    for kind in KINDS
    for theirs in ("reader", "production", "admin/production")
    for ours in ("keeper", "playground", "playground/own-server", "playground/ann",
                 "admin/playground")
]  # fmt: skip
URLS = {
    "postgres": "DATABASE_URL",
    "mongo": "MONGODB_URL",
    "redis": "REDIS_URL",
    "qdrant": "QDRANT_API_KEY",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every login made, noted and written, as `up` leaves them."""
    (tmp_path / "sandbox.toml").write_text((ROOT / "sandbox.toml").read_text())
    secrets = {name: new_secret() for pair in PAIRS for name in pair}
    write_private(tmp_path / ".sandbox" / "identities.json", json.dumps(secrets))
    project = opened(tmp_path)
    remember_logins(project)
    (tmp_path / ".env").write_text(f"{application(project, 'production')}\n")
    (tmp_path / ".env.development").write_text(f"{application(project, 'playground')}\n")
    return tmp_path


def opened(folder: Path, **environ: str) -> Project:
    return open_project(folder / "sandbox.toml", environ=environ)


def application(project: Project, role: str) -> str:
    lines = []
    for kind, variable in URLS.items():
        secret = project.vault.known(f"{kind}/{role}")
        if kind == "qdrant":
            key = project.vault.known("qdrant/admin/production")
            space = "momentry_rule1" if role == "production" else "momentry_dev_rule1"
            lines.append(
                f"{variable}={token(key, role, space, revision=fingerprint(secret))}"  # type: ignore[arg-type]
            )
        else:
            lines.append(f"{variable}={kind}://momentry_{role}:{secret}@127.0.0.1:1/momentry")
    return "\n".join(lines)


def refused(project: Project, *, files: bool = True) -> str:
    with Session(project, silent) as session, pytest.raises(Refused) as raised:
        check(session, files=files)
    return str(raised.value)


def accepted(project: Project) -> None:
    with Session(project, silent) as session:
        check(session)


def test_each_in_its_place_is_accepted(folder: Path) -> None:
    before = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
    accepted(opened(folder))
    assert {path: path.read_text() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
@pytest.mark.parametrize("how", ["exchanged", "pasted", "pasted back"])
def test_in_the_secrets_file(folder: Path, theirs: str, ours: str, how: str) -> None:
    path = folder / ".sandbox" / "identities.json"
    known = json.loads(path.read_text())
    secrets = known[theirs], known[ours]
    if how != "pasted back":
        known[theirs] = secrets[1]
    if how != "pasted":
        known[ours] = secrets[0]
    path.write_text(json.dumps(known))
    said = refused(opened(folder), files=False)
    assert theirs in said and ours in said and "identities.json" in said
    assert not any(secret in said for secret in secrets)


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_in_the_environment(folder: Path, theirs: str, ours: str) -> None:
    vault = opened(folder).vault

    def variable(name: str) -> str:
        kind, role, *rest = name.split("/")
        if role != "admin":
            return "SANDBOX_SECRET_" + name.replace("/", "_").replace("-", "_").upper()
        of = {"mongo": "MONGO_PASSWORD", "qdrant": "QDRANT_ADMIN_KEY"}
        own = of.get(kind, f"{kind.upper()}_PASSWORD")
        return own if rest[0] == "production" else f"PLAYGROUND_{own}"

    one = opened(folder, **{variable(theirs): vault.known(ours)})
    assert f"the environment: {variable(theirs)}" in refused(one, files=False)
    both = {variable(theirs): vault.known(ours), variable(ours): vault.known(theirs)}
    assert "the environment" in refused(opened(folder, **both), files=False)


@pytest.mark.parametrize("kind", KINDS)
def test_in_the_env_files(folder: Path, kind: str) -> None:
    first, second = folder / ".env", folder / ".env.development"
    lines = [path.read_text().splitlines() for path in (first, second)]
    number = list(URLS).index(kind)
    lines[0][number], lines[1][number] = lines[1][number], lines[0][number]
    for path, text in zip((first, second), lines, strict=True):
        before = path.read_text()
        path.write_text("\n".join(text) + "\n")
        said = refused(opened(folder))
        path.write_text(before)
        assert said.startswith(f"{path.name}: {URLS[kind]} holds the secret of {kind}/")
    accepted(opened(folder))


def test_an_external_productions_url(folder: Path) -> None:
    text = (folder / "sandbox.toml").read_text().replace("external = false", "external = true")
    added = 'urls = { postgres = "PROD_URL" }\n'
    (folder / "sandbox.toml").write_text(text.replace("external = true", f"{added}external = true"))
    mine = opened(folder).variables("playground")["DATABASE_URL"]
    assert "PROD_URL holds the secret of postgres/playground" in refused(
        opened(folder, PROD_URL=mine)
    )
    theirs = "postgresql://them:a-long-password-of-theirs@10.0.0.1/momentry"
    accepted(opened(folder, PROD_URL=theirs))
    with (folder / ".env.development").open("a") as file:
        file.write(f"DATABASE_URL={theirs}\n")
    said = refused(opened(folder, PROD_URL=theirs))
    assert "DATABASE_URL holds the secret of postgres/reader" in said


def test_a_secret_that_somebody_chose_is_accepted(folder: Path) -> None:
    path = folder / ".sandbox" / "identities.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps(known | {"redis/reader": "chosen", "mongo/playground": "chosen"}))
    (folder / ".env").unlink()
    accepted(opened(folder, POSTGRES_PASSWORD="postgres"))


def test_a_short_secret_is_not_found_in_every_url() -> None:
    assert not holds("postgresql://a:b@127.0.0.1/x", "postgres")
    assert holds("postgresql://a:postgres@127.0.0.1/x", "postgres")
    assert holds("postgresql://a:p%40ss@127.0.0.1/x", "p@ss")
    assert holds("host=db password=a-password-long-enough", "a-password-long-enough")
    assert not holds("http://[::1", "x")
