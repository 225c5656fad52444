"""Published archives fetched from a real HTTP server on this machine: resuming, checksums, no network."""

import hashlib
import http.server
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from watchline.data import download
from watchline.data.sources.archives import PUBLISHED, Archive
from watchline.data.sources.base import SourceError

ROOT = Path(__file__).resolve().parents[3]


class Server(http.server.ThreadingHTTPServer):
    """Serves one file; `resumes`: answers a Range; `closes_after`: bytes of a body after which it hangs up once."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.resumes = content, True
        self.closes_after: int | None = None
        self.sent: list[int] = []  # bytes of each answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/x.tar.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.resumes else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, self.server.closes_after = self.server.closes_after, None
        self.server.sent.append(len(body[:cut]))
        self.wfile.write(body[:cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def archive_path(tmp_path: Path) -> Path:
    folder = tmp_path / "made/KuaiX/data"
    folder.mkdir(parents=True)
    (folder / "log.csv").write_text(
        "\n".join(hashlib.sha256(bytes([i % 251, i // 251])).hexdigest() for i in range(3000))
    )
    path = tmp_path / "made/x.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder.parent, arcname="KuaiX")
    return path


@pytest.fixture
def server(archive_path):
    with Server(archive_path.read_bytes()) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "data/raw"


def published(server: Server, md5: str | None = None) -> Archive:
    return Archive(server.url, md5 or hashlib.md5(server.content, usedforsecurity=False).hexdigest(), "x")


def assert_unpacked(folder: Path, archive_path: Path) -> None:
    assert (folder / "KuaiX/data/log.csv").read_bytes() == (archive_path.parent / "KuaiX/data/log.csv").read_bytes()


def test_an_archive_is_fetched_verified_and_unpacked_with_progress(server, raw, archive_path, capsys):
    folder = download.obtain("x.tar.gz", published(server), raw)
    assert folder == raw / "x"
    assert_unpacked(folder, archive_path)
    lines = capsys.readouterr().err.splitlines()
    size = f"{len(server.content) / 1e6:.1f}"
    assert lines[0] == f"x.tar.gz: 0.0 of {size} MB"
    assert lines[-1] == f"x.tar.gz: {size} of {size} MB"


def test_what_is_there_already_is_not_fetched_again(server, raw):
    download.obtain("x.tar.gz", published(server), raw)
    download.obtain("x.tar.gz", published(server), raw)
    assert server.sent == [len(server.content)]


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(server, raw, archive_path):
    server.closes_after = 1000
    with pytest.raises(SourceError, match=r"closed after 1,000 of [\d,]+ bytes; run the same command again"):
        download.obtain("x.tar.gz", published(server), raw)
    assert (raw / "x.tar.gz.part").stat().st_size == 1000
    assert not (raw / "x.tar.gz").exists()
    assert_unpacked(download.obtain("x.tar.gz", published(server), raw), archive_path)
    assert server.sent == [1000, len(server.content) - 1000]


def test_a_server_that_cannot_resume_sends_the_file_anew(server, raw, archive_path):
    raw.mkdir(parents=True)
    (raw / "x.tar.gz.part").write_bytes(b"?" * 700)
    server.resumes = False
    assert_unpacked(download.obtain("x.tar.gz", published(server), raw), archive_path)
    assert server.sent == [len(server.content)]


def test_a_part_that_is_whole_is_verified_without_fetching(server, raw, archive_path):
    raw.mkdir(parents=True)
    (raw / "x.tar.gz.part").write_bytes(server.content)
    assert_unpacked(download.obtain("x.tar.gz", published(server), raw), archive_path)
    assert server.sent == []


def test_another_checksum_is_refused_with_both_sums_and_leaves_nothing_to_resume(server, raw):
    with pytest.raises(SourceError, match=rf"md5 is [0-9a-f]{{32}} .*the published one is {'0' * 32}"):
        download.obtain("x.tar.gz", published(server, "0" * 32), raw)
    assert list(raw.iterdir()) == []


def test_a_file_put_there_by_hand_is_verified_and_unpacked_without_a_network(raw, archive_path):
    raw.mkdir(parents=True)
    (raw / "x.tar.gz").write_bytes(archive_path.read_bytes())
    md5 = hashlib.md5(archive_path.read_bytes(), usedforsecurity=False).hexdigest()
    archive = Archive("http://127.0.0.1:1/x.tar.gz", md5, "x")
    assert_unpacked(download.obtain("x.tar.gz", archive, raw), archive_path)
    with pytest.raises(SourceError, match="the published one is"):
        (raw / "y.tar.gz").write_bytes(b"other")
        download.obtain("y.tar.gz", archive, raw)
    assert (raw / "y.tar.gz").is_file()


def test_without_a_network_the_message_says_which_file_to_put_where(raw):
    archive = Archive("http://127.0.0.1:1/x.tar.gz", "0" * 32, "x")
    with pytest.raises(SourceError, match=rf"no connection .*put it at {raw}/x\.tar\.gz and run the same command"):
        download.obtain("x.tar.gz", archive, raw)


def test_an_address_that_is_gone_is_told_with_the_servers_answer(server, raw):
    server.content = b""
    with pytest.raises(SourceError, match="the server answers 416"):
        download.obtain("x.tar.gz", Archive(server.url, "0" * 32, "x"), raw)


def test_an_archive_whose_member_leads_out_leaves_no_folder_that_passes_for_whole(raw, tmp_path):
    raw.mkdir(parents=True)
    with zipfile.ZipFile(raw / "x.zip", "w") as archive:
        archive.writestr("good.csv", "1")
        archive.writestr("../outside.csv", "2")
    md5 = hashlib.md5((raw / "x.zip").read_bytes(), usedforsecurity=False).hexdigest()
    with pytest.raises(SourceError, match="leads out of the folder"):
        download.obtain("x.zip", Archive("http://127.0.0.1:1/x.zip", md5, "x"), raw)
    assert not (raw / "x").exists()
    assert not list(tmp_path.rglob("outside.csv"))


def test_every_source_has_a_published_archive_with_an_md5():
    for name, _ in download.SOURCES.values():
        assert len(PUBLISHED[name].md5) == 32
        assert PUBLISHED[name].url.startswith("https://zenodo.org/records/")


def test_the_program_lists_the_sources_and_fails_with_one_line(tmp_path):
    command = [sys.executable, "-m", "watchline.data.download"]
    environment = {"PYTHONPATH": str(ROOT / "src")}
    unknown = subprocess.run([*command, "tiktok"], capture_output=True, text=True, env=environment)
    assert unknown.returncode == 2
    assert "kuairand-pure" in unknown.stderr
    (tmp_path / "KuaiRec.zip").write_bytes(b"other")
    wrong = subprocess.run(
        [*command, "kuairec", "--into", str(tmp_path)], capture_output=True, text=True, env=environment
    )
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: ")
    assert PUBLISHED["KuaiRec.zip"].md5 in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1
