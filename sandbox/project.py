"""One opened project: its settings, env files, secrets and what is known of its playground."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sandbox import layout as layouts
from sandbox import settings as reading
from sandbox.errors import ConfigError
from sandbox.identities import Vault, write_private
from sandbox.layout import Place
from sandbox.model import LAYOUTS, Environment, Identity, Kind, Layout, Role
from sandbox.settings import Settings

STATE_FOLDER = ".sandbox"


@dataclass(frozen=True, kw_only=True)
class State:
    """What a playground is now. `swapping` names the stores of a swap that has not ended, in their
    order; `resetting` is what a reset among them returns to, `moving` the layout that a move among
    them goes to, `swap` the engine's swap of containers that they belong to. `homes`: in which
    layout's place a store's data stands, where it is not the present one's."""

    layout: Layout | None = None
    made: bool = False  # its spaces and logins are there
    loaded: str = ""  # the snapshot that it holds
    swapping: tuple[Kind, ...] = ()
    resetting: str = ""
    moving: Layout | None = None
    homes: Mapping[Kind, Layout] = field(default_factory=dict)
    staging: str = ""  # the snapshot of a load that has not ended,
    staged: tuple[Kind, ...] = ()  # and the stores that it has finished beside the present ones
    swap: str = ""
    fingerprints: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # of env files


@dataclass(frozen=True, kw_only=True)
class Project:
    """Everything that a workflow needs to know before it connects anywhere."""

    settings: Settings
    config: Path
    playground: str
    vault: Vault
    environ: Mapping[str, str] = field(repr=False)
    seen_as: Layout | None = None  # the layout to look at, when it is not the present one

    def at(self, layout: Layout) -> Project:
        """The same project as it would be, or was, in another layout."""
        return replace(self, seen_as=layout)

    def named(self, playground: str) -> Project:
        """The same project for another playground; "" is the one without a name."""
        return replace(self, playground=playground, seen_as=None)

    def siblings(self) -> tuple[str, ...]:
        """The other playgrounds of this folder: those that have an env file."""
        base = self.root / self.settings.environment("playground").env_file
        names = ["" for _ in range(base.is_file())]
        for path in sorted(base.parent.glob(f"{base.name}.*")):
            name = path.name.removeprefix(f"{base.name}.")
            if layouts.PLAYGROUND_NAME.match(name):
                names.append(name)
        return tuple(name for name in names if name != self.playground)

    @property
    def root(self) -> Path:
        return self.config.parent

    @property
    def folder(self) -> Path:
        """Where this tool keeps its own files: secrets, state, snapshots."""
        return self.root / STATE_FOLDER

    @property
    def snapshots(self) -> Path:
        return self.root / self.settings.snapshots

    @property
    def baselines(self) -> Path:
        """Where this playground's saved states are."""
        suffix = f"-{self.playground}" if self.playground else ""
        return self.folder / f"baselines{suffix}"

    @property
    def policy(self) -> Path:
        return self.root / self.settings.policy

    @property
    def layout(self) -> Layout:
        """The one that `isolate --layout` chose last, else the file's."""
        return self.seen_as or self.state().layout or self.settings.layout

    def places(self, layout: Layout | None = None) -> tuple[Place, ...]:
        return layouts.places(
            self.settings, layout=layout or self.layout, root=self.root, playground=self.playground
        )

    def compose_project(self, environment: Environment) -> str:
        return layouts.compose_project(self.settings, environment, self.playground)

    def compose_file(self, environment: Environment) -> Path:
        return self.root / self.settings.environment(environment).compose

    def env_file(self, environment: Environment) -> Path:
        declared = self.root / self.settings.environment(environment).env_file
        if environment == "playground" and self.playground:
            return declared.with_name(f"{declared.name}.{self.playground}")
        return declared

    def variables(self, environment: Environment) -> dict[str, str]:
        """The env file's values; {} when there is none yet."""
        path = self.env_file(environment)
        try:
            text = path.read_text()
        except FileNotFoundError:
            return {}
        return reading.parse_env(text, file=_shown(path, self.root))

    def admin_variable(self, kind: Kind, environment: Environment) -> str:
        name: str = getattr(getattr(self.settings, kind).admin, environment)
        return name

    def admin_secret(self, kind: Kind, environment: Environment) -> str:
        """A server's administrator password: the env file's, else one made now."""
        variable = self.admin_variable(kind, environment)
        given = self.environ.get(variable) or self.variables(environment).get(variable)
        return given or self.vault.secret(self.secret_name(kind, "admin", environment))

    def external_url(self, kind: Kind) -> str:
        """The URL of an external production's reader: from the environment, the env file or the
        secret command. Raises ConfigError; no value stands in an error."""
        declared = self.settings.environments.production
        variable = declared.urls.get(kind, "")
        where = f"{self.config.name}: environments.production.urls.{kind}"
        if not variable:
            raise ConfigError("an external production needs its reader's URL", where=where)
        found = self.environ.get(variable) or self.variables("production").get(variable)
        if not found and declared.secret_command:
            found = _told(declared.secret_command, variable, self.config)
        if not found:
            raise ConfigError(
                f"{variable} is not set",
                where=where,
                hint=f"put it into {declared.env_file} or the environment, or set secret_command",
            )
        return found

    def identity(self, kind: Kind, role: Role, server: Environment) -> Identity:
        """The login of `role` on the server that `server` runs. On servers of its own a playground
        has other passwords than on production's, where they open nothing."""
        if role == "admin":
            user = getattr(self.settings, kind).admin.user
            return Identity(role=role, name=user, secret=self.admin_secret(kind, server))
        name = layouts.identity_name(self.settings, role, self.playground)
        secret = self.vault.secret(self.secret_name(kind, role, server))
        return Identity(role=role, name=name, secret=secret)

    def secret_name(self, kind: Kind, role: Role, server: Environment) -> str:
        """What the vault calls the secret of `role` on the server that `server` runs."""
        mine = f"/{self.playground}" if self.playground else ""
        if role == "admin":
            return f"{kind}/admin/{server}{mine if server == 'playground' else ''}"
        if role in ("reader", "production"):
            return f"{kind}/{role}"
        return f"{kind}/{role}{'/own-server' if server == 'playground' else ''}{mine}"

    @property
    def files_user(self) -> str:
        """The machine's user whom the playground's directories belong to; "" is who runs this."""
        user = self.settings.files.user if self.settings.files else ""
        return layouts.playground_value(user, self.playground) if user else ""

    def loaded(self) -> frozenset[str]:
        """The snapshots that any playground of this folder was loaded from."""
        all_ = (self.playground, *self.siblings())
        return frozenset(self.named(name).state().loaded for name in all_) - {""}

    def state(self) -> State:
        try:
            raw = json.loads(self._state_path().read_text())
        except FileNotFoundError:
            return State()
        except json.JSONDecodeError as error:
            raise ConfigError(
                f"not valid JSON: {error}",
                where=_shown(self._state_path(), self.root),
                hint="delete it; ./inv isolate writes it anew",
            ) from None
        return _state(raw, _shown(self._state_path(), self.root))

    def remember(self, **changes: Any) -> State:
        """Change the state on disk; whole or not at all."""
        state = replace(self.state(), **changes)
        record = {
            "layout": state.layout,
            "made": state.made,
            "loaded": state.loaded,
            "swapping": list(state.swapping),
            "resetting": state.resetting,
            "moving": state.moving,
            "homes": state.homes,
            "staging": state.staging,
            "staged": list(state.staged),
            "swap": state.swap,
            "fingerprints": state.fingerprints,
        }
        write_private(self._state_path(), json.dumps(record, indent=1, sort_keys=True) + "\n")
        return state

    def forget(self) -> None:
        """The playground is gone: its env file, secrets and state go, too."""
        self.env_file("playground").unlink(missing_ok=True)
        self.vault.forget(
            lambda name: name.endswith(f"/{self.playground}") if self.playground else False
        )
        self._state_path().unlink(missing_ok=True)

    def _state_path(self) -> Path:
        return self.folder / (f"state-{self.playground}.json" if self.playground else "state.json")


