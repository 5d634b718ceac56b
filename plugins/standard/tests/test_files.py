"""Finding, reading and fetching data files; the downloads of data sets, off a local server."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import socket
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from torchvision import datasets

from bench import BenchError, Missing
from bench_standard import files
from bench_standard.datasets.cifar import CIFAR10, CIFAR100
from bench_standard.datasets.idx import MNIST, FashionMNIST
from bench_standard.datasets.svhn import SVHN

GET = "get it from https://example.org"


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The data folder, empty."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


# ---- finding and reading


def test_data_lie_where_the_variable_says_or_in_data_here(monkeypatch):
    monkeypatch.setenv("BENCH_DATA", "/somewhere")
    assert files.folder() == Path("/somewhere")
    monkeypatch.setenv("BENCH_DATA", "~/somewhere")
    assert files.folder() == Path.home() / "somewhere"
    monkeypatch.delenv("BENCH_DATA")
    assert files.folder() == Path("data")


def test_the_first_path_that_exists_is_found(data):
    put(data / "b"), put(data / "c")
    assert files.find("It", ["a", "b", "c"], GET) == data / "b"
    with pytest.raises(Missing, match=f"It is not here; expected {data}/a or /no/where; {GET}"):
        files.find("It", ["a", "/no/where"], GET)


def test_the_first_whole_layout_is_found(data):
    put(data / "one/x")
    expected = [put(data / "two/x"), put(data / "two/y")]
    layouts = {"one": ("x", "y"), "two": ("x", "y"), "three": ("z",)}
    assert files.find_all("It", layouts, GET) == expected
    put(data / "three/z")
    assert files.find_all("It", layouts, GET) == expected


def test_found_files_have_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "data/one/x")
    assert files.find_all("It", {"one": ("x",)}, GET) == [tmp_path / "data/one/x"]


def test_a_name_is_found_with_any_of_its_endings(data):
    plain, packed = put(data / "one/x"), put(data / "one/y.gz")
    assert files.find_all("It", {"one": ("x", "y")}, GET, ("", ".gz")) == [plain, packed]
    with pytest.raises(Missing):
        files.find_all("It", {"one": ("x", "y")}, GET)


def test_a_missing_file_says_what_to_get_and_where_to_put_it(data):
    with pytest.raises(Missing) as error:
        files.find_all("It", {"one": ("x", "y"), "two": ("x", "y"), "/three": ("z",)}, GET)
    assert str(error.value) == (
        f"It is not here; expected x, y in {data}/one or {data}/two; or z in /three; {GET}"
    )


def test_a_folder_that_lacks_some_files_is_told(data):
    put(data / "one/x")
    with pytest.raises(Missing) as error:
        files.find_all("It", {"one": ("x", "y")}, GET, ("", ".gz"))
    assert str(error.value) == (
        f"It is not here; expected x, y (or *.gz) in {data}/one ({data}/one lacks y); {GET}"
    )


def test_a_file_is_read_packed_or_not(tmp_path):
    assert files.read(put(tmp_path / "x", b"content")) == b"content"
    assert files.read(put(tmp_path / "x.gz", gzip.compress(b"content"))) == b"content"


@pytest.mark.parametrize(
    "broken",
    [
        gzip.compress(b"content")[:-4],
        b"content",
        gzip.compress(bytes(range(256)))[:20] + b"\xff" * 300,
    ],
    ids=["cut short", "not gzip", "overwritten"],
)
def test_a_broken_gzip_file_is_named(tmp_path, broken):
    path = put(tmp_path / "x.gz", broken)
    with pytest.raises(BenchError, match=f"{path} cannot be unpacked: .*delete it and get it"):
        files.read(path)


def test_what_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(BenchError, match=f"{tmp_path} cannot be read .*a directory"):
        files.read(tmp_path)


def test_a_checksum_is_that_of_the_bytes(tmp_path):
    assert files.sha256(put(tmp_path / "x", b"abc")) == hashlib.sha256(b"abc").hexdigest()


# ---- fetching


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if not self.path.startswith("/cut/"):
            return super().do_GET()
        self.send_response(200)  # promises more than comes
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"few")
        return None

    def log_message(self, *arguments):
        pass


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A server of `web.folder` at `web.url`, which keeps what was `asked`."""
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "web").mkdir()
    handler = partial(Handler, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.folder, server.asked = tmp_path / "web", []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def refused() -> str:
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_a_file_is_fetched_into_its_folder_and_nothing_else(data, web):
    put(web.folder / "x", b"content")
    files.fetch("It", [f"{web.url}/x"], md5(b"content"), data / "it")
    assert {path.name: path.read_bytes() for path in (data / "it").iterdir()} == {"x": b"content"}


def test_of_an_archive_the_files_of_one_folder_are_put_there(data, web):
    packed = archive({"it-1.0/x": b"new", "it-1.0/y": b"new", "other/z": b"new"})
    put(web.folder / "it.tar.gz", packed)
    put(data / "it/x", b"old")
    files.fetch("It", [f"{web.url}/it.tar.gz"], md5(packed), data / "it", unpack="it-1.0")
    assert {p.name: p.read_bytes() for p in (data / "it").iterdir()} == {"x": b"new", "y": b"new"}


def test_of_an_archive_folders_that_are_here_stay_and_the_others_come(data, web):
    packed = archive({"it-1.0/train/x": b"new", "it-1.0/val/y": b"new"})
    put(web.folder / "it.tar.gz", packed)
    put(data / "it/train/x", b"old")
    files.fetch("It", [f"{web.url}/it.tar.gz"], md5(packed), data / "it", unpack="it-1.0")
    assert (data / "it/train/x").read_bytes() == b"old"
    assert (data / "it/val/y").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["../out", "/tmp/out"])
