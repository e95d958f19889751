"""Every probe of the files against the leak that it must see."""

from __future__ import annotations

import os
import pwd
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.contract import Access
from sandbox.errors import Refused
from sandbox.masking.keep import KEEP
from sandbox.model import Attempt, Endpoint, FilesSpace, Identity, Marker
from sandbox.stores.files import Admin, Prober, Source, Store, marks
from sandbox.stores.files import probe as probing

HOME = "write, read and delete a file at home"
LIST = "list production"
APART = "the directory itself, symlinks and .. followed"
SYMLINKS = "symlinks in the playground"
SHARED = "hard links and bind mounts of one file or directory"
MOUNTS = "mounts inside the playground"
MARKERS = "the markers"
MODE = "write production by its mode"
WRITE = "write production"
OUR_CANARY = "find the playground's canary in production"
THEIR_CANARY = "find production's canary in the playground"
LIST_DIRECTORY = "list production's directory"
READ_FILE = "read a file of production"
OPEN_FILE = "open a file of production for writing"
OF_A_USER = {LIST_DIRECTORY, READ_FILE, OPEN_FILE}  # tried where a separate user is named
ALL = {HOME, LIST, APART, SYMLINKS, SHARED, MOUNTS, MARKERS, MODE, WRITE, OUR_CANARY, THEIR_CANARY}


class Place:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.production = {p: root / p for p in ("output", "backup")}
        self.playground = {p: root / f"{p}_dev" for p in ("output", "backup")}
        self.user = self.reader = ""
        for directory in self.production.values():
            (directory / "sub").mkdir(parents=True)
            (directory / "sub" / "file").write_text("production's")
            directory.chmod(0o755)

    def admin(self) -> Admin:
        identity = Identity(role="playground", name=self.user)
        return Admin(
            self.access("admin", self.production),
            production=FilesSpace(directories=self.production),
            playground=FilesSpace(directories=self.playground),
            identities={"playground": identity, "production": identity} if self.user else {},
            project="demo",
        )

    def access(self, role: str, directories: dict[str, Path], user: str = "") -> Access:
        return Access(
            endpoint=Endpoint(),
            identity=Identity(role=role, name=user),  # type: ignore[arg-type]
            space=FilesSpace(directories=directories),
        )

    def attempts(self) -> list[Attempt]:
        prober = Prober(
            playground=self.access("playground", self.playground, self.user),
            production=self.access("production", self.production),
            reader=self.access("reader", self.production, self.reader),
        )
        return list(prober.attempts())

    def failed(self) -> set[tuple[str, str]]:
        return {(a.row, a.tried) for a in self.attempts() if not a.ok}


@pytest.fixture
def place() -> Iterator[Place]:
    # Not pytest's own folder: a separate user could not even get there.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        made = Place(Path(folder))
        made.admin().isolate()
        yield made


def test_apart(place: Place) -> None:
    (place.root / "output_dev" / "a").mkdir()
    (place.root / "output_dev" / "a" / "link").symlink_to("..")
    (place.root / "output_dev" / "a" / "away").symlink_to("/usr")
    (place.root / "output_dev" / "one").touch()
    os.link(place.root / "output_dev" / "one", place.root / "output_dev" / "two")
    before = sorted(p.name for p in place.root.rglob("*"))
    attempts = place.attempts()
    assert [a for a in attempts if not a.ok] == []
    assert {a.tried for a in attempts} == ALL
    assert {a.row for a in attempts} == {"Output files", "Backup files"}
    assert attempts[0].tried == HOME  # it first succeeds at home
    assert sorted(p.name for p in place.root.rglob("*")) == before
    assert sum(a.seconds for a in attempts) < 1


# --- leak -> the probe that must see it ----------------------------------------------------------


def link_directory(place: Place) -> None:
    (place.root / "output_dev" / "deep").mkdir()
    (place.root / "output_dev" / "deep" / "x").symlink_to("../../output/sub")


def link_file(place: Place) -> None:
    (place.root / "output_dev" / "x").symlink_to(place.root / "output" / "sub" / "file")


def link_above(place: Place) -> None:
    (place.root / "output_dev" / "x").symlink_to("..")


def link_another_purpose(place: Place) -> None:
    (place.root / "output_dev" / "x").symlink_to("../backup")


def link_by_a_link(place: Place) -> None:
    (place.root / "hop").symlink_to("output")
    (place.root / "output_dev" / "x").symlink_to("../hop/sub")


def link_dangling(place: Place) -> None:
    (place.root / "output_dev" / "x").symlink_to("../output/not-yet")


def hard_link(place: Place) -> None:
    os.link(place.root / "output" / "sub" / "file", place.root / "output_dev" / "x")


def be_production(place: Place) -> None:
    place.playground["output"] = place.production["output"]


