"""The files of MNIST, and of whatever has its format: read from a folder, or fetched once and kept.

    folder    mnist.npz (as Keras has it), or the four IDX files of the first publication, packed by gzip or not
    fetched   mnist.npz from where Keras takes it, with a known SHA-256, into the user's cache folder

IDX (LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist): two bytes 0, the type (8: bytes), the number of
dimensions, then each dimension in four bytes, the highest first, then the numbers, row by row. What is wrong in a
folder is the scenario's mistake; what cannot be fetched is not. What is not here: the rows of a model (`data.py`).
"""

from __future__ import annotations

import gzip
import math
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ringsim.errors import DataUnavailable, Problem, ScenarioInvalid
from ringsim.scenario import Mnist
from ringsim.scenario_file.words import listed

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

CLASSES = 10
ARCHIVE = "mnist.npz"
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")  # of the archive
_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_BYTES = 0x08  # the type of the numbers in them
_GZIP = b"\x1f\x8b"  # what a packed file begins with
_CHUNK_BYTES = 64 * 1024
_INSTEAD = "put the files in a folder and name it with --set task.dataset.folder=FOLDER"


@dataclass(frozen=True)
class Source:
    """Where MNIST is fetched from, and the SHA-256 that shows that it is MNIST."""

    url: str
    sha256: str


# Both as in keras/src/datasets/mnist.py.
SOURCE = Source(
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
    "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
)


@dataclass(frozen=True, eq=False)
class Split:
    """Images to train or to test on: uint8 [count, height, width], and what they show: int32 [count], 0 to 9."""

    images: np.ndarray
    labels: np.ndarray


def load(settings: Mnist) -> tuple[Split, Split]:
    """Return the images to train on, as many as the scenario asks for, and all those to test on.

    Raises ScenarioInvalid for files that are wrong or too few, DataUnavailable where they cannot be fetched.
    """
    try:
        train, test = _archive(fetched()) if settings.folder is None else _folder(Path(settings.folder))
        _check_sizes(train, test)
    except ValueError as error:
        raise ScenarioInvalid((Problem("", "task.dataset.folder", str(error)),)) from None
    there = len(train.images)
    if settings.samples > there:
        sentence = f"must be at most {there}, as many images as there are to train on; not {settings.samples}"
        raise ScenarioInvalid((Problem("", "task.dataset.samples", sentence),))
    return Split(train.images[: settings.samples], train.labels[: settings.samples]), test


# --- from a folder: each function raises ValueError with a sentence ---------------------------------------------------


def _folder(folder: Path) -> tuple[Split, Split]:
    try:
        if not folder.is_dir():
            is_file = f'"{folder}" is a file; name the folder that it is in'
            raise ValueError(is_file if folder.exists() else f'there is no folder "{folder}"')
        if (folder / ARCHIVE).exists():
            return _archive(folder / ARCHIVE)
        found = {name: path for name in _FILES if (path := _found(folder, name)) is not None}
        missing = [name for name in _FILES if name not in found]
        if missing:
            lacks = "lacks" if found else f"has neither {ARCHIVE} nor"
            raise ValueError(f'"{folder}" {lacks} {listed(missing, "and")} (or the same with .gz)')
        train, test = (_split(found[images], found[labels]) for images, labels in (_FILES[:2], _FILES[2:]))
    except OSError as error:
        raise ValueError(f'"{error.filename or folder}" cannot be read: {error.strerror or error}') from None
    return train, test


def _found(folder: Path, name: str) -> Path | None:
    """Return the file of this name in one of its spellings: `train-images-idx3-ubyte`, `train-images.idx3-ubyte.gz`."""
    spellings = [name, name.replace("-idx", ".idx")]
    paths = [folder / f"{spelling}{ending}" for spelling in spellings for ending in ("", ".gz")]
    return next((path for path in paths if path.exists()), None)


def _split(images: Path, labels: Path) -> Split:
    return _checked(_idx(images, 3), _idx(labels, 1), f'"{images.name}"', f'"{labels.name}"')