def test_a_member_that_leads_out_of_its_folder_is_refused(data, name):
    packed = put(data / "it.tar.gz", archive({name: b"x"}))
    (data / "into").mkdir()
    if name.startswith("/"):  # it is put below the folder
        files.extract(packed, data / "into")
        assert (data / "into/tmp/out").read_bytes() == b"x"
        return
    with pytest.raises(BenchError, match=r"it.tar.gz holds a member that leads out"):
        files.extract(packed, data / "into")
    assert not (data / "out").exists()


def test_a_download_that_fails_leaves_no_empty_folder(data):
    with pytest.raises(BenchError):
        files.fetch("It", [f"{refused()}/x"], md5(b"content"), data / "it")
    assert not (data / "it").exists()


def test_the_next_address_is_tried_when_one_fails(data, web):
    put(web.folder / "good/x", b"content")
    urls = [f"{refused()}/x", f"{web.url}/none/x", f"{web.url}/cut/x", f"{web.url}/good/x"]
    files.fetch("It", urls, md5(b"content"), data / "it")
    assert (data / "it/x").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("REFUSED/x", "refused"),
        ("WEB/none", "404"),
        ("WEB/cut/x", "corrupted"),
        ("WEB/x", "corrupted"),
        ("http://nobody.invalid/x", "urlopen error"),
    ],
    ids=["a refused connection", "a page that is not there", "a cut", "a checksum", "no such host"],
)
def test_a_failed_download_says_what_failed_and_what_to_do_by_hand(data, web, address, fault):
    put(web.folder / "x", b"something else")
    url = address.replace("WEB", web.url).replace("REFUSED", refused())
    with pytest.raises(BenchError) as error:
        files.fetch("It", [url], md5(b"content"), data / "it")
    message = str(error.value)
    assert message.startswith(f"It could not be downloaded ({url}: ")
    assert fault in message
    assert f"MD5 is {md5(b'content')}; try again, or get it by hand" in message
    assert message.endswith(f"put it into {data}/it")
    assert not (data / "it").exists()


def test_a_folder_that_cannot_be_made_is_an_error_that_says_so(data, web):
    put(web.folder / "x", b"content")
    put(data)  # a file, where the folder should be
    with pytest.raises(BenchError, match=r"could not be downloaded .*Not a directory"):
        files.fetch("It", [f"{web.url}/x"], md5(b"content"), data / "it")


# ---- the downloads of data sets: torchvision's addresses and checksums, turned to the local server

