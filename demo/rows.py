"""The rows of the tables that a playground has of its own, parents before children."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from demo.people import Person
from demo.world import BEGINNING, CHUNKS, FRAMES, Video, World

Row = tuple[Any, ...]
CLUSTERS = 4  # by video
DETECTIONS = 30  # by video
RECOGNITIONS = 20  # by video
PROCESSORS = ("asr", "ocr", "face", "scene")
FILES = 3  # by video
EVENTS = 3  # by file


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table's columns, as COPY gets them, and where its rows come from."""

    name: str
    columns: tuple[str, ...]
    rows: Callable[[World], Iterator[Row]]
    count: Callable[[World], int]


def table(
    columns: str, count: Callable[[World], int]
) -> Callable[[Callable[[World], Iterator[Row]]], Table]:
    """A generator of rows becomes the table of its own name."""

    def made(rows: Callable[[World], Iterator[Row]]) -> Table:
        return Table(name=rows.__name__, columns=tuple(columns.split()), rows=rows, count=count)

    return made


def by_video(each: int) -> Callable[[World], int]:
    return lambda world: world.video_count * each


def as_json(value: Any) -> str:
    return orjson.dumps(value).decode()


def as_vector(values: Any) -> str:
    """pgvector's text form is the same as JSON's."""
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def later(moment: datetime, draw: random.Random, seconds: int) -> datetime:
    return moment + timedelta(seconds=draw.randrange(seconds))


@table(
    "id uuid title description status owner_name owner_email owner_username owner_phone file_path "
    "source_url width height fps duration tags speakers metadata latitude longitude "
    "cover_cluster_id recorded_at created_at updated_at",
    by_video(1),
)
def videos(world: World) -> Iterator[Row]:
    for v in world.videos():
        made = v.recorded_at + timedelta(hours=2)
        owner = v.owner
        yield (
            v.id, v.uuid, v.title, v.description, v.status, owner.name, owner.email,
            owner.username, owner.phone if v.id % 9 else None, f"output/{v.path}", v.url,
            v.width, v.height, v.fps, v.duration, list(v.tags), [p.name for p in v.speakers],
            _video_metadata(v), owner.latitude, owner.longitude, (v.id - 1) * CLUSTERS + 1,
            v.recorded_at, made, made,
        )  # fmt: skip


def _video_metadata(v: Video) -> str:
    owner = v.owner
    return as_json(
        {
            "uploader": {"name": owner.name, "email": owner.email, "ip": owner.ip},
            "place": {
                "city": owner.city,
                "street": owner.street,
                "geo": [owner.latitude, owner.longitude],
            },
            "reviewers": [{"name": p.name, "email": p.email} for p in v.reviewers],
            "note": v.description,
            "device": v.device,
            "codec": "h264",
        }
    )


@table(
    "id name email username phone birthday street city latitude longitude last_ip homepage "
    "photo_path notes attributes embedding best_detection_id created_at updated_at",
    lambda world: len(world.people),
)
def face_identities(world: World) -> Iterator[Row]:
    for p in world.people:
        friend = world.person(p.number + 1)
        draw = random.Random(f"identity {world.random_seed} {p.number}")
        attributes = {
            "aliases": [p.name, world.person(p.number + 7).name],
            "emergency_contact": {"name": friend.name, "phone": friend.phone},
            "consent": draw.random() < 0.9,
            "height_cm": draw.randrange(150, 200),
        }
        # A person's first video has the person's face in its first detection.
        seen = p.number <= world.video_count
        yield (
            p.number, p.name, p.email, p.username, p.phone, p.birthday, p.street, p.city,
            p.latitude, p.longitude, p.ip, f"https://example.com/~{p.username}",
            f"output/{p.username}/thumbs/{p.number:06d}.jpg",
            f"{p.name} / {friend.name}: {friend.phone}", as_json(attributes),
            as_vector(world.faces(p.number, 1)[0]),
            (p.number - 1) * DETECTIONS + 1 if seen else None, BEGINNING, BEGINNING,
        )  # fmt: skip


