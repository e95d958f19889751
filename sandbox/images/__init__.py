"""Images: local, else pulled, else an equivalent built here from Debian and PyPI packages.

What is built is tagged by its content, so that it is built once and again only when `images/`
changes. `images/images.toml` says which offline image stands in for which official one; an image
that was built here goes on being used until it is removed or the official one is pulled.
"""

from __future__ import annotations

import functools
import threading
import time
from dataclasses import dataclass

import docker
from docker.errors import ImageNotFound

from sandbox.errors import ConfigError, Unreachable
from sandbox.images.building import build
from sandbox.images.catalogue import Catalogue, Recipe, load
from sandbox.images.pulling import pull
from sandbox.report import Report, Step, Warned

__all__ = ["ImageFacts", "ensure", "kind_of", "product"]

_locks: dict[str, threading.Lock] = {}
_locks_guard = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """Which image really runs for a reference. `offline`: it was built here."""

    reference: str
    id: str
    tag: str
    offline: bool
    product: str


def ensure(
    client: docker.DockerClient,
    reference: str,
    *,
    service_hint: str = "",
    report: Report,
    catalogue: Catalogue | None = None,
) -> ImageFacts:
    """The image for `reference`. Raises Unreachable when it can neither be had nor built.

    Threads and processes may ask for the same image at once: it is pulled or built by one of them.
    """
    book = catalogue or load()
    with _lock(reference):
        recipe = book.recipe(reference)
        tags = [reference] + ([book.tag(recipe)] if recipe else [])
        for tag in tags:
            found = _facts(client, book, reference, tag)
            if found is not None:
                return found
        trouble = "" if recipe and recipe.ours else _pulled(client, reference, report)
        found = _facts(client, book, reference, reference)
        if found is not None:
            return found
        if recipe is None:
            raise _nowhere(reference, trouble, service_hint)
        report(Step(name=_announce(recipe, reference, trouble)))
        if recipe.other_version(reference):
            report(Warned(message=f"{reference} asks for another version than {recipe.product}"))
        built = _facts(client, book, reference, build(client, book, recipe, reference, report))
        if built is None:
            raise Unreachable(f"image {reference} was built and is gone", where=service_hint)
        return built


def kind_of(reference: str) -> str | None:
    """The kind of offline image that can stand in for `reference`, if any."""
    recipe = load().recipe(reference)
    return recipe.kind if recipe else None


def product(image_tag: str, reference: str) -> str:
    """What a person should read for an image: the stand-in's name, or the reference itself."""
    return load().product(image_tag, reference)


def outdated(image_tag: str, reference: str) -> bool:
    """Whether this is an offline image whose sources have changed since it was built."""
    now = _present_tag(reference)
    return image_tag.partition(":")[0] == now.partition(":")[0] and image_tag != now


@functools.cache
def _present_tag(reference: str) -> str:
    """What an offline image for `reference` would be called, "" where there is none."""
    book = load()
    recipe = book.recipe(reference)
    return book.tag(recipe) if recipe else ""


def _pulled(client: docker.DockerClient, reference: str, report: Report) -> str:
    """ "" when it was pulled, else why not."""
    began = time.monotonic()
    trouble = pull(client, reference)
    if not trouble:
        report(Step(name=f"pulled {reference}", seconds=time.monotonic() - began))
    return trouble


def _announce(recipe: Recipe, reference: str, trouble: str) -> str:
    if recipe.ours:
        return f"building {recipe.product} ({reference})"
    return f"{reference}: {trouble}; building {recipe.product} here"


def _nowhere(reference: str, trouble: str, where: str) -> ConfigError | Unreachable:
    if trouble == "no registry has it":
        return ConfigError(
            f"there is no image {reference}", where=where, hint="correct it in the Compose file"
        )
    return Unreachable(
        f"image {reference} is not here and {trouble}",
        where=where,
        hint="docker load it, or name one that images/images.toml can build",
    )


def _facts(
    client: docker.DockerClient, book: Catalogue, reference: str, tag: str
) -> ImageFacts | None:
    try:
        image = client.images.get(tag)
    except ImageNotFound:
        return None
    return ImageFacts(
        reference=reference,
        id=str(image.id),
        tag=tag,
        offline=tag != reference,
        product=book.product(tag, reference),
    )


def _lock(name: str) -> threading.Lock:
    with _locks_guard:
        return _locks.setdefault(name, threading.Lock())
