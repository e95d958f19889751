"""What can be built here, read from `images/images.toml`: which offline image stands in for which
official one, and the tag that its content gives it."""

from __future__ import annotations

import hashlib
import platform
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from sandbox.errors import ConfigError

FOLDER = Path(__file__).parents[2] / "images"
REPOSITORY = "sandbox-offline"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One kind of offline image. `references`: patterns of the names that it stands in for.

    `python`: packages copied in. `also`: a folder of the project copied in. `ours`: no registry
    has it, so none is asked.
    """

    kind: str
    references: tuple[str, ...]
    version: str
    product: str
    python: tuple[str, ...] = ()
    also: str = ""
    ours: bool = False

    def other_version(self, reference: str) -> bool:
        """Whether `reference` asks for another major version than this one builds."""
        asked = re.search(r":[a-z]*(\d+)", reference.rpartition("/")[2])
        return self.version.isdigit() and asked is not None and asked[1] != self.version


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The file as a value."""

    folder: Path
    base: str
    suite: str
    python_version: str
    recipes: tuple[Recipe, ...]
    repository: str = REPOSITORY

    def recipe(self, reference: str) -> Recipe | None:
        """What can stand in for an official image, if anything can."""
        named = reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
        for recipe in self.recipes:
            if any(fnmatchcase(named, pattern) for pattern in recipe.references):
                return recipe
        return None

    def tag(self, recipe: Recipe) -> str:
        """`<repository>/<kind>:<version>-<hash>`, the hash over all that the image is made of."""
        made_of = (recipe, self.base, self.suite, self.python_version, platform.machine())
        digest = hashlib.sha256(repr(made_of).encode())
        for folder in self.sources(recipe):
            for path in _files(folder):
                digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
        return f"{self.repository}/{recipe.kind}:{recipe.version}-{digest.hexdigest()[:12]}"

    def sources(self, recipe: Recipe) -> list[Path]:
        """The folders that the image is made from, the Dockerfile's first."""
        also = [self.folder.parent / recipe.also] if recipe.also else []
        for folder in (found := [self.folder / recipe.kind, *also]):
            if not folder.is_dir():
                raise ConfigError(
                    f"{folder.relative_to(self.folder.parent)} is missing: {recipe.kind} cannot be"
                    " built without it",
                    where=str(self.folder / "images.toml"),
                )
        return found

    def product(self, image_tag: str, reference: str) -> str:
        """What a person should read for an image: the stand-in's name, or the reference itself."""
        recipe = self.recipe(reference)
        if recipe is None or not image_tag.startswith(f"{self.repository}/"):
            return reference
        return f"{recipe.product} (built here)"


def load(folder: Path = FOLDER) -> Catalogue:
    """Read `images.toml` in `folder`."""
    raw = tomllib.loads((folder / "images.toml").read_text())
    return Catalogue(
        folder=folder,
        base=raw["base"],
        suite=raw["suite"],
        python_version=raw["python_version"],
        recipes=tuple(_recipe(k, v) for k, v in raw.items() if isinstance(v, dict)),
    )


def _recipe(kind: str, raw: Mapping[str, object]) -> Recipe:
    lists = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    return Recipe(kind=kind, **lists)  # type: ignore[arg-type]


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path