def open_project(
    config: str | Path = "", *, playground: str = "", environ: Mapping[str, str] | None = None
) -> Project:
    """Read sandbox.toml (or `config`, or $SANDBOX_CONFIG). Raises ConfigError; changes nothing."""
    environ = os.environ if environ is None else environ
    path = Path(config or environ.get("SANDBOX_CONFIG") or "sandbox.toml").absolute()
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise ConfigError(
            "there is no such file",
            where=str(config or path.name),
            hint="run in the project's folder, or name it: --config FILE",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(config or path.name)) from None
    settings = reading.parse(text, file=path.name)
    layouts.check_playground_name(playground)
    vault = Vault(path.parent / STATE_FOLDER / "identities.json", environ)
    return Project(
        settings=settings, config=path, playground=playground, vault=vault, environ=environ
    )


@contextlib.contextmanager
def locked(project: Project) -> Iterator[None]:
    """One command at a time changes a project; the kernel frees the lock if it is killed."""
    project.folder.mkdir(parents=True, exist_ok=True)
    with (project.folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                "another command is changing this project",
                where=str(project.config.name),
                hint="wait for it, or stop it, and run this again",
            ) from None
        yield


def _told(command: Sequence[str], variable: str, config: Path) -> str:
    """What a program prints for one variable: its first line."""
    argv = [part.replace("{variable}", variable) for part in command]
    where = f"{config.name}: environments.production.secret_command"
    try:
        done = subprocess.run(
            argv, cwd=config.parent, stdout=subprocess.PIPE, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{argv[0]} cannot be run: {type(error).__name__}", where=where) from None
    if done.returncode or not done.stdout.strip():
        raise ConfigError(
            f"{argv[0]} told nothing for {variable} (exit code {done.returncode})", where=where
        )
    return done.stdout.splitlines()[0].strip()


def _state(raw: Mapping[str, Any], file: str) -> State:
    homes = raw.get("homes", {})
    for layout in (raw.get("layout"), raw.get("moving"), *homes.values()):
        if layout is not None and layout not in LAYOUTS:
            raise ConfigError(f"there is no layout {layout!r}", where=file, hint="delete the file")
    return State(
        layout=raw.get("layout"),
        made=raw.get("made", False),
        loaded=raw.get("loaded", ""),
        swapping=tuple(raw.get("swapping", ())),
        resetting=raw.get("resetting", ""),
        moving=raw.get("moving"),
        homes=homes,
        staging=raw.get("staging", ""),
        staged=tuple(raw.get("staged", ())),
        swap=raw.get("swap", ""),
        fingerprints=raw.get("fingerprints", {}),
    )


def _shown(path: Path, root: Path) -> str:
    try:
        return str(path.relative_to(root))
    except ValueError:
        return str(path)
