"""MNIST from a folder and from a server on this machine: equal arrays, and a sentence for whatever can be wrong."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from mnist_files import TEST, TRAIN, Pictures, idx, pictures, write_idx, write_npz

from ringsim import simulate
from ringsim.cli import run_command
from ringsim.errors import DataUnavailable, ScenarioInvalid
from ringsim.learning import data, mnist
from ringsim.learning.data import Dataset, Shape
from ringsim.scenario import Mnist
from ringsim.scenario_file import load, parse

SCENARIO = """\
name: reads
task:
  dataset: {kind: mnist, samples: 12, folder: images}
  model: {kind: softmax}
  steps: 2
  batch_size: 3
cluster: {nodes: 2}
strategy: {name: ring}
"""
FETCHES = SCENARIO.replace(", folder: images", "")


@pytest.fixture(autouse=True)
def nothing_is_read_yet() -> Iterator[None]:
    """What a process has read it does not read again; each test is a new process in this."""
    data._mnist.cache_clear()
    yield
    data._mnist.cache_clear()


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "reads.yaml"
    path.write_text(SCENARIO)
    return path


def read(folder: Path, samples: int = 12) -> Dataset:
    data._mnist.cache_clear()
    return data.load(Mnist(kind="mnist", folder=str(folder), samples=samples), seed=0)


def arrays(dataset: Dataset) -> list[np.ndarray]:
    return [dataset.train_x, dataset.train_y, dataset.test_x, dataset.test_y]


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(write_npz, id="npz"),
        pytest.param(write_idx, id="idx"),
        pytest.param(lambda folder: write_idx(folder, packed=True), id="idx-gz"),
        pytest.param(lambda folder: write_idx(folder, mark="."), id="idx-dot"),
        pytest.param(lambda folder: write_idx(folder, mark=".", packed=True), id="idx-dot-gz"),
    ],
)
def test_every_format_gives_the_images_themselves(write: Callable[[Path], Path], tmp_path: Path) -> None:
    dataset = read(write(tmp_path / "images"))
    for x, y, split in (
        (dataset.train_x, dataset.train_y, TRAIN),
        (dataset.test_x, dataset.test_y, TEST),
    ):
        assert (x.dtype, y.dtype) == (np.float32, np.int32)
        np.testing.assert_array_equal(x, (split.images.reshape(-1, 784) / 255).astype(np.float32))
        np.testing.assert_array_equal(y, split.labels)
        assert not x.flags.writeable
        assert not y.flags.writeable
    assert dataset.shape == Shape(784, 10, (28, 28, 1))
    assert (dataset.train_x.min(), dataset.train_x.max()) == (0, 1)


def test_images_may_have_any_size_and_need_not_be_square(tmp_path: Path) -> None:
    flat = Pictures(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.array([9, 0], np.uint8))
    dataset = read(write_idx(tmp_path, flat, flat), samples=2)
    assert dataset.shape == Shape(12, 10, (3, 4, 1))
    np.testing.assert_array_equal(dataset.train_x[1] * 255, np.arange(12, 24))


def test_samples_takes_the_first_images_and_leaves_the_test_alone(tmp_path: Path) -> None:
    some = read(write_idx(tmp_path / "all"), samples=7)
    few = read(write_idx(tmp_path / "few", Pictures(TRAIN.images[:7], TRAIN.labels[:7])), samples=7)
    for one, other in zip(arrays(some), arrays(few), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(some.test_y) == 6


def test_an_archive_comes_before_single_files(tmp_path: Path) -> None:
    write_idx(tmp_path, pictures(12, seed=5))
    np.testing.assert_array_equal(read(write_npz(tmp_path)).train_y, TRAIN.labels)
    np.testing.assert_array_equal(read(tmp_path).train_x[0], (TRAIN.images[0].ravel() / 255).astype(np.float32))


# --- where a folder is ------------------------------------------------------------------------------------------------


def test_a_run_reads_the_folder_beside_its_scenario_and_so_does_its_run_folder(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_idx(tmp_path / "images")
    out, elsewhere = tmp_path / "deep" / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert run_command(["run", str(scenario), "--out", str(out), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    data._mnist.cache_clear()
    assert run_command(["run", str(out / "scenario.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == first["digest"]
    assert first["samples"]["counted"] == 12
    assert load(out / "scenario.yaml").scenario == load(scenario).scenario


def test_a_relative_scenario_and_an_absolute_one_mean_the_same_folder(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load("reads.yaml").scenario == load(scenario).scenario == parse(SCENARIO).scenario
    assert parse(SCENARIO).scenario.task.dataset == Mnist(kind="mnist", samples=12, folder=str(tmp_path / "images"))
    typed = parse(SCENARIO, str(tmp_path / "elsewhere" / "f.yaml"), overrides=["task.dataset.folder=here"]).scenario
    assert typed.task.dataset == Mnist(kind="mnist", samples=12, folder=str(tmp_path / "here")), "as it was typed"
    given = parse(SCENARIO, overrides=[f"task.dataset.folder={tmp_path.as_posix()}"]).scenario
    assert given.task.dataset == Mnist(kind="mnist", samples=12, folder=str(tmp_path))


def test_a_whole_run_validates_without_its_images_and_imports_nothing_heavy(scenario: Path) -> None:
    program = (
        "import sys\nfrom ringsim.cli import run_command\n"
        f"code = run_command(['validate', {str(scenario)!r}])\n"
        "print([name for name in ('jax', 'numpy', 'rich', 'pooch', 'requests') if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [f"{scenario}: valid (reads)", "[] 0"]


# --- what is wrong in a folder ----------------------------------------------------------------------------------------

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def put(name: str, content: bytes) -> Callable[[Path], object]:
    """Return what writes good IDX files, and then this one."""
    return lambda folder: (write_idx(folder) / name).write_bytes(content)


def without(*names: str) -> Callable[[Path], object]:
    return lambda folder: [path.unlink() for path in write_idx(folder).iterdir() if path.name in names]


def archive(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder.mkdir(), (folder / "mnist.npz").write_bytes(content))


def lacking_an_array(folder: Path) -> None:
    folder.mkdir()
    np.savez(folder / "mnist.npz", x_train=TRAIN.images, y_train=TRAIN.labels, x_test=TEST.images)


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda folder: None, 'there is no folder "FOLDER"'),
    "a file": (lambda folder: folder.write_bytes(b""), '"FOLDER" is a file; name the folder that it is in'),
    "empty": (
        lambda folder: folder.mkdir(),
        f'"FOLDER" has neither mnist.npz nor {TRAIN_IMAGES}, {TRAIN_LABELS}, {TEST_IMAGES} and {TEST_LABELS} '
        "(or the same with .gz)",
    ),
    "three of four": (without(TEST_LABELS), f'"FOLDER" lacks {TEST_LABELS} (or the same with .gz)'),
    "two of four": (
        without(TRAIN_LABELS, TEST_IMAGES),
        f'"FOLDER" lacks {TRAIN_LABELS} and {TEST_IMAGES} (or the same with .gz)',
    ),
    "labels for images": (
        put(TRAIN_IMAGES, idx(TRAIN.labels)),
        f'"{TRAIN_IMAGES}" begins with 00000801; an IDX file of 3 dimensions begins with 00000803',
    ),
    "text for labels": (
        put(TEST_LABELS, b"<html>"),
        f'"{TEST_LABELS}" begins with 3c68746d; an IDX file of 1 dimensions begins with 00000801',
    ),
    "an empty file": (
        put(TEST_IMAGES, b""),
        f'"{TEST_IMAGES}" is empty; an IDX file of 3 dimensions begins with 00000803',
    ),
    "cut off": (
        put(TRAIN_IMAGES, idx(TRAIN.images)[:-1]),
        f'"{TRAIN_IMAGES}" has 9423 bytes, and its header tells of 9424; fetch it again',
    ),
    "too long": (
        put(TRAIN_LABELS, idx(TRAIN.labels) + b"\0"),
        f'"{TRAIN_LABELS}" has 21 bytes, and its header tells of 20; fetch it again',
    ),
    "gzip cut off": (
        put(TRAIN_IMAGES, gzip.compress(idx(TRAIN.images))[:-9]),
        f'"{TRAIN_IMAGES}" cannot be unpacked: it is cut off or damaged; fetch it again',
    ),
    "gzip with another checksum": (
        put(TRAIN_IMAGES, gzip.compress(idx(TRAIN.images))[:-8] + bytes(8)),
        f'"{TRAIN_IMAGES}" cannot be unpacked: it is cut off or damaged; fetch it again',
    ),
    "counts": (
        put(TRAIN_LABELS, idx(TRAIN.labels[:11])),
        f'"{TRAIN_IMAGES}" has 12 images, and "{TRAIN_LABELS}" has 11 labels',
    ),
    "a label": (
        put(TEST_LABELS, idx(np.array([0, 1, 2, 3, 10, 5], np.uint8))),
        f'"{TEST_LABELS}" must have labels from 0 to 9, not 10',
    ),
    "two sizes": (
        lambda folder: write_idx(folder, test=pictures(6, side=8)),
        "holds images of 28x28 to train on and of 8x8 to test on; they must be of one size",
    ),
    "no image": (
        lambda folder: write_idx(folder, test=pictures(0)),
        f'"{TEST_IMAGES}" has no pixels: uint8 [0, 28, 28]',
    ),
    "no archive": (archive(b"PK"), '"mnist.npz" is no archive of NumPy (.npz), or it is cut off; fetch it again'),
    "no such array": (
        lacking_an_array,
        '"mnist.npz" lacks y_test; it needs the arrays x_train, y_train, x_test and y_test',
    ),
    "objects": (
        lambda folder: write_npz(folder, y_test=np.array([None])),
        '"mnist.npz" is damaged or no archive of plain arrays: Object arrays cannot be loaded when allow_pickle=False',
    ),
    "pixels from 0 to 1": (
        lambda folder: write_npz(folder, x_train=TRAIN.images / 255),
        'x_train of "mnist.npz" must be bytes [count, height, width], not float64 [12, 28, 28]',
    ),
    "rows": (
        lambda folder: write_npz(folder, x_test=TEST.images.reshape(6, 784)),
        'x_test of "mnist.npz" must be bytes [count, height, width], not uint8 [6, 784]',
    ),
    "one-hot labels": (
        lambda folder: write_npz(folder, y_train=np.eye(12)),
        'y_train of "mnist.npz" must be whole numbers [count], not float64 [12, 12]',
    ),
    "a label below": (
        lambda folder: write_npz(folder, y_test=np.arange(6) - 1),
        'y_test of "mnist.npz" must have labels from 0 to 9, not -1',
    ),
    "counts of an archive": (
        lambda folder: write_npz(folder, y_test=TEST.labels[:5]),
        'x_test of "mnist.npz" has 6 images, and y_test of "mnist.npz" has 5 labels',
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_in_a_folder_is_told_in_one_sentence_at_its_place(
    case: str, scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, sentence = WRONG[case]
    write(tmp_path / "images")
    assert run_command(["run", str(scenario), "--quiet"]) == 3
    sentence = sentence.replace("FOLDER", str(tmp_path / "images"))
    assert capsys.readouterr() == ("", f"{scenario}:3:47: task.dataset.folder: {sentence}\n")


def test_what_cannot_be_read_is_named_with_the_reason(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without(TEST_LABELS)(tmp_path / "images")
    (tmp_path / "images" / TEST_LABELS).mkdir()
    assert run_command(["run", str(scenario), "--quiet"]) == 3
    place = f'{scenario}:3:47: task.dataset.folder: "{tmp_path / "images" / TEST_LABELS}"'
    assert re.fullmatch(rf"{re.escape(place)} cannot be read: \w.+\n", capsys.readouterr().err)


def test_more_samples_than_there_are_is_told_where_they_are_asked_for(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_idx(tmp_path / "images", pictures(11))
    assert run_command(["run", str(scenario), "--quiet"]) == 3
    sentence = "task.dataset.samples: must be at most 11, as many images as there are to train on; not 12"
    assert capsys.readouterr().err == f"{scenario}:3:35: {sentence}\n"
    assert run_command(["run", str(scenario), "--quiet", "--set", "task.dataset.samples=99"]) == 3
    assert capsys.readouterr().err == f"--set task.dataset.samples=99: {sentence.replace('12', '99')}\n"
    scenario.write_text(SCENARIO.replace("samples: 12, ", ""))  # The 60,000 of a default stand nowhere.
    assert run_command(["run", str(scenario), "--quiet"]) == 3
    assert capsys.readouterr().err == f"{scenario}:3:3: {sentence.replace('12', '60000')}\n"


def test_images_too_small_for_a_cnn_are_told_at_the_model(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_idx(tmp_path / "images", pictures(12, side=5), pictures(6, side=5))
    scenario.write_text(SCENARIO.replace("softmax", "cnn"))
    assert run_command(["run", str(scenario), "--quiet"]) == 3
    sentence = "cnn needs images of at least 6x6 pixels; this dataset has none"
    assert capsys.readouterr().err == f"{scenario}:4:3: task.model: {sentence}\n"


@pytest.mark.parametrize(
    "command",
    [["run"], ["check"], ["record"], ["verify"], ["compare"], ["compare", "--strategies", "all"], ["monkey"]],
    ids=" ".join,
)
def test_every_command_that_plays_tells_the_place(
    command: list[str], scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if command == ["verify"]:
        write_idx(tmp_path / "images")
        assert run_command(["record", str(scenario)]) == 0
        data._mnist.cache_clear()
    without(TEST_LABELS)(tmp_path / "images")
    capsys.readouterr()
    assert run_command([command[0], str(scenario), *command[1:]]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f'{scenario}:3:47: task.dataset.folder: "{tmp_path / "images"}" lacks')
    assert captured.err.count("\n") == 1


def test_python_is_told_the_key_without_a_place(tmp_path: Path) -> None:
    with pytest.raises(ScenarioInvalid) as caught:
        simulate(parse(SCENARIO, source=str(tmp_path / "no.yaml")).scenario)
    (problem,) = caught.value.problems
    assert (problem.place, problem.path) == ("", "task.dataset.folder")


SMALL = pictures(3, side=2)


@pytest.mark.parametrize("name", [TRAIN_IMAGES, f"{TRAIN_IMAGES}.gz", TEST_LABELS, "mnist.npz"])
def test_a_file_that_is_cut_off_anywhere_is_a_mistake(name: str, tmp_path: Path) -> None:
    if name.endswith("npz"):
        write_npz(tmp_path, SMALL, SMALL)
    else:
        write_idx(tmp_path, SMALL, SMALL, packed=name.endswith("gz"))
    whole = (tmp_path / name).read_bytes()
    assert len(read(tmp_path, samples=3).train_y) == 3
    for length in range(len(whole)):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(ScenarioInvalid):
            mnist.load(Mnist(kind="mnist", folder=str(tmp_path), samples=3))


@pytest.mark.parametrize("name", [f"{TRAIN_IMAGES}.gz", "mnist.npz"])
def test_a_flipped_byte_of_a_packed_file_is_a_mistake_or_changes_nothing(name: str, tmp_path: Path) -> None:
    if name.endswith("npz"):
        write_npz(tmp_path, SMALL, SMALL)
    else:
        write_idx(tmp_path, SMALL, SMALL, packed=True)
    whole, found = (tmp_path / name).read_bytes(), 0
    for place in range(len(whole)):
        (tmp_path / name).write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            train, _ = mnist.load(Mnist(kind="mnist", folder=str(tmp_path), samples=3))
        except ScenarioInvalid:
            found += 1
        else:
            np.testing.assert_array_equal(train.images, SMALL.images)
    assert found > len(whole) / 2


# --- fetched ----------------------------------------------------------------------------------------------------------


@dataclass
class Library:
    """A server on this machine, and what was asked of it. cut: it keeps so many bytes to itself."""

    content: bytes
    status: int = 200
    cut: int = 0
    asked: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """Serve an archive of a few images; the source and the cache folder are replaced by this one's and an empty one."""
    library = Library((write_npz(tmp_path / "library") / "mnist.npz").read_bytes())

    class Desk(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            library.asked.append(self.path)
            self.send_response(library.status)
            self.send_header("Content-Length", str(len(library.content)))
            self.end_headers()
            self.wfile.write(library.content[: len(library.content) - library.cut])

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Desk) as server:
        library.url = f"http://127.0.0.1:{server.server_port}/mnist.npz"
        monkeypatch.setattr(mnist, "SOURCE", mnist.Source(library.url, hashlib.sha256(library.content).hexdigest()))
        monkeypatch.setattr(mnist, "cache_folder", lambda: tmp_path / "cache" / "mnist")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield library
        server.shutdown()
        thread.join()


