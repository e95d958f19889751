"""A snapshot as one file for a colleague: a tar of parts that are compressed already, encrypted
when there is a passphrase.

Encrypted: 8 bytes `SANDBOX1`, 16 bytes salt, then frames of 4 bytes big-endian length and that
many bytes of AES-256-GCM (tag included) over 1 MiB each. The key is scrypt(passphrase, salt,
n=2^15, r=8, p=1). A frame's nonce is 11 bytes big-endian number and 1 byte: 1 in the last frame, so
that frames can be neither moved, dropped nor cut off (the STREAM construction,
https://eprint.iacr.org/2015/189).
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from sandbox.artifact.reading import PIECE, Artifact, open, read, sync_folder
from sandbox.artifact.writing import LOCK, lock_partial, new_partial
from sandbox.errors import ConfigError

MAGIC = b"SANDBOX1"
SALT = 16  # bytes


def export(root: Path, identifier: str, target: Path, *, passphrase: str = "") -> None:
    """Write one checked snapshot to `target`, mode 0600, whole or not at all."""
    artifact = open(root, identifier)
    artifact.verify()
    temporary = target.with_name(f".{target.name}.partial")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with _sealed(file, passphrase) as out, tarfile.open(fileobj=out, mode="w|") as tar:
                for path in sorted(artifact.folder.rglob("*")):
                    if path.is_file():
                        name = f"{artifact.id}/{path.relative_to(artifact.folder)}"
                        tar.add(path, arcname=name, filter=_anonymous)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def is_encrypted(source: Path) -> bool:
    """Whether `export` wrote it with a passphrase."""
    try:
        with source.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False  # `import_` says what is wrong with it


def import_(root: Path, source: Path, *, passphrase: str = "") -> Artifact:
    """Take in what `export` wrote. Names are checked, then checksums, then it counts."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with source.open("rb") as file, _opened(file, passphrase, source.name) as raw:
            folder = _extract_all(root, raw, source.name)
    except (tarfile.TarError, EOFError, FileNotFoundError, IsADirectoryError) as error:
        raise ConfigError(f"not a snapshot file: {error}", where=str(source)) from None
    identifier = folder.name.removesuffix(".partial")
    try:
        if read(folder).id != identifier:
            raise ConfigError("its manifest is another snapshot's", where=source.name)
        read(folder).verify()
        (folder / LOCK).unlink()
        folder.rename(root / identifier)
        sync_folder(root)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return read(root / identifier)


def _extract_all(root: Path, raw: IO[bytes], where: str) -> Path:
    """All members into `<id>.partial`, locked while it is filled; returns that folder."""
    folder: Path | None = None
    with contextlib.ExitStack() as stack:
        try:
            with tarfile.open(fileobj=raw, mode="r|") as tar:
                for member in tar:
                    name = _checked_id(member, where)
                    if folder is None:
                        folder = _begin(root, name, where)
                        stack.enter_context(lock_partial(folder))
                    if folder.name != f"{name}.partial":
                        raise ConfigError("it holds more than one snapshot", where=where)
                    _extract(tar, member, folder)
            while raw.read(PIECE):  # an encrypted file must be whole to its last frame
                pass
        except BaseException:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
    if folder is None:
        raise ConfigError("not a snapshot file: it is empty", where=where)
    return folder


def _begin(root: Path, identifier: str, where: str) -> Path:
    if (root / identifier).exists():
        raise ConfigError(f"snapshot {identifier} is here already", where=where)
    shutil.rmtree(root / f"{identifier}.partial", ignore_errors=True)
    return new_partial(root, identifier)


def _checked_id(member: tarfile.TarInfo, where: str) -> str:
    """The snapshot's id in a member's name. Raises ConfigError for anything but `id/path` of a
    plain file."""
    path = PurePosixPath(member.name)
    parts = path.parts
    bad = not member.isreg() or path.is_absolute() or ".." in parts or len(parts) not in (2, 3)
    if bad or parts[-1] == LOCK:
        raise ConfigError(f"{member.name!r} does not belong in a snapshot", where=where)
    if not parts[0].isascii() or not parts[0].replace("-", "").isalnum():
        raise ConfigError(f"not a snapshot file: {parts[0]!r} is no id", where=where)
    return parts[0]


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    target = folder.joinpath(*PurePosixPath(member.name).parts[1:])
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    data = tar.extractfile(member)
    assert data is not None
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(data, file, PIECE)
        os.fsync(file.fileno())


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Whoever made the file stays on this machine."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


# --- encryption ----------------------------------------------------------------------------------


@contextlib.contextmanager
def _sealed(file: IO[bytes], passphrase: str) -> Iterator[IO[bytes]]:
    if not passphrase:
        yield file
        return
    salt = os.urandom(SALT)
    file.write(MAGIC + salt)
    out = _Sealing(file, _cipher(passphrase, salt))
    yield cast(IO[bytes], out)
    out.end()


@contextlib.contextmanager
def _opened(file: IO[bytes], passphrase: str, where: str) -> Iterator[IO[bytes]]:
    head = file.read(len(MAGIC))
    if head != MAGIC:
        file.seek(0)
        yield file
        return
    if not passphrase:
        raise ConfigError("it is encrypted", where=where, hint="give its passphrase")
    cipher = _cipher(passphrase, file.read(SALT))
    yield io.BufferedReader(_Opening(file, cipher, where), PIECE)


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    return AESGCM(Scrypt(salt=salt, length=32, n=1 << 15, r=8, p=1).derive(passphrase.encode()))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\1" if last else b"\0")


class _Sealing(io.RawIOBase):
    """Encrypts what is written."""

    def __init__(self, file: IO[bytes], cipher: AESGCM) -> None:
        self._file, self._cipher = file, cipher
        self._held = bytearray()
        self._number = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self._held += view
        while len(self._held) > PIECE:
            self._put(bytes(self._held[:PIECE]), last=False)
            del self._held[:PIECE]
        return view.nbytes

    def end(self) -> None:
        self._put(bytes(self._held), last=True)

    def _put(self, data: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number, last=last), data, None)
        self._file.write(len(sealed).to_bytes(4, "big") + sealed)
        self._number += 1


class _Opening(io.RawIOBase):
    """Decrypts what is read. Raises ConfigError for a wrong passphrase or a changed byte."""

    def __init__(self, file: IO[bytes], cipher: AESGCM, where: str) -> None:
        self._file, self._cipher, self._where = file, cipher, where
        self._number = 0
        self._held = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self._held and not self._ended:
            self._held = memoryview(self._next())
        count = min(len(view), len(self._held))
        view[:count] = self._held[:count]
        self._held = self._held[count:]
        return count

    def _next(self) -> bytes:
        size = int.from_bytes(self._file.read(4), "big")
        sealed = self._file.read(size) if 16 <= size <= PIECE + 16 else b""
        for last in (False, True):
            with contextlib.suppress(InvalidTag):
                data = self._cipher.decrypt(_nonce(self._number, last=last), sealed, None)
                self._number += 1
                self._ended = last
                return data
        raise ConfigError("the passphrase is wrong, or the file is damaged", where=self._where)