def _idx(path: Path, dimensions: int) -> np.ndarray:
    """Return what an IDX file of bytes holds, uint8."""
    content = _unpacked(path)
    magic, start = bytes([0, 0, _BYTES, dimensions]), 4 + 4 * dimensions
    if content[:4] != magic:
        begins = f"begins with {content[:4].hex()}" if content else "is empty"
        raise ValueError(f'"{path.name}" {begins}; an IDX file of {dimensions} dimensions begins with {magic.hex()}')
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    whole = start + math.prod(shape)
    if len(content) != whole:
        raise ValueError(f'"{path.name}" has {len(content)} bytes, and its header tells of {whole}; fetch it again')
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _unpacked(path: Path) -> bytes:
    """Return the bytes of a file, unpacked if it is packed, whatever it is called."""
    content = path.read_bytes()
    if not content.startswith(_GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise ValueError(f'"{path.name}" cannot be unpacked: it is cut off or damaged; fetch it again') from None


def _archive(path: Path) -> tuple[Split, Split]:
    """Return what an archive of Keras' layout holds."""
    arrays = _arrays(path)
    lacking = [name for name in _ARRAYS if name not in arrays]
    if lacking:
        raise ValueError(f'"{path.name}" lacks {listed(lacking, "and")}; it needs the arrays {listed(_ARRAYS, "and")}')
    train, test = (
        _checked(arrays[x], arrays[y], f'{x} of "{path.name}"', f'{y} of "{path.name}"')
        for x, y in (_ARRAYS[:2], _ARRAYS[2:])
    )
    return train, test


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Return those arrays of an archive that are looked for."""
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f'"{path.name}" is no archive of NumPy (.npz), or it is cut off; fetch it again')
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in _ARRAYS if name in archive.files}
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
            raise ValueError(f'"{path.name}" is damaged or no archive of plain arrays: {error}') from None


def _checked(images: np.ndarray, labels: np.ndarray, of_images: str, of_labels: str) -> Split:
    """Return images with their labels, if they are what a training can use."""
    if images.dtype != np.uint8 or images.ndim != 3:
        raise ValueError(f"{of_images} must be bytes [count, height, width], not {_described(images)}")
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError(f"{of_labels} must be whole numbers [count], not {_described(labels)}")
    if images.size == 0:
        raise ValueError(f"{of_images} has no pixels: {_described(images)}")
    if len(images) != len(labels):
        raise ValueError(f"{of_images} has {len(images)} images, and {of_labels} has {len(labels)} labels")
    outside = labels[(labels < 0) | (labels >= CLASSES)]
    if len(outside):
        raise ValueError(f"{of_labels} must have labels from 0 to {CLASSES - 1}, not {outside[0]}")
    return Split(images, labels.astype(np.int32))


def _described(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _check_sizes(train: Split, test: Split) -> None:
    (height, width), (other_height, other_width) = train.images.shape[1:], test.images.shape[1:]
    if (height, width) != (other_height, other_width):
        raise ValueError(
            f"holds images of {height}x{width} to train on and of {other_height}x{other_width} to test on; "
            "they must be of one size"
        )


# --- fetched ----------------------------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Return the folder that fetched files are kept in."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("ringsim", appauthor=False), "mnist")


def fetched() -> Path:
    """Return the archive in the cache folder, fetched if it is not there, or is not what it should be.

    A file stands under its name only when it is whole and has its SHA-256. Raises DataUnavailable.
    """
    try:
        import pooch
        import requests
    except ImportError:
        raise DataUnavailable(f"MNIST is fetched by the package pooch: pip install pooch; or {_INSTEAD}") from None
    pooch.get_logger().setLevel("WARNING")  # It would say where it fetches from, also where nobody asked.
    try:
        with _bar() as bar:
            downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=_CHUNK_BYTES)
            return Path(pooch.retrieve(SOURCE.url, SOURCE.sha256, ARCHIVE, cache_folder(), downloader=downloader))
    except requests.HTTPError as error:
        why = f"the server answers {str(error).partition(' for url')[0]}"
    except requests.exceptions.ChunkedEncodingError:
        why = "the connection broke before all of it was here"
    except requests.RequestException as error:
        why = f"the server cannot be reached ({type(error).__name__})"
    except OSError as error:
        why = f"the cache folder {cache_folder()} cannot be used ({error.strerror or 'Permission denied'})"
    except ValueError:
        why = "what came is not MNIST, for its SHA-256 is another"
    raise DataUnavailable(f"MNIST cannot be fetched from {SOURCE.url}: {why}; {_INSTEAD}")


@dataclass
class _Bar:
    """A progress bar as pooch's downloader wants it; it is shown when the size is known, and not before."""

    shown: Progress
    task: TaskID

    @property
    def total(self) -> float | None:
        return self.shown.tasks[0].total

    @total.setter
    def total(self, size_bytes: int) -> None:
        self.shown.update(self.task, total=size_bytes or None)
        self.shown.start()

    def update(self, size_bytes: int) -> None:
        self.shown.advance(self.task, size_bytes)

    def reset(self) -> None:
        self.shown.update(self.task, completed=0)

    def close(self) -> None:
        """Do nothing: a bar ends with its download, also with one that fails."""


@contextmanager
def _bar() -> Iterator[_Bar | None]:
    """Give a progress bar on stderr, or None where nobody looks at a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns: tuple[Any, ...] = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    shown = Progress(*columns, console=Console(stderr=True), transient=True)
    try:
        yield _Bar(shown, shown.add_task("fetching MNIST", total=None))
    finally:
        if shown.live.is_started:
            shown.stop()
