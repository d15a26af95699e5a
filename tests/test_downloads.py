"""Fetching files from a server on this machine, over https with a self-made certificate."""

from __future__ import annotations

import hashlib
import io
import re
import socket
import ssl
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

import mmjrr.downloads
from mmjrr.downloads import FILES, RemoteFile, download
from mmjrr.errors import DataError

CERTIFICATE = Path(__file__).parent / 'certificates' / 'loopback.pem'
CONTENT = bytes(range(256)) * 4000  # 1 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()

Answer = Callable[['Handler'], None]


class Server(ThreadingHTTPServer):
    """Serves ``files`` by path, and lets ``answers`` answer; ``asked`` are the ranges asked for."""

    def __init__(self, secure: bool = True) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.scheme = 'https' if secure else 'http'
        if secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.files: dict[str, bytes] = {'/file': CONTENT}
        self.answers: dict[str, Answer] = {}
        self.cut: int | None = None
        self.version = '"one"'
        self.ranges = True
        self.asked: list[str | None] = []

    def url(self, path: str = '/file') -> str:
        return f'{self.scheme}://127.0.0.1:{self.server_address[1]}{path}'

    def handle_error(self, *_: object) -> None:
        pass  # connections that the tests break


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.headers.get('Range'))
        if self.path in server.answers:
            server.answers[self.path](self)
        elif self.path in server.files:
            self.send_file(server.files[self.path])
        else:
            self.send_error(404)

    def send_file(self, content: bytes) -> None:
        server, start = self.server, 0
        asked = self.headers.get('Range')
        if asked and server.ranges and self.headers.get('If-Range') == server.version:
            start = int(asked.removeprefix('bytes=').rstrip('-'))
        if start and start >= len(content):
            self.send_error(416)
            return
        end = len(content)
        headers = {'ETag': server.version, 'Content-Length': str(end - start)}
        if start:
            headers['Content-Range'] = f'bytes {start}-{end - 1}/{end}'
        stop = end if server.cut is None else start + server.cut
        self.send(206 if start else 200, content[start:stop], **headers)

    def send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=partial(server.serve_forever, 0.01), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    yield from serving(Server())


@pytest.fixture
def plain_server() -> Iterator[Server]:
    yield from serving(Server(secure=False))


def fetch(item: RemoteFile, folder: Path | None, log: Callable[[str], None] = print) -> Path:
    return download(item, folder, log, ssl.create_default_context(cafile=CERTIFICATE))


def item(server: Server, place: str = '/file', **change: object) -> RemoteFile:
    arguments: dict = dict(
        name='toy', path='sub/toy.bin', about='a toy', sha256=SHA256, page='PAGE', file='toy.bin'
    )
    return RemoteFile(**{**arguments, 'url': server.url(place), **change})


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / 'sub').iterdir())


# ---------------------------------------------------------------------- whole files, and parts


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    lines: list[str] = []
    path = fetch(item(server), tmp_path, lines.append)
    assert path == tmp_path / 'sub' / 'toy.bin' and path.read_bytes() == CONTENT
    assert lines == [f'127.0.0.1:{server.server_address[1]}: toy.bin, 1.0 MB']
    assert fetch(item(server), tmp_path) == path and len(server.asked) == 1
    assert leftovers(tmp_path) == ['toy.bin']


