"""A snapshot on disk counts when it is whole, and only then."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox import artifact as artifacts
from sandbox.artifact import Artifact, Writer
from sandbox.artifact.writing import file_name
from sandbox.errors import ConfigError, Refused, SnapshotBroken
from sandbox.model import Dataset, Field, slices
from sandbox.workflows import snapshots as shelf

VIDEOS = Dataset(
    store="postgres",
    name="videos",
    fields=(Field(name="id", type="bigint"), Field(name="kind", type="k", values=("a", "b"))),
    options={"format": "COPY binary"},
)
FACTS = {"project": "demo", "masking": {"policy": "p1", "key": "k1"}}


def make(root: Path, pieces: tuple[bytes, ...] = (b"one", b"two")) -> Artifact:
    writer = artifacts.create(root, facts=FACTS)
    with writer.part("postgres", VIDEOS) as part:
        for piece in pieces:
            part.write(1, piece)
    writer.catalog("postgres", b"CREATE TABLE videos ();")
    return writer.commit({"cuts": {"postgres": {"lsn": "0/1"}}})


def content(artifact: Artifact) -> bytes:
    return b"".join(artifact.pieces("postgres", VIDEOS))


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    made = make(tmp_path)
    opened = artifacts.open(tmp_path, made.id[:-2])
    assert opened == artifacts.open(tmp_path) == made
    assert content(opened) == b"onetwo"
    assert opened.catalog("postgres") == b"CREATE TABLE videos ();"
    assert opened.catalog("mongo") == b""
    (dataset,) = opened.datasets("postgres")
    assert (dataset.name, dataset.fields, dataset.options) == (
        VIDEOS.name,
        VIDEOS.fields,
        VIDEOS.options,
    )
    assert (dataset.rows, dataset.bytes) == (2, 6)
    assert opened.manifest["facts"] == {**FACTS, "cuts": {"postgres": {"lsn": "0/1"}}}
    assert opened.manifest["parts"][0]["format"] == "COPY binary"
    opened.verify()


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    made = make(tmp_path / "new")
    paths = [made.folder.parent, made.folder, *made.folder.rglob("*")]
    assert {oct(p.stat().st_mode & 0o777) for p in paths if p.is_dir()} == {"0o700"}
    assert {oct(p.stat().st_mode & 0o777) for p in paths if p.is_file()} == {"0o600"}


def test_the_checksum_is_that_of_the_file(tmp_path: Path) -> None:
    made = make(tmp_path)
    part = made.manifest["parts"][0]
    data = (made.folder / part["path"]).read_bytes()
    assert part["sha256"] == hashlib.sha256(data).hexdigest()
    assert part["bytes"] == len(data)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def swap_content(path: Path) -> None:
    import zstandard

    path.write_bytes(zstandard.ZstdCompressor().compress(b"another"))


@pytest.mark.parametrize(
    "damage",
    [flip, append, swap_content, Path.unlink, lambda p: os.truncate(p, p.stat().st_size - 3)],
)
@pytest.mark.parametrize("name", ["videos.zst", "@catalog.zst"])
def test_damage_is_found_and_named(
    tmp_path: Path, damage: Callable[[Path], None], name: str
) -> None:
    made = make(tmp_path, (os.urandom(100_000),))
    damage(made.folder / "postgres" / name)
    with pytest.raises(SnapshotBroken, match=f"postgres/{name}") as caught:
        artifacts.open(tmp_path).verify()
    assert caught.value.exit_code == 7


def test_reading_finds_damage_without_verify(tmp_path: Path) -> None:
    made = make(tmp_path, (b"x" * 3_000_000,))
    append(made.folder / "postgres" / "videos.zst")
    with pytest.raises(SnapshotBroken, match="videos"):
        content(made)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 99, "id": "a", "parts": [], "catalogs": {}}']
)
def test_a_manifest_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    made = make(tmp_path)
    (made.folder / "manifest.json").write_text(text)
    with pytest.raises(SnapshotBroken):
        artifacts.open(tmp_path)


def test_a_manifest_cannot_name_a_file_outside(tmp_path: Path) -> None:
    made = make(tmp_path)
    text = (made.folder / "manifest.json").read_text().replace("postgres/videos.zst", "../../x")
    (made.folder / "manifest.json").write_text(text)
    with pytest.raises(SnapshotBroken, match="outside"):
        artifacts.open(tmp_path)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interruption_leaves_nothing_that_counts(
    tmp_path: Path, error: type[BaseException]
) -> None:
    writer = artifacts.create(tmp_path, facts={})
    with pytest.raises(error), writer.part("postgres", VIDEOS) as part:
        part.write(1, b"half")
        raise error
    writer.leave()
    assert artifacts.listing(tmp_path) == []
    with pytest.raises(ConfigError, match="no snapshot yet"):
        artifacts.open(tmp_path)
    assert artifacts.clean(tmp_path) == [f"{writer.id}.partial"]
    assert list(tmp_path.iterdir()) == []


def test_clean_leaves_a_snapshot_that_is_being_written(tmp_path: Path) -> None:
    writer = artifacts.create(tmp_path, facts={})
    assert artifacts.clean(tmp_path) == []
    writer.leave()  # as when its process ends
    assert artifacts.clean(tmp_path, keep=writer.id) == []
    assert artifacts.clean(tmp_path) == [f"{writer.id}.partial"]


def test_discard_may_be_called_after_anything(tmp_path: Path) -> None:
    writer = artifacts.create(tmp_path, facts={})
    made = writer.commit({})
    writer.discard()
    assert artifacts.open(tmp_path).id == made.id


def test_a_part_that_failed_does_not_count(tmp_path: Path) -> None:
    writer = artifacts.create(tmp_path, facts={})
    with pytest.raises(ValueError), writer.part("postgres", VIDEOS):
        raise ValueError
    assert writer.commit({}).datasets("postgres") == ()


def interrupt(root: Path) -> Writer:
    """One part finished, one cut off."""
    writer = artifacts.create(root, facts=FACTS)
    with writer.part("postgres", VIDEOS) as part:
        part.write(5, b"whole")
    with (
        pytest.raises(OSError),
        writer.part("mongo", Dataset(store="mongo", name="cache")) as part,
    ):
        part.write(1, b"half")
        raise OSError("disk full")
    writer.leave()
    return writer


def test_resume_goes_on_after_the_last_finished_part(tmp_path: Path) -> None:
    begun = interrupt(tmp_path)
    assert artifacts.interrupted(tmp_path) == [begun.id]
    writer = artifacts.resume(tmp_path, begun.id, facts=FACTS)
    assert writer.finished("postgres") == {"videos"}
    assert writer.finished("mongo") == frozenset()
    with writer.part("mongo", Dataset(store="mongo", name="cache")) as part:
        part.write(2, b"all of it")
    made = writer.commit({"resumed": True})
    made.verify()
    assert content(made) == b"whole"
    assert [d.rows for d in made.datasets("mongo")] == [2]
    assert artifacts.interrupted(tmp_path) == []
    assert sorted(p.name for p in made.folder.iterdir()) == ["manifest.json", "mongo", "postgres"]


def test_resume_forgets_a_store_of_another_moment_for_good(tmp_path: Path) -> None:
    """Its catalog goes with its parts, and a second interruption does not bring them back."""
    writer = artifacts.create(tmp_path, facts=FACTS)
    writer.catalog("mongo", b"")
    writer.catalog("postgres", b"old")
    with writer.part("postgres", VIDEOS) as part:
        part.write(5, b"old")
    writer.leave()
    again = artifacts.resume(tmp_path, writer.id, facts=FACTS)
    assert again.has_catalog("postgres") and again.has_catalog("mongo")
    again.forget("postgres")
    again.leave()
    last = artifacts.resume(tmp_path, writer.id, facts=FACTS)
    assert not last.has_catalog("postgres") and not last.finished("postgres")
    last.catalog("postgres", b"new")
    with last.part("postgres", VIDEOS) as part:
        part.write(1, b"new")
    made = last.commit({})
    made.verify()
    assert (made.catalog("postgres"), content(made), made.catalog("mongo")) == (b"new", b"new", b"")


def test_resume_refuses_another_policy(tmp_path: Path) -> None:
    begun = interrupt(tmp_path)
    with pytest.raises(Refused, match="another policy"):
        artifacts.resume(tmp_path, begun.id, facts={**FACTS, "masking": {"policy": "p2"}})
    artifacts.resume(tmp_path, begun.id, facts=FACTS).discard()  # the lock was given back


def test_resume_refuses_one_that_is_being_written(tmp_path: Path) -> None:
    writer = artifacts.create(tmp_path, facts=FACTS)
    with pytest.raises(Refused, match="being written"):
        artifacts.resume(tmp_path, writer.id, facts=FACTS)


def test_resume_reads_a_journal_that_was_cut_off(tmp_path: Path) -> None:
    begun = interrupt(tmp_path)
    with (tmp_path / f"{begun.id}.partial" / ".journal").open("a") as journal:
        journal.write('{"kind": "post')
    writer = artifacts.resume(tmp_path, begun.id, facts=FACTS)
    assert writer.finished("postgres") == {"videos"}
    writer.discard()


def test_names_that_are_no_file_names(tmp_path: Path) -> None:
    names = ["a/b", "a_b", "A_b", "../x", ".hidden", "@catalog", "ümlaut", "tab\there", "x" * 300]
    writer = artifacts.create(tmp_path, facts={})
    for name in [*names, "catalog"]:
        with writer.part("postgres", Dataset(store="postgres", name=name)) as part:
            part.write(1, name.encode())
    writer.catalog("postgres", b"ddl")
    made = writer.commit({})
    for name in names:
        assert b"".join(made.pieces("postgres", Dataset(store="postgres", name=name))) == (
            name.encode()
        )
    files = [p.name.lower() for p in (made.folder / "postgres").iterdir()]
    assert len(set(files)) == len(names) + 2
    assert file_name("videos") == "videos"


def test_a_gigabyte_of_zeros_comes_in_pieces(tmp_path: Path) -> None:
    zeros = bytes(1 << 20)
    made = make(tmp_path, (zeros,) * 256)
    assert made.size < 100_000
    sizes = [len(piece) for piece in made.pieces("postgres", VIDEOS)]
    assert sum(sizes) == 256 << 20
    assert max(sizes) <= 1 << 20


def test_parts_are_written_side_by_side(tmp_path: Path) -> None:
    writer = artifacts.create(tmp_path, facts={})

    def write(number: int) -> None:
        with writer.part("mongo", Dataset(store="mongo", name=f"c{number}")) as part:
            for _ in range(50):
                part.write(1, str(number).encode() * 1000)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = writer.commit({})
    made.verify()
    assert {d.name: d.rows for d in made.datasets("mongo")} == {f"c{n}": 50 for n in range(8)}


def test_results_stand_beside_an_unchanged_snapshot(tmp_path: Path) -> None:
    made = make(tmp_path)
    before = (made.folder / "manifest.json").read_bytes()
    artifacts.update_facts(made, {"leaks": {"found": 0}})
    artifacts.update_facts(made, {"loaded": True})
    assert artifacts.results(made) == {"leaks": {"found": 0}, "loaded": True}
    assert (made.folder / "manifest.json").read_bytes() == before


def test_a_prefix_that_fits_two_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    time.sleep(0.01)
    make(tmp_path)
    with pytest.raises(ConfigError, match="could be"):
        artifacts.open(tmp_path, "2")
    with pytest.raises(ConfigError, match="there is no snapshot 'zz'"):
        artifacts.open(tmp_path, "zz")


def test_prune_keeps_the_newest_and_the_spared(tmp_path: Path) -> None:
    for number in range(4):
        make(tmp_path)
        for folder in tmp_path.iterdir():
            if not folder.name.startswith("id"):
                manifest = json.loads((folder / "manifest.json").read_text())
                manifest["id"] = f"id{number}"
                (folder / "manifest.json").write_text(json.dumps(manifest))
                folder.rename(tmp_path / f"id{number}")
    assert artifacts.prune(tmp_path, keep=1, spare=frozenset({"id1"})) == ["id0", "id2"]
    assert [one.id for one in artifacts.listing(tmp_path)] == ["id3", "id1"]
    with pytest.raises(ConfigError):
        artifacts.prune(tmp_path, keep=-1)


def test_diff_tells_schema_counts_and_policy(tmp_path: Path) -> None:
    one = make(tmp_path / "1")
    writer = artifacts.create(tmp_path / "2", facts={"masking": {"policy": "p2", "key": "k1"}})
    fields = (Field(name="id", type="int"), Field(name="new", type="text"))
    changed = Dataset(store="postgres", name="videos", fields=fields, options={"a": 1})
    with writer.part("postgres", changed) as part:
        part.write(1500, b"x")
    with writer.part("mongo", Dataset(store="mongo", name="cache")):
        pass
    other = writer.commit({})
    assert list(artifacts.diff(one, one)) == []
    assert list(artifacts.diff(one, other)) == [
        "policy: p1 -> p2",
        "postgres: the schema differs",
        "mongo cache: only in the second",
        "postgres videos.id: bigint -> int",
        "postgres videos.kind: k -> -",
        "postgres videos.new: - -> text",
        "postgres videos: a differs",
        "postgres videos: format differs",
        "postgres videos: 2 -> 1,500 rows",
    ]


@pytest.mark.parametrize("passphrase", ["", "a long passphrase"])
def test_export_and_import(tmp_path: Path, passphrase: str) -> None:
    made = make(tmp_path / "mine", (os.urandom(2_500_000),))
    artifacts.update_facts(made, {"leaks": 0})
    file = tmp_path / "shared.tar"
    artifacts.export(tmp_path / "mine", made.id, file, passphrase=passphrase)
    assert file.stat().st_mode & 0o777 == 0o600
    assert (b"manifest" in file.read_bytes()) != bool(passphrase)
    taken = artifacts.import_(tmp_path / "theirs", file, passphrase=passphrase)
    assert content(taken) == content(made)
    assert artifacts.results(taken) == {"leaks": 0}
    with pytest.raises(ConfigError, match="here already"):
        artifacts.import_(tmp_path / "theirs", file, passphrase=passphrase)


def test_a_wrong_passphrase_or_a_changed_byte(tmp_path: Path) -> None:
    made = make(tmp_path / "mine", (os.urandom(2_500_000),))
    file = tmp_path / "shared"
    artifacts.export(tmp_path / "mine", made.id, file, passphrase="right")
    with pytest.raises(ConfigError, match="encrypted"):
        artifacts.import_(tmp_path / "theirs", file)
    with pytest.raises(ConfigError, match="wrong"):
        artifacts.import_(tmp_path / "theirs", file, passphrase="other")
    whole = file.read_bytes()
    frame = 4 + (1 << 20) + 16
    body = whole[24:]
    broken = {
        "cut off": whole[:-100],
        "last frame dropped": whole[:24] + body[: 2 * frame],
        "frames swapped": whole[:24] + body[frame : 2 * frame] + body[:frame] + body[2 * frame :],
        "changed": whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:],
    }
    for data in broken.values():
        file.write_bytes(data)
        with pytest.raises(ConfigError):
            artifacts.import_(tmp_path / "theirs", file, passphrase="right")
        assert artifacts.listing(tmp_path / "theirs") == []
        assert list((tmp_path / "theirs").iterdir()) == []


def tar_with(path: Path, *members: tarfile.TarInfo) -> None:
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(member.size)))


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, 0
    return info


@pytest.mark.parametrize(
    "members",
    [
        (member("../evil/x"),),
        (member("/evil/x"),),
        (member("a/../../x"),),
        (member("a/link", tarfile.SYMTYPE, "/etc"),),
        (member("a/link", tarfile.LNKTYPE, "a/x"),),
        (member("a/dev", tarfile.CHRTYPE),),
        (member("a/b/c/d"),),
        (member("a/x"), member("b/x")),
        (member("..x/x"),),
        (member("a/.writing"),),
        (member("a/manifest.json"),),
        (),
    ],
)
def test_import_takes_nothing_that_does_not_belong(
    tmp_path: Path, members: tuple[tarfile.TarInfo, ...]
) -> None:
    file, root = tmp_path / "evil.tar", tmp_path / "root"
    tar_with(file, *members)
    with pytest.raises((ConfigError, SnapshotBroken)):
        artifacts.import_(root, file)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.tar", "root"]
    assert list(root.iterdir()) == []


def test_import_checks_every_part(tmp_path: Path) -> None:
    made = make(tmp_path / "mine")
    file = tmp_path / "shared.tar"
    artifacts.export(tmp_path / "mine", made.id, file)
    data = file.read_bytes()
    at = data.index(b"\x28\xb5\x2f\xfd")  # the first zstd frame
    file.write_bytes(data[: at + 8] + bytes([data[at + 8] ^ 1]) + data[at + 9 :])
    with pytest.raises(SnapshotBroken):
        artifacts.import_(tmp_path / "theirs", file)
    assert list((tmp_path / "theirs").iterdir()) == []


def test_export_refuses_a_damaged_snapshot(tmp_path: Path) -> None:
    made = make(tmp_path / "mine")
    append(made.folder / "postgres" / "videos.zst")
    with pytest.raises(SnapshotBroken):
        artifacts.export(tmp_path / "mine", made.id, tmp_path / "shared.tar")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine"]


def cut_in_slices(writer: Writer, numbers: tuple[int, ...]) -> None:
    whole = replace(VIDEOS, options={"slices": [[0, 9], [9, 20], [20, None]]})
    for number in numbers:
        with writer.part("postgres", slices(whole)[number]) as part:
            part.write(number + 1, b"part %d " % number)


def test_slices_are_one_dataset_and_several_streams(tmp_path: Path) -> None:
    writer = artifacts.create(tmp_path, facts=FACTS)
    cut_in_slices(writer, (0, 1, 2))
    made = writer.commit({})
    (dataset,) = made.datasets("postgres")
    assert (dataset.name, dataset.rows, dict(dataset.options)) == ("videos", 6, {})
    assert content(made) == b"part 0 part 1 part 2 "
    streams = made.streams("postgres")
    assert [one.options["range"] for one in streams] == [[0, 9], [9, 20], [20, None]]
    assert b"".join(made.pieces("postgres", streams[1])) == b"part 1 "


def test_resume_begins_a_sliced_dataset_again_unless_all_its_slices_are_there(
    tmp_path: Path,
) -> None:
    """Rows move between ranges from one moment to the next."""
    writer = artifacts.create(tmp_path, facts=FACTS)
    cut_in_slices(writer, (0, 2))
    writer.leave()
    again = artifacts.resume(tmp_path, writer.id, facts=FACTS)
    assert again.finished("postgres") == frozenset()
    cut_in_slices(again, (0, 1, 2))
    again.leave()
    assert artifacts.resume(tmp_path, writer.id, facts=FACTS).finished("postgres") == {"videos"}


def test_export_asks_for_a_passphrase_that_is_worth_one(tmp_path: Path) -> None:
    root = tmp_path / "snapshots"
    writer = artifacts.create(root, facts=FACTS)
    made = writer.commit({})
    project: Any = SimpleNamespace(snapshots=root, folder=tmp_path)
    file = tmp_path / "given"
    with pytest.raises(ConfigError, match="at least 12"):
        shelf.export(project, made.id, str(file), passphrase=lambda: "short")
    assert not file.exists()
    shelf.export(project, made.id, str(file), passphrase=lambda: "long enough now")
    assert artifacts.is_encrypted(file)
    shelf.export(project, made.id, str(file))
    assert not artifacts.is_encrypted(file)
    assert not artifacts.is_encrypted(tmp_path / "nothing")


def test_export_as_a_folder_of_mongodump(tmp_path: Path) -> None:
    root = tmp_path / "snapshots"
    writer = artifacts.create(root, facts=FACTS)
    document = bytes.fromhex("0c0000001061000100000000")
    indexes = ['{"key": {"a": 1}, "name": "a_1", "expireAfterSeconds": 5}']
    dataset = Dataset(store="mongo", name="a/b", options={"create": "{}", "indexes": indexes})
    with writer.part("mongo", dataset) as part:
        part.write(1, document)
    made = writer.commit({})
    project: Any = SimpleNamespace(
        snapshots=root, settings=SimpleNamespace(mongo=SimpleNamespace(production="momentry"))
    )
    folder = tmp_path / "dump"
    told = shelf.dump(project, made.id, str(folder))
    assert told["notes"] == ["a/b: index a_1 does not expire documents"]
    assert (folder / "momentry" / "a%2Fb.bson").read_bytes() == document
    metadata = json.loads((folder / "momentry" / "a%2Fb.metadata.json").read_text())
    assert metadata["indexes"] == [{"key": {"a": {"$numberInt": "1"}}, "name": "a_1"}]
    with pytest.raises(ConfigError, match="already"):
        shelf.dump(project, made.id, str(folder))
    flip(made.folder / made.manifest["parts"][0]["path"])
    with pytest.raises(SnapshotBroken):
        shelf.dump(project, made.id, str(tmp_path / "other"))
    assert {path.name for path in tmp_path.iterdir()} == {"snapshots", "dump"}
    with pytest.raises(ConfigError, match="format"):
        shelf.check_format("zip")
