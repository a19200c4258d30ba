"""The embedded sets by name, the published ones by the files in their folder."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fuseloom.data import (
    av_digits,
    crema_d,
    deliver,
    kinetics_sounds,
    mfeat,
    mfnet,
    mosei,
    mosi,
    mvsa,
    nyudv2,
    sun_rgbd,
    taskonomy,
    twitter,
)
from fuseloom.data.digits import read_digits
from fuseloom.data.imbalanced import read_imbalanced
from fuseloom.data.interactions import NAMED_SETTINGS, read_interactions
from fuseloom.data.reviews import read_reviews
from fuseloom.data.scenes.sets import SCENE_SETS, embedded_scenes, read_scenes
from fuseloom.data.source import Source
from fuseloom.data.tagged import is_tagged, read_tagged
from fuseloom.data.views import read_views
from fuseloom.errors import DataError, UnknownNameError, did_you_mean

__all__ = ["EMBEDDED", "PublishedSet", "list_sets", "read_named", "recognised"]


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """A published set that lies in a folder."""

    files: tuple[str, ...]
    """What the folder holds; by these it is recognised."""
    read: Callable[[Path], Source]
    holds: Callable[[Iterable[bool]], bool] = all
    """Whether the folder has all of them, or ``any``: then each file is a set by itself."""
    matches: Callable[[Path], bool] | None = None
    """Whether a folder is the set, where the names of its files do not tell."""

    def is_at(self, path: Path) -> bool:
        """Whether a folder, or file, is this set."""
        if path.is_file():
            return self.holds is any and path.name in self.files
        if self.matches is not None:
            return self.matches(path)
        return self.holds((path / file).exists() for file in self.files)


EMBEDDED: Mapping[str, Callable[[], Source]] = {
    "digits": read_digits,
    "imbalanced": read_imbalanced,
    "reviews": read_reviews,
    **{name: partial(read_interactions, name) for name in NAMED_SETTINGS},
    **{name: partial(embedded_scenes, name) for name in SCENE_SETS},
    "views": read_views,
}
"""Sets that need no file."""


def _found(find: Callable[[Path], str | None], name: str, folder: Path) -> bool:
    return find(folder) == name


_IN_FOLDERS = {
    **{name: PublishedSet(files=(f"{name}.json",), read=partial(read_scenes, name)) for name in SCENE_SETS},
    "av-digits": PublishedSet(files=av_digits.FILES, read=av_digits.read_av_digits),
    "crema-d": PublishedSet(files=crema_d.FILES, read=crema_d.read_crema_d),
    "deliver": PublishedSet(files=deliver.FILES, read=deliver.read_deliver, matches=deliver.is_deliver),
    "kinetics-sounds": PublishedSet(files=kinetics_sounds.FILES, read=kinetics_sounds.read_kinetics_sounds),
    "mfnet": PublishedSet(files=mfnet.FILES, read=mfnet.read_mfnet, matches=mfnet.is_mfnet),
    "mosei": PublishedSet(files=mosei.FILES, read=mosei.read_mosei, holds=any),
    "mfeat": PublishedSet(files=mfeat.FILES, read=mfeat.read_mfeat),
    "mosi": PublishedSet(files=mosi.FILES, read=mosi.read_mosi),
    **{
        name: PublishedSet(
            files=mvsa.FILES, read=mvsa.read_mvsa, matches=partial(_found, mvsa.find_set, name)
        )
        for name in ("mvsa-single", "mvsa-multiple")
    },
    "nyudv2": PublishedSet(files=nyudv2.FILES, read=nyudv2.read_nyudv2, matches=nyudv2.is_nyudv2),
    "sun-rgbd": PublishedSet(files=sun_rgbd.FILES, read=sun_rgbd.read_sun_rgbd, matches=sun_rgbd.is_sun_rgbd),
    "taskonomy": PublishedSet(
        files=taskonomy.FILES, read=taskonomy.read_taskonomy, matches=taskonomy.is_taskonomy
    ),
    **{
        name: PublishedSet(files=twitter.FILES, read=read, matches=partial(_found, twitter.find_set, name))
        for name, read in twitter.READERS.items()
    },
}
_TAGGED = PublishedSet(files=(), read=read_tagged)
"""Of no name: sentences of a person's own in one of the formats that published sets have."""


def list_sets() -> list[str]:
    """Names of all sets, sorted.

    Example:
        >>> list_sets()[:3]
        ['av-digits', 'crema-d', 'deliver']
    """
    return sorted({*EMBEDDED, *_IN_FOLDERS})


def recognised(path: Path) -> PublishedSet | None:
    """The published set that a folder holds, or that the file is, or else tagged sentences, if any."""
    published = next((one for one in _IN_FOLDERS.values() if one.is_at(path)), None)
    return _TAGGED if published is None and is_tagged(path) else published


def read_named(name: str) -> Source:
    """An embedded set by its name.

    Raises:
        DataError: the set is published elsewhere and needs its folder.
        UnknownNameError: no set has the name.
    """
    if name in EMBEDDED:
        return EMBEDDED[name]()
    if name in _IN_FOLDERS:
        files = ", ".join(_IN_FOLDERS[name].files)
        raise DataError(f"{name!r} must be given as its folder, got its name. Pass the path to {files}.")
    hint = did_you_mean(name, list_sets())
    raise UnknownNameError(f"No such file or folder, and unknown data set {name!r}.{hint}")