def be_a_link_to_production(place: Place) -> None:
    (place.root / "output_dev").rename(place.root / "aside")
    (place.root / "output_dev").symlink_to("output")


def be_production_by_dots(place: Place) -> None:
    place.playground["output"] = place.root / "output_dev" / ".." / "output"


def be_inside(place: Place) -> None:
    place.playground["output"] = place.production["output"] / "sub"


def be_around(place: Place) -> None:
    place.playground["output"] = place.root


def be_anothers_purpose(place: Place) -> None:
    place.playground["output"] = place.production["backup"]


def unmark(place: Place) -> None:
    (place.root / "output_dev" / ".sandbox.json").unlink()


def mark_production(place: Place) -> None:
    marker = Marker(project="demo", environment="playground")
    marks.write(place.root / ".output.sandbox.json", marker)


def open_production(place: Place) -> None:
    (place.root / "output").chmod(0o777)


def lose_home(place: Place) -> None:
    (place.root / "output_dev" / ".sandbox.json").unlink()
    (place.root / "output_dev").rmdir()


def lose_production(place: Place) -> None:
    (place.root / "output").rename(place.root / "gone")


LEAKS: list[tuple[Callable[[Place], None], str]] = [
    (link_directory, SYMLINKS),
    (link_file, SYMLINKS),
    (link_above, SYMLINKS),
    (link_another_purpose, SYMLINKS),
    (link_by_a_link, SYMLINKS),
    (link_dangling, SYMLINKS),
    (hard_link, SHARED),
    (be_production, APART),
    (be_production, SHARED),
    (be_production, OUR_CANARY),
    (be_production, THEIR_CANARY),
    (be_a_link_to_production, APART),
    (be_a_link_to_production, OUR_CANARY),
    (be_production_by_dots, APART),
    (be_production_by_dots, THEIR_CANARY),
    (be_inside, APART),
    (be_inside, SHARED),
    (be_around, APART),
    (be_anothers_purpose, APART),
    (unmark, MARKERS),
    (mark_production, MARKERS),
    (open_production, MODE),
    (lose_home, HOME),
    (lose_production, LIST),
    (lose_production, APART),
]


@pytest.mark.parametrize(("leak", "tried"), LEAKS)
def test_a_leak_is_seen_and_named(place: Place, leak: Callable[[Place], None], tried: str) -> None:
    leak(place)
    assert ("Output files", tried) in place.failed()


@pytest.mark.parametrize("leak", dict.fromkeys(leak for leak, _ in LEAKS))
def test_the_other_row_stays_green(place: Place, leak: Callable[[Place], None]) -> None:
    leak(place)
    others = {tried for row, tried in place.failed() if row == "Backup files"}
    # A directory of production that is gone, or that everybody shares, concerns both rows.
    assert not others or leak is lose_production


def test_every_probe_has_a_leak_that_it_sees() -> None:
    in_other_tests = {MOUNTS, WRITE}
    assert {tried for _, tried in LEAKS} | in_other_tests == ALL


def test_a_mount_of_productions_file_system_is_seen(place: Place) -> None:
    own, theirs = place.root / "output_dev", place.root / "output"
    device = theirs.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    line = "36 35 {} /data/output {} rw,relatime - ext4 /dev/vda rw\n"
    odd = str(os.path.realpath(own)).replace("output_dev", "output_dev/a\\040b")
    assert probing.mounted(own, (theirs,), line.format(number, odd)) == (
        "a b is a mount of it",
        False,
    )
    for other in (
        line.format("250:7", odd),
        line.format(number, "/"),
        line.format(number, f"{own}_other/x"),
        "",
    ):
        assert probing.mounted(own, (theirs,), other) == ("none", True)


def test_without_a_user_of_its_own_it_says_so(place: Place) -> None:
    said = {a.happened for a in place.attempts() if a.tried == WRITE}
    assert said == {probing.NO_USER}