PYTHON = {
    "cifar-10": [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"],
    "cifar-100": ["train", "test", "meta"],
}


@pytest.fixture(params=["mnist", "fashion-mnist", "cifar-10", "cifar-100", "svhn"])
def published(request, web, monkeypatch):
    """A data set whose files are on the server, each holding its own name; and where they belong.

    The names are torchvision's, the addresses and checksums those of the server.
    """
    name = request.param
    component, source = {
        "mnist": (MNIST(), datasets.MNIST),
        "fashion-mnist": (FashionMNIST(), datasets.FashionMNIST),
        "cifar-10": (CIFAR10(), datasets.CIFAR10),
        "cifar-100": (CIFAR100(), datasets.CIFAR100),
        "svhn": (SVHN(), datasets.SVHN),
    }[name]
    if name in PYTHON:
        folder, content = source.base_folder, {file: file.encode() for file in PYTHON[name]}
        packed = archive({f"{folder}/{file}": content[file] for file in content})
        put(web.folder / source.filename, packed)
        monkeypatch.setattr(source, "url", f"{web.url}/{source.filename}")
        monkeypatch.setattr(source, "tgz_md5", md5(packed))
        return component, [f"{folder}/{file}" for file in content]
    if name == "svhn":
        rows = {split: source.split_list[split] for split in ("train", "test")}
        names = [file for _, file, _ in rows.values()]
        table = {s: [f"{web.url}/{f}", f, md5(f.encode())] for s, (_, f, _) in rows.items()}
        monkeypatch.setattr(source, "split_list", table)
    else:
        names = [file for file, _ in source.resources]
        monkeypatch.setattr(source, "resources", [(file, md5(file.encode())) for file in names])
        monkeypatch.setattr(source, "mirrors", [f"{refused()}/", f"{web.url}/"])
    for file in names:
        put(web.folder / file, file.encode())
    return component, [f"{name}/{file}" for file in names]


@pytest.fixture
def only_data(monkeypatch):
    """No package of the system holds a data set."""
    here = tuple(place for place in FashionMNIST.places if not place.startswith("/"))
    monkeypatch.setattr(FashionMNIST, "places", here)


@pytest.mark.usefixtures("only_data")
def test_a_data_set_is_downloaded_to_where_it_is_looked_for(data, web, published):
    component, names = published
    with pytest.raises(Missing, match=r"run with --download, or .*https?://"):
        component.load()
    component.download()
    assert sorted(str(p.relative_to(data)) for p in data.rglob("*") if p.is_file()) == sorted(names)
    assert all((data / name).read_bytes() == Path(name).name.encode() for name in names)
    with pytest.raises(BenchError, match="delete it and get it again") as error:
        component.load()  # found, and refused for what is in it
    assert not isinstance(error.value, Missing)


@pytest.mark.usefixtures("only_data")
def test_nothing_is_asked_for_when_the_files_are_here(data, web, published):
    component, names = published
    for name in names:
        put(data / name)
    component.download()
    assert web.asked == []


@pytest.mark.usefixtures("only_data")
def test_one_missing_file_is_reason_to_download(data, web, published):
    component, names = published
    for name in names[1:]:
        put(data / name)
    component.download()
    assert (data / names[0]).read_bytes() == Path(names[0]).name.encode()


@pytest.mark.usefixtures("only_data")
def test_a_data_set_with_a_wrong_checksum_is_not_kept(data, web, published):
    component, _ = published
    for path in web.folder.iterdir():
        path.write_bytes(b"something else")
    with pytest.raises(BenchError, match=r"could not be downloaded .*corrupted.*by hand and put"):
        component.download()
    assert not [p for p in data.rglob("*") if p.is_file()]


def test_debian_s_package_of_fashion_mnist_needs_no_download(data, web, monkeypatch):
    if not Path(FashionMNIST.places[-1]).exists():
        pytest.skip("dataset-fashion-mnist is not installed")
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [f"{web.url}/"])
    FashionMNIST().download()
    assert web.asked == []
    assert not data.exists()


def test_the_address_that_a_message_names_is_torchvision_s():
    assert datasets.MNIST.mirrors[0] in MNIST.get
    assert os.path.dirname(datasets.CIFAR10.url) == "https://www.cs.toronto.edu/~kriz"
    assert os.path.dirname(datasets.SVHN.split_list["train"][0]) + "/" in _message(SVHN())


def _message(component) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DATA", "/no/where")
        with pytest.raises(Missing) as error:
            component.load()
    return str(error.value)