@pytest.fixture
def fetches(tmp_path: Path) -> str:
    path = tmp_path / "fetches.yaml"
    path.write_text(FETCHES)
    return str(path)


def cached(tmp_path: Path) -> dict[str, bytes]:
    folder = tmp_path / "cache" / "mnist"
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def played(file: str, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Play a scenario as a new process would; return its digests."""
    data._mnist.cache_clear()
    assert run_command(["run", file, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    digests: dict[str, str] = json.loads(captured.out)["digest"]
    return digests


def test_what_is_fetched_trains_as_a_folder_does_and_is_fetched_once(
    library: Library, fetches: str, scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = played(fetches, capsys)
    assert cached(tmp_path) == {"mnist.npz": library.content}
    assert played(fetches, capsys) == first
    assert library.asked == ["/mnist.npz"]
    write_idx(tmp_path / "images")
    assert played(str(scenario), capsys) == first
    assert library.asked == ["/mnist.npz"]


def test_a_cached_file_that_is_another_is_fetched_anew(
    library: Library, fetches: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = played(fetches, capsys)
    (tmp_path / "cache" / "mnist" / "mnist.npz").write_bytes(b"another")
    assert played(fetches, capsys) == first
    assert cached(tmp_path) == {"mnist.npz": library.content}
    assert library.asked == ["/mnist.npz"] * 2


def refused(file: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Play a scenario that cannot have its data; return the reason in the one sentence that says so."""
    assert run_command([*(arguments or ("run",)), file, "--quiet"]) == DataUnavailable.exit_code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    found = re.fullmatch(
        r"error: MNIST (?:cannot be fetched from (?P<url>\S+): )?(?P<why>.+); (?:or )?"
        r"put the files in a folder and name it with --set task\.dataset\.folder=FOLDER\n",
        captured.err,
    )
    assert found is not None, captured.err
    assert found["url"] in (None, mnist.SOURCE.url)
    return found["why"]


def test_what_has_another_hash_is_refused_and_not_kept(
    library: Library, fetches: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mnist, "SOURCE", mnist.Source(library.url, "0" * 64))
    assert refused(fetches, capsys) == "what came is not MNIST, for its SHA-256 is another"
    assert library.asked == ["/mnist.npz"]
    assert cached(tmp_path) == {}


@pytest.mark.parametrize("whole", [False, True], ids=["in the middle", "before it begins"])
def test_a_download_that_breaks_off_leaves_nothing(
    library: Library, fetches: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: bool
) -> None:
    library.cut = len(library.content) if whole else len(library.content) // 2
    assert refused(fetches, capsys) == "the connection broke before all of it was here"
    assert cached(tmp_path) == {}
    library.cut = 0
    played(fetches, capsys)


def test_a_server_that_has_no_such_file_is_quoted(
    library: Library, fetches: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library.status = 404
    assert refused(fetches, capsys) == "the server answers 404 Client Error: Not Found"
    assert cached(tmp_path) == {}


def test_no_network_is_told(
    library: Library, fetches: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port  # Nobody listens there any more when it is asked.
    monkeypatch.setattr(mnist, "SOURCE", mnist.Source(f"http://127.0.0.1:{port}/mnist.npz", "0" * 64))
    assert refused(fetches, capsys) == "the server cannot be reached (ConnectionError)"


@pytest.mark.parametrize("missing", ["pooch", "requests"])
def test_without_pooch_it_says_how_to_get_it(
    missing: str, library: Library, fetches: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert refused(fetches, capsys) == "is fetched by the package pooch: pip install pooch"
    assert library.asked == []


def test_a_cache_folder_that_cannot_be_made_is_named(
    library: Library, fetches: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    assert re.fullmatch(r"the cache folder \S+mnist cannot be used \(\w.+\)", refused(fetches, capsys))
    assert library.asked == []


def test_a_cache_folder_that_is_read_only_is_named(
    library: Library, fetches: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forbidden(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")  # Not by chmod: root may write everywhere.

    monkeypatch.setattr(os, "makedirs", forbidden)
    folder = tmp_path / "cache" / "mnist"
    assert refused(fetches, capsys) == f"the cache folder {folder} cannot be used (Permission denied)"


def test_a_comparison_without_its_data_asks_once_and_ends(
    library: Library, fetches: str, capsys: pytest.CaptureFixture[str]
) -> None:
    library.status = 503
    why = refused(fetches, capsys, "compare", "--strategies", "all")
    assert why == "the server answers 503 Server Error: Service Unavailable"
    assert library.asked == ["/mnist.npz"]


# --- the bar ----------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """What somebody looks at."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in the place of stderr: in a test itself, for pytest has its own there until then."""
    monkeypatch.setenv("TERM", "xterm")
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    return stderr


def test_a_terminal_shows_a_bar_while_it_fetches_and_only_then(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = terminal(monkeypatch)
    mnist.fetched()
    size = f"{len(library.content) / 1000:.1f}/{len(library.content) / 1000:.1f} kB"
    shown = stderr.getvalue()
    assert "fetching MNIST" in shown
    assert size in shown
    mnist.fetched()
    assert stderr.getvalue() == shown


def test_elsewhere_nothing_is_shown(library: Library, capfd: pytest.CaptureFixture[str]) -> None:
    mnist.fetched()
    assert library.asked
    assert capfd.readouterr() == ("", "")


def test_a_terminal_shows_the_two_bars_of_a_run_one_after_the_other(
    library: Library, fetches: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = terminal(monkeypatch)
    assert run_command(["run", fetches]) == 0
    shown = stderr.getvalue()
    assert 0 <= shown.rindex("fetching MNIST") < shown.index("reads, ring")


def test_a_bar_ends_with_a_download_that_fails(library: Library, fetches: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal(monkeypatch)
    library.cut = 1
    assert run_command(["run", fetches]) == 1
    before, _, after = stderr.getvalue().partition("\x1b[?25h")  # The cursor is shown again, and then comes the word.
    assert "fetching MNIST" in before
    assert "error: " in after