def test_a_broken_download_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.cut = 400_000
    for total in (400_000, 800_000):
        with pytest.raises(OSError, match=f'ended after {total} .*the same command.*to continue'):
            fetch(item(server), tmp_path)
        assert not (tmp_path / 'sub' / 'toy.bin').exists()
    server.cut = None
    assert fetch(item(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, 'bytes=400000-', 'bytes=800000-']
    assert leftovers(tmp_path) == ['toy.bin']


@pytest.mark.parametrize('ranges', [True, False])
def test_a_file_that_changed_meanwhile_is_fetched_anew(
    server: Server, ranges: bool, tmp_path: Path
) -> None:
    server.cut = 1000
    server.files['/file'] = b'old' * 1000
    with pytest.raises(OSError):
        fetch(item(server), tmp_path)
    server.cut, server.version, server.ranges = None, '"two"', ranges
    server.files['/file'] = CONTENT
    assert fetch(item(server), tmp_path).read_bytes() == CONTENT


def test_a_part_whose_version_is_not_certain_is_not_continued(
    server: Server, tmp_path: Path
) -> None:
    server.cut, server.version = 1000, 'W/"one"'  # a weak tag: equal in meaning, not in bytes
    with pytest.raises(OSError):
        fetch(item(server), tmp_path)
    server.cut = None
    assert fetch(item(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, None]


def test_a_part_longer_than_the_file_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub' / '.toy.bin.part').write_bytes(CONTENT + b'more')
    (tmp_path / 'sub' / '.toy.bin.tag').write_text(server.version)
    assert fetch(item(server), tmp_path).read_bytes() == CONTENT


def test_a_member_of_an_archive_comes_alone(server: Server, tmp_path: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode='w:gz') as tar:
        for name, content in (('../../evil', b'evil'), ('data/toy', CONTENT)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo('data/link')
        link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
        tar.addfile(link)
    server.files['/a.tar.gz'] = archive.getvalue()
    path = fetch(item(server, '/a.tar.gz', member='data/toy'), tmp_path)
    assert path.read_bytes() == CONTENT
    assert leftovers(tmp_path) == ['toy.bin'] and not (tmp_path.parent / 'evil').exists()
    for change, reason in (
        (dict(member='data/other'), 'has no data/other'),
        (dict(member='data/link'), 'data/link: found no file'),
        (dict(member='data/toy', largest=len(CONTENT) - 1), 'found no file of at most 1023999'),
    ):
        with pytest.raises(DataError, match=reason):
            fetch(item(server, '/a.tar.gz', path='sub/o', **change), tmp_path)
    server.files['/broken'] = archive.getvalue()[:100]
    with pytest.raises(DataError, match='not a readable tar'):
        fetch(item(server, '/broken', member='data/toy', path='sub/c'), tmp_path)
    assert leftovers(tmp_path) == ['toy.bin']


def test_the_folder_follows_the_environment(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('MMJRR_HOME', str(tmp_path / 'home'))
    assert fetch(item(server), None) == tmp_path / 'home' / 'sub' / 'toy.bin'


# ---------------------------------------------------------------------- what is not the file


def test_another_file_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    wrong = item(server, sha256='0' * 64)
    with pytest.raises(DataError, match=f'is not toy .*sha256 {SHA256}, expected 0000'):
        fetch(wrong, tmp_path)
    assert leftovers(tmp_path) == []
    # What the user put there is not removed.
    (tmp_path / 'sub' / 'toy.bin').write_bytes(b'mine')
    with pytest.raises(DataError, match='move it away'):
        fetch(item(server), tmp_path)
    assert (tmp_path / 'sub' / 'toy.bin').read_bytes() == b'mine'


def weights(**tensors: torch.Tensor) -> bytes:
    file = io.BytesIO()
    torch.save({'model': {name.replace('_', '.'): value for name, value in tensors.items()}}, file)
    return file.getvalue()


def test_a_file_without_a_checksum_is_read_as_the_weights_it_must_hold(
    server: Server, tmp_path: Path
) -> None:
    server.files['/file'] = weights(fc1_weight=torch.ones(3))
    toy = item(server, sha256=None, weights=('fc1.weight',))
    lines: list[str] = []
    path = fetch(toy, tmp_path, lines.append)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in lines[-1]
    for content, reason in (
        (weights(fc2_weight=torch.ones(3)), 'without fc1.weight'),
        (CONTENT, 'is not toy'),
        (server.files['/file'][:-100], 'is not toy'),  # whole by its length, cut before
    ):
        path.unlink(missing_ok=True)
        server.files['/file'] = content
        with pytest.raises(DataError, match=reason):
            fetch(toy, tmp_path)
        assert leftovers(tmp_path) == []


@pytest.mark.parametrize('start', [b'<!DOCTYPE html>', b'\xef\xbb\xbf\r\n <html>', b'<?xml ?>'])
def test_a_web_page_in_place_of_the_file_is_recognized(
    server: Server, start: bytes, tmp_path: Path
) -> None:
    server.files['/file'] = start + b'please log in'
    with pytest.raises(DataError, match=r'found a web page .*get toy\.bin from PAGE'):
        fetch(item(server), tmp_path)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize('length', [True, False])
def test_more_than_the_file_can_have_is_refused(
    server: Server, length: bool, tmp_path: Path
) -> None:
    headers = {'Content_Length': str(len(CONTENT))} if length else {}
    server.answers['/file'] = lambda handler: handler.send(200, CONTENT, **headers)
    with pytest.raises(OSError, match='found 1024000 bytes' if length else 'more than 1000000'):
        fetch(item(server, largest=1_000_000), tmp_path)
    assert sum(path.stat().st_size for path in (tmp_path / 'sub').iterdir()) == 0


@pytest.mark.parametrize(
    'content_range', ['bytes 0-1023999/1024000', 'bytes 1001-1023999/1024000', 'bytes 1000-5/9', '']
)
def test_a_wrong_range_is_refused_and_fetched_anew(
    server: Server, content_range: str, tmp_path: Path
) -> None:
    server.cut = 1000
    with pytest.raises(OSError):
        fetch(item(server), tmp_path)
    server.cut = None
    server.answers['/file'] = lambda handler: handler.send(
        206, CONTENT[1000:], Content_Range=content_range, Content_Length='1023000'
    )
    with pytest.raises(OSError, match='expected the bytes from 1000 on'):
        fetch(item(server), tmp_path)
    del server.answers['/file']
    assert fetch(item(server), tmp_path).read_bytes() == CONTENT


def test_a_range_of_another_version_is_refused(server: Server, tmp_path: Path) -> None:
    server.cut = 1000
    with pytest.raises(OSError):
        fetch(item(server), tmp_path)
    server.answers['/file'] = lambda handler: handler.send(
        206, CONTENT[1000:], Content_Range='bytes 1000-1023999/1024000', ETag='"two"',
        Content_Length='1023000',
    )  # fmt: skip
    with pytest.raises(OSError, match='expected the bytes from 1000 on'):
        fetch(item(server), tmp_path)


@pytest.mark.parametrize('length', ['-5', 'x', '9' * 5000])
def test_a_length_that_is_no_number_is_refused(server: Server, length: str, tmp_path: Path) -> None:
    server.answers['/file'] = lambda handler: handler.send(200, CONTENT, Content_Length=length)
    with pytest.raises(OSError, match='found Content-Length'):
        fetch(item(server), tmp_path)


def test_packed_content_is_refused(server: Server, tmp_path: Path) -> None:
    server.answers['/file'] = lambda handler: handler.send(200, b'x', Content_Encoding='gzip')
    with pytest.raises(OSError, match='found Content-Encoding gzip, expected none'):
        fetch(item(server), tmp_path)


# ---------------------------------------------------------------------- connections


def test_https_alone_is_fetched(server: Server, plain_server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match='found another scheme, expected https'):
        fetch(item(plain_server), tmp_path)
    for target, reason in (
        (plain_server.url(), f'redirected to {plain_server.url()}, expected https'),
        ('ftp://127.0.0.1/file', 'redirected to ftp://127.0.0.1/file, expected https'),
        ('file:///etc/passwd', "Redirection to url 'file:///etc/passwd' is not allowed"),
    ):
        server.answers['/moved'] = lambda handler, to=target: handler.send(302, b'', Location=to)
        with pytest.raises(OSError, match=reason):
            fetch(item(server, '/moved'), tmp_path)
    assert plain_server.asked == []
    server.answers['/moved'] = lambda handler: handler.send(302, b'', Location=server.url())
    assert fetch(item(server, '/moved'), tmp_path).read_bytes() == CONTENT


def test_a_certificate_of_nobody_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r'certificate is not trusted .*SSL_CERT_FILE'):
        download(item(server), tmp_path)
    assert server.asked == []


@pytest.mark.parametrize(
    ('code', 'advice'),
    [
        (404, r'not at this address; get toy\.bin from PAGE'),
        (403, r'refuses the file to this machine; get toy\.bin from PAGE'),
        (503, 'again later'),
        (418, r'get toy\.bin from PAGE'),
    ],
)
def test_an_error_of_the_server_is_one_sentence(
    server: Server, code: int, advice: str, tmp_path: Path
) -> None:
    server.answers['/file'] = lambda handler: handler.send_error(code)
    with pytest.raises(OSError, match=f'the server answers {code} .*{advice}') as caught:
        fetch(item(server), tmp_path)
    assert '\n' not in str(caught.value)
    if 'PAGE' in advice:
        assert str(caught.value).endswith(f'PAGE, and put it at {tmp_path / "sub" / "toy.bin"}')


def chunked(handler: Handler) -> None:
    handler.protocol_version = 'HTTP/1.1'
    handler.send(200, b'5\r\nhello\r\nff\r\nonly this', Transfer_Encoding='chunked')


def reset(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header('Content-Length', '1000000')
    handler.end_headers()
    handler.wfile.write(CONTENT[:1000])
    # Closing with this option set sends a reset in place of an end.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    handler.connection.close()


def wait(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(CONTENT[:1000])
    threading.Event().wait(1)


@pytest.mark.parametrize(
    ('answer', 'reason'),
    [
        (lambda handler: handler.wfile.write(b'no HTTP\r\n\r\n'), 'cannot be reached'),
        (lambda handler: handler.wfile.write(b'HTTP/1.1 200 OK\r\nA: ' + b'a' * 99999), 'cannot'),
        (lambda handler: handler.connection.close(), 'cannot be reached'),
        (chunked, 'connection ended after 5 bytes|connection ended after 1[0-9] bytes'),
        (lambda handler: handler.send(200, b'zz\r\n', Transfer_Encoding='chunked'), 'ended after'),
        (reset, 'connection ended after|cannot be reached'),
        (wait, 'no answer in'),
    ],
    ids=['no HTTP', 'endless header', 'closed', 'cut chunk', 'bad chunk', 'reset', 'silent'],
)
def test_a_broken_answer_is_one_sentence(
    server: Server, answer: Answer, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmjrr.downloads, '_TIMEOUT', 0.3)
    server.answers['/file'] = answer
    with pytest.raises(OSError, match=reason) as caught:
        fetch(item(server), tmp_path)
    assert str(caught.value).startswith(server.url()) and '\n' not in str(caught.value)
    assert not (tmp_path / 'sub' / 'toy.bin').exists()


def test_a_server_that_is_not_there_is_one_sentence(plain_server: Server, tmp_path: Path) -> None:
    port = plain_server.server_address[1]
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))
        free = closed.getsockname()[1]
    for url, reason in (
        (f'https://127.0.0.1:{free}/x', 'Connection refused; check the connection'),
        (f'https://127.0.0.1:{port}/x', 'no secure connection'),  # speaks http there
        ('https://nowhere.invalid/x', 'its name has no address; check the connection'),
        ('https://127.0.0.1:99999999/x', 'cannot be reached'),
    ):
        with pytest.raises(OSError, match=reason) as caught:
            fetch(item(plain_server, url=url), tmp_path)
        assert str(caught.value).startswith(url) and '\n' not in str(caught.value)


def test_files_that_need_registration_are_named(tmp_path: Path) -> None:
    place = re.escape(str(tmp_path / 'smpl/SMPL_NEUTRAL.pkl'))
    with pytest.raises(DataError, match=f'registration.*, and put it at {place}'):
        download(FILES['smpl'], tmp_path)


@pytest.mark.parametrize('name', FILES)
def test_every_entry_says_where_to_get_the_file_and_how_it_is_known(name: str) -> None:
    entry = FILES[name]
    assert entry.page and entry.file
    assert not Path(entry.path).is_absolute() and '..' not in entry.path
    if entry.url is not None:
        assert entry.url.startswith('https://')
        assert len(entry.sha256 or '') == 64 or entry.weights
