"""Whatever stands in a directory comes out of the stream the same, and never anywhere else."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from sandbox.contract import Access
from sandbox.errors import Refused, SandboxError, SnapshotBroken, Unreachable
from sandbox.masking.keep import KEEP, Keep
from sandbox.model import Dataset, Endpoint, FileEntry, FilesSpace, Identity
from sandbox.stores.files import Source, stream, tree
from sandbox.stores.files.stream import unpack

MIB = 1 << 20


def source(root: Path) -> Source:
    return Source(
        Access(
            endpoint=Endpoint(),
            identity=Identity(role="reader", name=""),
            space=FilesSpace(directories={"output": root}),
        )
    )


def packed(root: Path, mask: Any = KEEP) -> tuple[int, bytes]:
    one = source(root)
    with one.cut() as cut:
        pieces = list(one.read(cut, Dataset(store="files", name="output"), mask))
    return sum(rows for rows, _ in pieces), b"".join(piece for _, piece in pieces)


def copied(root: Path, target: Path, mask: Any = KEEP) -> int:
    target.mkdir()
    rows, data = packed(root, mask)
    assert unpack(target, [data]) == rows
    return rows


def listing(root: Path) -> dict[str, Any]:
    """Everything that must be the same in a copy."""
    found = {}
    for entry in tree.walk(root):
        content = b""
        if entry.type == "file":
            assert entry.source is not None
            content = entry.source.read_bytes()
        found[entry.path] = (entry.type, entry.mode, entry.mtime, entry.target, content)
    return found


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A directory with one of everything."""
    root = tmp_path / "production"
    (root / "a" / "深い" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a" / "plain.json").write_text('{"x": 1}')
    (root / "a" / "empty.txt").touch()
    (root / "a" / "深い" / "deep" / "naïve \n tab\t '\"%.mp4").write_bytes(os.urandom(3 * MIB + 7))
    (root / ("x" * 200)).mkdir()
    (root / ("x" * 200) / ("y" * 250)).write_text("a long name")
    Path(os.fsdecode(os.fsencode(root) + b"/latin-\xe9")).write_text("not UTF-8")
    (root / "-rf").write_text("a name like an option")
    (root / "inner").symlink_to("a/plain.json")
    (root / "a" / "up").symlink_to("../empty")
    (root / "dangling").symlink_to("not/there")
    (root / "script.sh").write_text("#!/bin/sh\n")
    (root / "script.sh").chmod(0o755)
    (root / "secret").write_text("s")
    (root / "secret").chmod(0o600)
    (root / ".hidden").write_text("h")
    os.utime(root / "script.sh", ns=(1, 1_600_000_000_123_456_789))
    os.utime(root / "secret", ns=(1, -1_500_000_001))
    os.utime(root / "empty", ns=(1, 1_234_567_890))
    (root / "a").chmod(0o700)
    os.utime(root / "a", ns=(1, 42_000_000_042))
    return root


def test_a_copy_is_the_same(full: Path, tmp_path: Path) -> None:
    before = listing(full)
    rows = copied(full, tmp_path / "copy")
    assert listing(tmp_path / "copy") == before == listing(full)
    assert rows == len(before) == source(full).count()["output"]


def test_copy_back_is_the_same(full: Path, tmp_path: Path) -> None:
    copied(full, tmp_path / "there")
    copied(tmp_path / "there", tmp_path / "back")
    assert listing(tmp_path / "back") == listing(full)


def test_tar_itself_reads_the_stream(full: Path, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    _, data = packed(full)
    subprocess.run(["tar", "-xpf", "-"], cwd=tmp_path / "x", input=data, check=True)
    if shutil.which("tar"):
        assert {k: v[4] for k, v in listing(tmp_path / "x").items()} == {
            k: v[4] for k, v in listing(full).items()
        }


def test_reading_changes_nothing_of_production(full: Path) -> None:
    path = full / "a" / "plain.json"
    os.utime(path, ns=(1_000_000_000, path.stat().st_mtime_ns))
    packed(full)
    assert path.stat().st_atime_ns == 1_000_000_000


def test_holes_stay_holes(tmp_path: Path) -> None:
    root = tmp_path / "p"
    root.mkdir()
    with (root / "sparse").open("wb") as file:
        file.seek(64 * MIB)
        file.write(b"data")
        file.truncate(100 * MIB + 5)
    copied(root, tmp_path / "copy")
    facts = (tmp_path / "copy" / "sparse").stat()
    assert facts.st_size == 100 * MIB + 5
    assert facts.st_blocks * 512 < MIB
    assert (tmp_path / "copy" / "sparse").read_bytes() == (root / "sparse").read_bytes()


def test_pieces_are_about_a_mebibyte(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "large").write_bytes(bytes(40 * MIB))
    one = source(tmp_path / "p")
    with one.cut() as cut:
        sizes = [len(p) for _, p in one.read(cut, one.datasets(cut)[0], KEEP)]
    assert max(sizes) <= 2 * MIB + 1024
    assert len(sizes) > 15


# --- through a mask ------------------------------------------------------------------------------


class Upper(Keep):
    """Renames, drops, and makes content longer than it was."""

    def file(self, directory: str, file: FileEntry) -> FileEntry | None:
        assert directory == "output"
        if file.path.endswith(".skip") or file.type == "symlink":
            return None
        file.path = file.path.upper()
        return file

    def content(self, directory: str, file: FileEntry, stream: IO[bytes]) -> Iterator[bytes]:
        assert not file.path.isupper()  # the name that it has in production
        while data := stream.read(1000):
            yield data * 2

    def keeps(self, dataset: Dataset) -> bool:
        return False


def test_the_mask_names_and_fills_every_file(tmp_path: Path) -> None:
    root = tmp_path / "p"
    (root / "dir").mkdir(parents=True)
    (root / "dir" / "one").write_bytes(b"12")
    (root / "dir" / "large").write_bytes(bytes(5 * MIB))
    (root / "two.skip").write_text("x")
    (root / "link").symlink_to("/etc")  # dropped: where it leads does not matter
    rows = copied(root, tmp_path / "copy", Upper())
    assert {k: len(v[4]) for k, v in listing(tmp_path / "copy").items()} == {
        "DIR": 0,
        "DIR/LARGE": 10 * MIB,
        "DIR/ONE": 4,
    }
    assert rows == 3


def test_a_dropped_directory_is_made_for_what_it_holds(tmp_path: Path) -> None:
    class NoFolders(Keep):
        def file(self, directory: str, file: FileEntry) -> FileEntry | None:
            return None if file.type == "directory" else file

    (tmp_path / "p" / "a" / "b").mkdir(parents=True)
    (tmp_path / "p" / "a" / "b" / "c").write_text("c")
    copied(tmp_path / "p", tmp_path / "copy", NoFolders())
    assert (tmp_path / "copy" / "a" / "b" / "c").read_text() == "c"


# --- symlinks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "..", "/", "a/../../..", "chain"])
def test_a_symlink_that_leaves_is_refused_by_name(tmp_path: Path, target: str) -> None:
    root = tmp_path / "p"
    (root / "a").mkdir(parents=True)
    if target == "chain":
        (root / "hop").symlink_to("/etc")
    (root / "escape").symlink_to("hop/passwd" if target == "chain" else target)
    with pytest.raises(Refused, match=r"escape|hop") as caught:
        packed(root)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("form", ["absolute", "by its own name"])
def test_a_symlink_that_comes_back_does_not_lead_a_copy_to_the_original(
    tmp_path: Path, form: str
) -> None:
    root = tmp_path / "p"
    (root / "a").mkdir(parents=True)
    (root / "x").write_text("original")
    target = str(root / "x") if form == "absolute" else "../../p/x"
    (root / "a" / "link").symlink_to(target)
    copied(root, tmp_path / "copy")
    (root / "x").write_text("changed")
    assert (tmp_path / "copy" / "a" / "link").read_text() == "original"
    assert os.readlink(tmp_path / "copy" / "a" / "link") == "../x"  # noqa: PTH115


def test_a_symlinked_root_is_followed(full: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(full)
    copied(tmp_path / "alias", tmp_path / "copy")
    assert listing(tmp_path / "copy") == listing(full)


# --- what cannot be copied -----------------------------------------------------------------------


def test_pipes_and_sockets_are_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Refused, match="pipe"):
        packed(tmp_path)
    (tmp_path / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock"))
        with pytest.raises(Refused, match="sock"):
            packed(tmp_path)


def test_a_missing_directory_is_unreachable(tmp_path: Path) -> None:
    for call in (source(tmp_path / "no").ready, source(tmp_path / "no").count):
        with pytest.raises(Unreachable, match="no"):
            call()


def test_a_file_that_grows_is_cut_at_its_size(tmp_path: Path) -> None:
    root = tmp_path / "p"
    root.mkdir()
    (root / "log").write_bytes(b"before")

    class Growing(Keep):
        def content(self, directory: str, file: FileEntry, stream: IO[bytes]) -> Iterator[bytes]:
            with (root / "log").open("ab") as log:
                log.write(b"after")
            yield from super().content(directory, file, stream)

    copied(root, tmp_path / "copy", Growing())
    assert (tmp_path / "copy" / "log").read_bytes() == b"before"


@pytest.mark.parametrize(
    "become",
    [
        lambda path: path.symlink_to("/etc/passwd"),
        lambda path: os.mkfifo(path),
        lambda path: path.mkdir(),
    ],
    ids=["symlink", "pipe", "directory"],
)
def test_a_file_that_becomes_something_else_is_an_error(tmp_path: Path, become: Any) -> None:
    """Between the walk and the reading: nothing is followed and nothing is waited for."""
    path = tmp_path / "a"
    path.write_text("a")

    class Harm(Keep):
        def file(self, directory: str, file: FileEntry) -> FileEntry | None:
            path.unlink()
            become(path)
            return file

    with pytest.raises(SandboxError, match="became something else"):
        packed(tmp_path, Harm())


def test_a_file_that_shrinks_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"before")

    class Shrinking(Keep):
        def content(self, directory: str, file: FileEntry, stream: IO[bytes]) -> Iterator[bytes]:
            (tmp_path / "log").write_bytes(b"")
            yield from super().content(directory, file, stream)

    with pytest.raises(SandboxError, match="shorter"):
        packed(tmp_path, Shrinking())


# --- hostile streams -----------------------------------------------------------------------------


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", data: bytes = b"") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(data)
    return (
        info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        + data
        + (stream.padding(len(data)))
    )


SYM, LNK, DIR = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../evil")],
        [entry("/evil")],
        [entry("a/../../evil")],
        [entry("a//b")],
        [entry("./a")],
        [entry("link", SYM, "/etc")],
        [entry("link", SYM, "../x")],
        [entry("link", SYM, "../target/x")],
        [entry("d", DIR), entry("d/in", SYM, ".."), entry("out", SYM, "d/in/..")],
        [entry("p/q", DIR), entry("p/q/a", SYM, "../.."), entry("p/q/b", SYM, "a/../x")],
        [entry("link", SYM, ".."), entry("link/evil")],
        [entry("hard", LNK, "/etc/passwd")],
        [entry("dev", tarfile.CHRTYPE)],
        [entry("twice"), entry("twice")],
        [entry("file"), entry("file/below")],
        [entry("file"), entry("file", SYM, "x")],
        [entry("cut off", data=b"x" * 5000)[:3000]],
        [b"\xff" * 1024],
    ],
)
def test_a_hostile_stream_writes_nothing_outside(tmp_path: Path, entries: list[bytes]) -> None:
    target = tmp_path / "inner" / "target"
    target.mkdir(parents=True)
    with pytest.raises(SnapshotBroken):
        unpack(target, [*entries, stream.END])
    assert [p.name for p in tmp_path.iterdir()] == ["inner"]
    assert [p.name for p in (tmp_path / "inner").iterdir()] == ["target"]


