"""Fetching files from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mmjrr.downloads import FILES, RemoteFile, download
from mmjrr.errors import DataError

CONTENT = bytes(range(256)) * 4000  # 1 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Gives ``files`` by path; ``cut`` ends each answer early; ``asked`` are the ranges."""

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.files: dict[str, bytes] = {'/file': CONTENT}
        self.cut: int | None = None
        self.version = 'one'
        self.ranges = True
        self.asked: list[str | None] = []

    def url(self, path: str = '/file') -> str:
        return f'http://127.0.0.1:{self.server_address[1]}{path}'


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        if self.path not in server.files:
            self.send_error(404)
            return
        content, start = server.files[self.path], 0
        asked = self.headers.get('Range')
        server.asked.append(asked)
        if asked and server.ranges and self.headers.get('If-Range') == f'"{server.version}"':
            start = int(asked.removeprefix('bytes=').rstrip('-'))
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header('ETag', f'"{server.version}"')
        self.send_header('Content-Length', str(len(content) - start))
        self.end_headers()
        end = len(content) if server.cut is None else start + server.cut
        self.wfile.write(content[start:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def item(server: Server, place: str = '/file', **change: object) -> RemoteFile:
    arguments: dict = dict(name='toy', path='sub/toy.bin', about='a toy', sha256=SHA256)
    return RemoteFile(**{**arguments, 'url': server.url(place), **change})


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / 'sub').iterdir())


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    lines: list[str] = []
    path = download(item(server), tmp_path, lines.append)
    assert path == tmp_path / 'sub' / 'toy.bin' and path.read_bytes() == CONTENT
    assert lines == ['127.0.0.1:' + server.url().split(':')[2].split('/')[0] + ': toy.bin, 1.0 MB']
    assert download(item(server), tmp_path) == path and len(server.asked) == 1
    assert leftovers(tmp_path) == ['toy.bin']


def test_a_broken_download_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.cut = 400_000
    for _ in range(2):
        with pytest.raises(OSError):
            download(item(server), tmp_path)
        assert not (tmp_path / 'sub' / 'toy.bin').exists()
    server.cut = None
    assert download(item(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, 'bytes=400000-', 'bytes=800000-']
    assert leftovers(tmp_path) == ['toy.bin']


@pytest.mark.parametrize('ranges', [True, False])
def test_a_file_that_changed_meanwhile_is_fetched_anew(
    server: Server, ranges: bool, tmp_path: Path
) -> None:
    server.cut = 1000
    server.files['/file'] = b'old' * 1000
    with pytest.raises(OSError):
        download(item(server), tmp_path)
    server.cut, server.version, server.ranges = None, 'two', ranges
    server.files['/file'] = CONTENT
    assert download(item(server), tmp_path).read_bytes() == CONTENT


def test_another_file_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    wrong = item(server, sha256='0' * 64)
    with pytest.raises(DataError, match=f'is not toy .*sha256 {SHA256}, expected 0000'):
        download(wrong, tmp_path)
    assert leftovers(tmp_path) == []
    # What the user put there is not removed.
    (tmp_path / 'sub' / 'toy.bin').write_bytes(b'mine')
    with pytest.raises(DataError, match='move it away'):
        download(item(server), tmp_path)
    assert (tmp_path / 'sub' / 'toy.bin').read_bytes() == b'mine'


def test_a_file_without_a_checksum_says_its_own(server: Server, tmp_path: Path) -> None:
    lines: list[str] = []
    download(item(server, sha256=None), tmp_path, lines.append)
    assert SHA256 in lines[-1]
    assert download(item(server, sha256=SHA256[:8], path='sub/b.bin'), tmp_path).is_file()


def test_a_member_of_an_archive_comes_alone(server: Server, tmp_path: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode='w:gz') as tar:
        for name, content in (('../../evil', b'evil'), ('data/toy', CONTENT)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    server.files['/a.tar.gz'] = archive.getvalue()
    path = download(item(server, '/a.tar.gz', member='data/toy'), tmp_path)
    assert path.read_bytes() == CONTENT
    assert leftovers(tmp_path) == ['toy.bin'] and not (tmp_path.parent / 'evil').exists()
    with pytest.raises(DataError, match='has no data/other'):
        download(item(server, '/a.tar.gz', member='data/other', path='sub/o'), tmp_path)
    server.files['/broken'] = archive.getvalue()[:100]
    with pytest.raises(DataError, match='not a readable tar'):
        download(item(server, '/broken', member='data/toy', path='sub/c'), tmp_path)


def test_what_is_not_there_or_needs_registration_is_said(server: Server, tmp_path: Path) -> None:
    with pytest.raises(OSError, match='404'):
        download(item(server, '/nothing'), tmp_path)
    with pytest.raises(OSError, match='cannot be reached'):
        download(RemoteFile('toy', 'toy', '', url='http://127.0.0.1:9/toy'), tmp_path)
    with pytest.raises(DataError, match=r'registration.*SMPL_NEUTRAL\.pkl'):
        download(FILES['smpl'], tmp_path)


def test_the_folder_follows_the_environment(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('MMJRR_HOME', str(tmp_path / 'home'))
    assert download(item(server)) == tmp_path / 'home' / 'sub' / 'toy.bin'


def test_every_file_can_be_had_somehow() -> None:
    for file in FILES.values():
        assert file.url or (file.page and file.file)
        assert not Path(file.path).is_absolute() and '..' not in file.path