class TestSeparateUser:
    """With users of their own, rights are tried for real; that needs root, as `isolate` does."""

    @pytest.fixture
    def users(self, place: Place) -> Place:
        if os.geteuid() != 0:
            pytest.skip("only root can try another user's rights")
        place.user, place.reader = "nobody", "daemon"
        for directory in place.playground.values():
            os.chown(directory, pwd.getpwnam("nobody").pw_uid, -1)
        for directory in place.production.values():
            os.chown(directory, -1, pwd.getpwnam("daemon").pw_gid)
            directory.chmod(0o750)
        return place

    def test_denied(self, users: Place) -> None:
        attempts = users.attempts()
        assert [a for a in attempts if not a.ok] == []
        assert {a.happened for a in attempts if a.tried == WRITE} == {"denied"}
        assert {"nobody", "daemon"} <= {a.identity for a in attempts}
        assert {a.tried for a in attempts} == ALL | OF_A_USER
        assert {a.happened for a in attempts if a.tried in OF_A_USER} == {"denied"}

    @pytest.mark.parametrize("user", ["nobody", "daemon"])
    def test_a_right_too_many_is_seen(self, users: Place, user: str) -> None:
        """What the owner of a directory may do in it; the files in it stay somebody else's."""
        os.chown(users.root / "output", pwd.getpwnam(user).pw_uid, -1)
        more = {LIST_DIRECTORY, READ_FILE} if user == "nobody" else set()
        assert users.failed() == {("Output files", tried) for tried in {WRITE, *more}}
        assert sorted(p.name for p in (users.root / "output").iterdir()) == ["sub"]

    def test_a_directory_that_everybody_may_list_is_seen(self, users: Place) -> None:
        (users.root / "output").chmod(0o755)
        assert users.failed() == {("Output files", LIST_DIRECTORY), ("Output files", READ_FILE)}

    def test_a_file_that_everybody_may_write_is_seen(self, users: Place) -> None:
        (users.root / "output").chmod(0o751)  # nobody lists it, who knows the name gets there
        file = users.root / "output" / "sub" / "file"
        file.chmod(0o602)
        before = file.stat()
        assert users.failed() == {("Output files", OPEN_FILE)}
        assert (file.stat().st_mtime_ns, file.stat().st_ctime_ns, file.read_text()) == (
            before.st_mtime_ns, before.st_ctime_ns, "production's",
        )  # fmt: skip

    def test_no_right_at_home_is_seen(self, users: Place) -> None:
        os.chown(users.root / "output_dev", 0, -1)
        assert users.failed() == {("Output files", HOME)}

    def test_a_reader_that_cannot_read_is_seen(self, users: Place) -> None:
        (users.root / "output").chmod(0o700)
        assert users.failed() == {("Output files", LIST)}

    def test_an_unknown_user(self, users: Place) -> None:
        users.user = "no-such-user"
        assert ("Output files", HOME) in users.failed()

    def test_isolate_makes_the_user_and_remove_takes_it_away(self, users: Place) -> None:
        """Also where the directories are there already, with what a load left in them."""
        name = users.user = f"sbx{secrets.token_hex(4)}"
        (users.root / "output_dev" / "old").touch()
        admin = users.admin()
        planned = [one.text for one in admin.statements()]
        assert planned[0].startswith("useradd ") and f"chown -R {name}" in planned[1]
        assert [one.text for one in admin.isolate()] == planned
        try:
            owner = pwd.getpwnam(name)
            assert (users.root / "output_dev" / "old").stat().st_uid == owner.pw_uid
            assert admin.isolate() == []
            assert [a for a in users.attempts() if not a.ok] == []
        finally:
            admin.remove()
        with pytest.raises(KeyError):
            pwd.getpwnam(name)

    def test_what_is_loaded_and_put_back_is_the_users(self, users: Place) -> None:
        users.admin().isolate()
        source = Source(users.access("reader", users.production))
        owner = Identity(role="playground", name="nobody")
        production = FilesSpace(directories=users.production)
        keeper = users.access("keeper", users.playground)
        store = Store(keeper, owner=owner, production=production)
        with source.cut() as cut:
            datasets = source.datasets(cut)
            store.stage(datasets, b"")
            for dataset in datasets:
                store.write(dataset, (piece for _, piece in source.read(cut, dataset, KEEP)))
        store.finish(Marker(project="demo", environment="playground", baseline="b"))
        store.swap()
        store.settle()
        file = users.root / "output_dev" / "sub" / "file"
        numbers = {path.stat().st_uid for path in (file, file.parent, file.parent.parent)}
        assert numbers == {pwd.getpwnam("nobody").pw_uid}
        file.unlink()
        store.rewind()
        store.swap()
        store.settle()
        assert file.stat().st_uid == pwd.getpwnam("nobody").pw_uid
        assert [a for a in users.attempts() if not a.ok] == []

    def test_a_user_that_was_there_before_stays(self, users: Place) -> None:
        users.admin().isolate()
        users.admin().remove()
        assert pwd.getpwnam("nobody")

    def test_a_folder_above_that_keeps_it_out_is_named(self, users: Place) -> None:
        users.root.chmod(0o700)
        with pytest.raises(Refused, match="may not go through") as raised:
            users.admin().isolate()
        assert raised.value.where == str(users.root)

    def test_only_root_can(self, users: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is loaded under another owner, and a right that cannot be tried is red."""
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(Refused, match="only root"):
            users.admin().isolate()
        space = FilesSpace(directories=users.production)
        access = users.access("keeper", users.playground)
        with pytest.raises(Refused, match="only root"):
            Store(access, owner=Identity(role="playground", name="nobody"), production=space)
        assert {("Output files", HOME), ("Output files", WRITE)} <= users.failed()