@table(
    "id video_id position start_time end_time raw_text language confidence",
    by_video(CHUNKS),
)
def pre_chunks(world: World) -> Iterator[Row]:
    for v in world.videos():
        for c in world.chunks(v):
            yield (
                c.id - 1, c.video, c.position, c.start, c.end, c.text,
                c.speaker.language, c.confidence,
            )  # fmt: skip


@table(
    "id uuid video_id pre_chunk_id position content summary speaker_id speaker_name language "
    "keywords metadata created_at updated_at",
    by_video(CHUNKS),
)
def chunks(world: World) -> Iterator[Row]:
    for v in world.videos():
        made = v.recorded_at + timedelta(hours=3)
        for c in world.chunks(v):
            metadata = {
                "mentions": [{"name": p.name, "email": p.email} for p in c.mentioned],
                "source": {"path": f"output/{v.path}", "ip": v.owner.ip},
                "score": c.confidence,
            }
            yield (
                c.id, str(uuid.UUID(int=v.draw << 64 | c.id, version=4)), v.id, c.id - 1,
                c.position, c.text, c.summary, c.speaker.number, c.speaker.name,
                c.speaker.language, list(c.keywords), as_json(metadata), made, made,
            )  # fmt: skip


@table("chunk_id model embedding created_at", by_video(CHUNKS))
def chunk_vectors(world: World) -> Iterator[Row]:
    for v in world.videos():
        made = v.recorded_at + timedelta(hours=4)
        first = (v.id - 1) * CHUNKS * 2
        for position, embedding in enumerate(world.embeddings(v, 128)):
            yield first + position * 2 + 2, "rule1-small", as_vector(embedding), made