def test_set_user_id_does_not_travel(tmp_path: Path) -> None:
    root = tmp_path / "p"
    root.mkdir()
    (root / "su").write_text("x")
    (root / "su").chmod(0o4755)
    copied(root, tmp_path / "copy")
    assert (tmp_path / "copy" / "su").stat().st_mode & 0o7777 == 0o755


def test_the_whole_stream_is_read_so_that_its_checksum_counts(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield entry("a", data=b"x")
        yield stream.END
        raise SnapshotBroken("the checksum does not match")

    with pytest.raises(SnapshotBroken, match="checksum"):
        unpack(tmp_path, pieces())


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 10_240, MIB, MIB + 1])
def test_any_cut_into_pieces_reads_the_same(tmp_path: Path, size: int) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "f").write_bytes(os.urandom(size))
    _, data = packed(tmp_path / "p")
    for step in (100, 4096, 1 << 22):
        target = tmp_path / f"copy{step}"
        target.mkdir()
        unpack(target, (data[at : at + step] for at in range(0, len(data), step)))
        assert listing(target) == listing(tmp_path / "p")


def test_times_before_1970_and_their_text() -> None:
    for value in (0, 1, -1, -1_500_000_001, 1_700_000_000_000_000_001, -1_000_000_000):
        assert stream._nanoseconds(stream._seconds(value)) == value
