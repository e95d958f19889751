"""What happened in the demo's world: who uploaded which video and what is said in it. Every store
asks here, so that all of them tell of the same people; each video is made alone, so that memory
stays flat at any scale.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from demo.people import Person, people

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
FOREVER = datetime(2099, 1, 1, tzinfo=UTC)  # what expires does so then: runs stay comparable
CHUNKS = 20  # by video
FRAMES = 60  # by video
DIMENSIONS = 1024  # in Qdrant; PostgreSQL's vectors have 128
STATUSES = ("ready", "ready", "ready", "processing", "registered", "failed", "archived")
TAGS = ("interview", "lecture", "meeting", "sports", "travel", "music", "news", "family")
DEVICES = ("Lumen X200", "Orbit Cam 4", "Fieldphone 9")

SAYINGS = {
    "zh": (
        "{name}介绍了新的摄像机。",
        "会议由{name}主持。",
        "有问题请写信到{email}。",
        "我们请{name}打电话给{other}，号码是{phone}。",
        "今天的天气很好，大家一起去了公园。",
        "请联系{username}处理这段影片。",
        "影片的声音和画面都已经检查完毕。",
        "下一步是把字幕整理好。",
    ),
    "ja": (
        "{name}さんが新しいカメラを紹介しました。",
        "連絡先は{email}です。",
        "{name}さんは{other}さんに電話しました、番号は{phone}です。",
        "今日は天気がとても良かったです。",
        "次は字幕を確認します。",
        "担当は{username}です。",
    ),
    "en": (
        "{name} explains how the new camera works.",
        "If anything is unclear, write to {email} before Friday.",
        "Then {name} calls {other} on {phone} about the recording.",
        "The light in the hall was better than last year.",
        "We cut the first minute and keep the rest.",
        "Ask {username} for the raw footage.",
        "The upload came from {ip} late at night.",
        "Subtitles come next, and after that the review.",
    ),
}
TITLES = {
    "zh": ("{name}访谈", "{name}的旅行记录", "{name}主讲的课程"),
    "ja": ("{name}さんのインタビュー", "{name}さんの旅行"),
    "en": ("Interview with {name}", "{name} on tour", "A lecture by {name}"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """What is said in a few seconds. `id` is even; the pre-chunk before it has `id - 1`."""

    id: int
    video: int
    position: int
    start: float
    end: float
    text: str
    summary: str
    speaker: Person
    mentioned: tuple[Person, ...]
    keywords: tuple[str, ...]
    confidence: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """One upload, numbered from 1."""

    id: int
    uuid: str
    title: str
    description: str
    status: str
    owner: Person
    speakers: tuple[Person, ...]
    reviewers: tuple[Person, ...]
    tags: tuple[str, ...]
    device: str
    width: int
    height: int
    fps: float
    duration: float
    recorded_at: datetime
    draw: int  # the seed of what belongs to this video

    @property
    def path(self) -> str:
        """Where it is, below the directory for output."""
        return f"{self.owner.username}/video_{self.id:06d}.mp4"

    @property
    def url(self) -> str:
        return f"https://videos.example.com/u/{self.owner.username}/{self.id}"

    def rng(self, purpose: str) -> random.Random:
        """The same draws for the same purpose, whoever asks and in whatever order."""
        return random.Random(f"{purpose} {self.draw}")


@dataclass(frozen=True, kw_only=True)
class World:
    """Everything, as a function of a scale and a seed. Scale 1: 200 people, 500 videos."""

    scale: float
    random_seed: int

    @cached_property
    def people(self) -> Sequence[Person]:
        return people(max(round(200 * self.scale), 12), self.random_seed)

    @property
    def video_count(self) -> int:
        return max(round(500 * self.scale), 12)

    def size(self, at_scale_1: int) -> int:
        """How many of something there are at this scale."""
        return max(round(at_scale_1 * self.scale), 3)

    def person(self, number: int) -> Person:
        """By number, counted on from the first after the last."""
        return self.people[(number - 1) % len(self.people)]

    def videos(self) -> Iterator[Video]:
        for number in range(1, self.video_count + 1):
            yield self.video(number)

    def video(self, number: int) -> Video:
        draw = random.Random(f"video {self.random_seed} {number}")
        owner = self.person(number)
        speakers = (owner, *draw.sample(self.people, 2))
        text = [s.format(**_words(owner, speakers[1])) for s in _some(draw, owner.language, 2)]
        return Video(
            id=number,
            uuid=str(uuid.UUID(int=draw.getrandbits(128), version=4)),
            title=draw.choice(TITLES[owner.language]).format(name=owner.name),
            description=_joined(owner.language, text),
            status=draw.choice(STATUSES),
            owner=owner,
            speakers=tuple(dict.fromkeys(speakers)),
            reviewers=tuple(draw.sample(self.people, 2)),
            tags=tuple(draw.sample(TAGS, 3)),
            device=draw.choice(DEVICES),
            width=draw.choice((1280, 1920, 3840)),
            height=draw.choice((720, 1080, 2160)),
            fps=draw.choice((24.0, 25.0, 29.97, 60.0)),
            duration=CHUNKS * 8 + draw.randrange(1000) / 1000,
            recorded_at=BEGINNING + timedelta(seconds=draw.randrange(180 * 86400)),
            draw=draw.getrandbits(48),
        )

    def chunks(self, video: Video) -> list[Chunk]:
        draw = video.rng("chunks")
        first = (video.id - 1) * CHUNKS * 2
        return [self._chunk(video, position, first, draw) for position in range(CHUNKS)]

    def _chunk(self, video: Video, position: int, first: int, draw: random.Random) -> Chunk:
        speaker = draw.choice(video.speakers)
        other, third = draw.choice(self.people), draw.choice(self.people)
        words = _words(third, other)
        sentences = [s.format(**words) for s in _some(draw, speaker.language, 3)]
        return Chunk(
            id=first + position * 2 + 2,
            video=video.id,
            position=position,
            start=position * 8.0,
            end=position * 8.0 + 7.5,
            text=_joined(speaker.language, sentences),
            summary=sentences[0],
            speaker=speaker,
            mentioned=(other, third) if other is not third else (other,),
            keywords=tuple(draw.sample(TAGS, 2)),
            confidence=draw.randrange(500, 1000) / 1000,
        )

    def embeddings(self, video: Video, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
        """One row for each of the video's chunks, near one another: float32, four decimals."""
        return _cloud(video.draw & 0xFFFFFFFF, CHUNKS, dimensions)

    def faces(self, number: int, count: int) -> NDArray[np.float32]:
        """`count` looks of one person's face, 128 dimensions."""
        return _cloud(number * 1009 + self.random_seed & 0xFFFFFFFF, count, 128)


def _cloud(seed: int, count: int, dimensions: int) -> NDArray[np.float32]:
    """Points around one centre. RandomState draws the same numbers in every version of numpy."""
    draws = np.random.RandomState(seed).random_sample((count + 1, dimensions)).astype(np.float32)
    cloud = (draws[0] - 0.5) + (draws[1:] - 0.5) * np.float32(0.6)
    rounded: NDArray[np.float32] = np.round(cloud, 4)
    return rounded


def _words(person: Person, other: Person) -> dict[str, str]:
    return {
        "name": person.name,
        "email": person.email,
        "phone": person.phone,
        "username": person.username,
        "ip": person.ip,
        "other": other.name,
    }


def _some(draw: random.Random, language: str, count: int) -> list[str]:
    return draw.sample(SAYINGS[language], count)


def _joined(language: str, sentences: Sequence[str]) -> str:
    return (" " if language == "en" else "").join(sentences)