@table("video_id frame_number at_second image_path ocr_text brightness", by_video(FRAMES))
def frames(world: World) -> Iterator[Row]:
    for v in world.videos():
        draw = v.rng("frames")
        folder = f"output/{v.owner.username}/frames/{v.id:06d}"
        for number in range(FRAMES):
            text = None
            if number % 20 == 0:  # a name card
                p = v.speakers[number // 20 % len(v.speakers)]
                text = f"{p.name} {p.email} {p.phone}"
            yield (
                v.id, number, number * 2.5, f"{folder}/{number:06d}.jpg", text,
                draw.randrange(256),
            )  # fmt: skip


@table(
    "id video_id processor succeeded worker_ip requested_by result started_at finished_at",
    by_video(len(PROCESSORS)),
)
def processor_results(world: World) -> Iterator[Row]:
    for v in world.videos():
        draw = v.rng("processors")
        said = world.chunks(v)[:2]
        for position, processor in enumerate(PROCESSORS):
            result = {
                "transcript": [
                    {"speaker": c.speaker.name, "text": c.text, "start": c.start} for c in said
                ],
                "contact": {"email": v.owner.email, "phone": v.owner.phone},
                "faces": draw.randrange(9),
                "language": v.owner.language,
            }
            began = later(v.recorded_at, draw, 7200)
            ended = None if v.status == "processing" and position else later(began, draw, 900)
            yield (
                (v.id - 1) * len(PROCESSORS) + position + 1, v.id, processor,
                ended is not None and v.status != "failed", world.person(v.id * 3).ip,
                v.owner.email, as_json(result), began, ended,
            )  # fmt: skip


def interview_path(world: World, v: Video) -> str:
    """A person's first video has an interview, named after the person; later ones a transcript."""
    first = v.id <= len(world.people)
    name = f"interview_{v.owner.name}.json" if first else f"transcript_{v.id:06d}.json"
    return f"{v.owner.username}/{name}"


def files_of(world: World, v: Video) -> tuple[tuple[str, str, str], ...]:
    """(path, name that its owner gave it, media type) of a video's files."""
    name, folder = v.owner.name, v.owner.username
    return (
        (f"output/{v.path}", f"{name}_{v.id}.mp4", "video/mp4"),
        (f"output/{folder}/thumbs/{v.id:06d}.jpg", f"{name}_{v.id}.jpg", "image/jpeg"),
        (f"output/{interview_path(world, v)}", f"interview_{name}.json", "application/json"),
    )


@table(
    "id video_id path originalName owner_username mime_type size digest replaces_id registered_at "
    "updated_at",
    by_video(FILES),
)
def file_registry(world: World) -> Iterator[Row]:
    for v in world.videos():
        draw = v.rng("files")
        for position, (path, name, mime) in enumerate(files_of(world, v)):
            number = (v.id - 1) * FILES + position + 1
            replaces = number - FILES if v.id > 1 and v.id % 10 == 0 else None
            made = later(v.recorded_at, draw, 3600)
            yield (
                number, v.id, path, name, v.owner.username, mime, draw.randrange(1 << 30),
                hashlib.sha256(path.encode()).digest(), replaces, made, made,
            )  # fmt: skip


@table(
    "id file_id event actor_username actor_ip reason details happened_at",
    by_video(FILES * EVENTS),
)
def file_lifecycle(world: World) -> Iterator[Row]:
    for v in world.videos():
        draw = v.rng("lifecycle")
        for position, (path, _, _) in enumerate(files_of(world, v)):
            file = (v.id - 1) * FILES + position + 1
            for step, event in enumerate(("created", "read", "moved")):
                actor = v.owner if step == 0 else draw.choice(world.people)
                details = {
                    "from": path if step else None,
                    "to": path,
                    "client": {"ip": actor.ip, "agent": "momentry/1.4"},
                }
                yield (
                    (file - 1) * EVENTS + step + 1, file, event, actor.username, actor.ip,
                    f"{actor.name} <{actor.email}>" if step else None, as_json(details),
                    later(v.recorded_at, draw, 86400 * 30),
                )  # fmt: skip


def _face(v: Video, cluster: int) -> Person | None:
    """Whose face a video's cluster shows: the last one's is unknown."""
    return v.speakers[cluster] if cluster < len(v.speakers) else None


@table("id video_id identity_id label size centroid updated_at", by_video(CLUSTERS))
def face_clusters(world: World) -> Iterator[Row]:
    for v in world.videos():
        for cluster in range(CLUSTERS):
            face = _face(v, cluster)
            looks = world.faces(face.number if face else -v.id & 0xFFFF, 2)
            yield (
                (v.id - 1) * CLUSTERS + cluster + 1, v.id, face.number if face else None,
                face.name if face else "unknown", DETECTIONS // CLUSTERS,
                as_vector(looks[1]), v.recorded_at,
            )  # fmt: skip


@table(
    "id video_id frame_number cluster_id box confidence thumbnail_path detected_at",
    by_video(DETECTIONS),
)
def face_detections(world: World) -> Iterator[Row]:
    for v in world.videos():
        draw = v.rng("detections")
        folder = f"output/{v.owner.username}/faces"
        for position in range(DETECTIONS):
            number = (v.id - 1) * DETECTIONS + position + 1
            x, y = draw.randrange(1600), draw.randrange(800)
            cluster = (v.id - 1) * CLUSTERS + position % CLUSTERS + 1
            yield (
                number, v.id, position * 2, cluster if position % 11 else None,
                [x, y, x + 120, y + 160], draw.randrange(700, 1000) / 1000,
                f"{folder}/{number:08d}.jpg", v.recorded_at + timedelta(hours=5),
            )  # fmt: skip


@table(
    "id detection_id identity_id recognized_name similarity reviewer_email remark recognized_at",
    by_video(RECOGNITIONS),
)
def face_recognition_results(world: World) -> Iterator[Row]:
    for v in world.videos():
        draw = v.rng("recognitions")
        for position in range(RECOGNITIONS):
            detection = (v.id - 1) * DETECTIONS + position + 1
            face = _face(v, position % CLUSTERS)
            reviewer = v.reviewers[position % 2] if position % 5 == 0 else None
            remark = f"{reviewer.name}: {face.name}?" if reviewer and face else None
            yield (
                str(uuid.UUID(int=draw.getrandbits(128), version=4)), detection,
                face.number if face else None, face.name if face else None,
                draw.randrange(600, 1000) / 1000, reviewer.email if reviewer else None, remark,
                v.recorded_at + timedelta(hours=6),
            )  # fmt: skip


ISOLATED: tuple[Table, ...] = (
    videos, face_identities, pre_chunks, chunks, chunk_vectors, frames, processor_results,
    file_registry, file_lifecycle, face_clusters, face_detections, face_recognition_results,
)  # fmt: skip
