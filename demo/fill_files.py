"""Files: what the workers put out, and backups. Times of change are the demo's, not the clock's."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import orjson

from demo.rows import interview_path
from demo.world import BEGINNING, Video, World

Content = tuple[str, bytes | None, str]  # path; bytes, or None for a symlink; its target
REPORT = (
    "video_id", "title", "owner_name", "owner_email", "owner_phone", "owner_ip", "uploaded_at",
)  # fmt: skip
INDENTED = orjson.OPT_INDENT_2
MOMENT = int(BEGINNING.timestamp()) * 1_000_000_000  # nanoseconds


def present(directories: Mapping[str, Path]) -> list[str]:
    """The directories that hold a file; names that begin with a dot do not count."""
    return [
        purpose
        for purpose, folder in sorted(directories.items())
        if folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir())
    ]


def clear(directories: Mapping[str, Path]) -> None:
    """Empty the directories, but for the dot files that mark whose they are."""
    for folder in directories.values():
        for entry in list(folder.iterdir()) if folder.is_dir() else ():
            if entry.name.startswith("."):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def fill(
    directories: Mapping[str, Path], world: World, moved: Callable[[int], None]
) -> dict[str, int]:
    makers = {"output": output, "backup": backup}
    counts: dict[str, int] = {}
    for purpose, folder in directories.items():
        folder.mkdir(parents=True, exist_ok=True)
        counts[purpose] = 0
        for path, content, target in makers[purpose](world):
            _write(folder / path, content, target)
            counts[purpose] += 1
            if counts[purpose] % 500 == 0:
                moved(sum(counts.values()))
        _set_folder_times(folder)
    moved(sum(counts.values()))
    return counts


def total(world: World) -> int:
    return world.video_count * 2 + min(world.video_count, len(world.people)) * 2 + 20


def output(world: World) -> Iterator[Content]:
    for v in world.videos():
        folder = v.owner.username
        yield v.path, b"\x00\x00\x00\x18ftypmp42" + v.rng("mp4").randbytes(1000), ""
        picture = b"\xff\xd8\xff\xe0" + v.rng("jpg").randbytes(500) + b"\xff\xd9"
        yield f"{folder}/thumbs/{v.id:06d}.jpg", picture, ""
        if v.id <= len(world.people):
            path = interview_path(world, v)
            yield path, _interview(world, v), ""
            yield f"{folder}/latest.json", None, Path(path).name
    for month in range(6):
        first = datetime(2026, month + 1, 1, tzinfo=BEGINNING.tzinfo)
        yield f"reports/uploads_{first:%Y-%m}.csv", _report(world, month + 1), ""
        yield f"logs/worker-{first:%Y-%m}.log", _log(world, first), ""
    yield "readme.txt", b"Made by Momentry's workers. Folders are named after accounts.\n", ""


def backup(world: World) -> Iterator[Content]:
    for night in (BEGINNING, BEGINNING + timedelta(days=1)):
        folder = f"{night:%Y-%m-%d}"
        dump = gzip.compress(_dump(world), mtime=0)
        yield f"{folder}/momentry.sql.gz", dump, ""
        keeper = world.person(5)
        manifest = {
            "made_by": {"username": keeper.username, "email": keeper.email},
            "files": [
                {
                    "name": "momentry.sql.gz",
                    "bytes": len(dump),
                    "sha256": hashlib.sha256(dump).hexdigest(),
                }
            ],
            "rows": min(len(world.people), 500),
        }
        yield f"{folder}/manifest.json", orjson.dumps(manifest, option=INDENTED), ""
    yield "latest", None, folder


def _interview(world: World, v: Video) -> bytes:
    p = v.owner
    record = {
        "video": {"id": v.id, "title": v.title},
        "speaker": {
            "name": p.name,
            "email": p.email,
            "phone": p.phone,
            "birthday": p.birthday.isoformat(),
        },
        "place": {"city": p.city, "street": p.street, "geo": [p.latitude, p.longitude]},
        "transcript": [
            {"start": c.start, "speaker": c.speaker.name, "text": c.text}
            for c in world.chunks(v)[:5]
        ],
    }
    return orjson.dumps(record, option=INDENTED)


def _report(world: World, month: int) -> bytes:
    """Uploads of one month; at most a thousand, so that a report stays small at any scale."""
    text = io.StringIO()
    report = csv.writer(text)
    report.writerow(REPORT)
    for number in range(1, min(world.video_count, 1000) + 1):
        v = world.video(number)
        if v.recorded_at.month == month:
            p = v.owner
            moment = v.recorded_at.isoformat()
            report.writerow([v.id, v.title, p.name, p.email, p.phone, p.ip, moment])
    return text.getvalue().encode()


def _log(world: World, first: datetime) -> bytes:
    lines = []
    for number in range(1, 51):
        p = world.person(number + first.month * 11)
        moment = (first + timedelta(minutes=17 * number)).isoformat()
        lines.append(f"{moment} INFO {p.name} <{p.email}> from {p.ip}: upload done\n")
    return "".join(lines).encode()


def _dump(world: World) -> bytes:
    rows = (f"{p.number}\t{p.name}\t{p.email}\t{p.phone}" for p in world.people[:500])
    return "\n".join(["COPY face_identities FROM stdin;", *rows, "\\.", ""]).encode()


def _write(path: Path, content: bytes | None, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.symlink_to(target)
    else:
        path.write_bytes(content)
    os.utime(path, ns=(MOMENT, MOMENT), follow_symlinks=False)


def _set_folder_times(folder: Path) -> None:
    for entry in folder.rglob("*"):
        if entry.is_dir() and not entry.is_symlink():
            os.utime(entry, ns=(MOMENT, MOMENT))
