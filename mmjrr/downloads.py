"""List of the files that other projects publish and mmjrr uses, and their download.

Files behind registration are not downloaded; their entry names the page, the file and its path.

A downloaded file gets its final name only after these checks: it comes over https, is not larger
than its entry allows, and has the published checksum, or contains the weights that its entry lists.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import ssl
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from mmjrr.errors import DataError
from mmjrr.io import atomic_write, sha256
from mmjrr.jobs.progress import Progress
from mmjrr.regressors.zoo import ZOO, search_folders

_BLOCK = 1 << 18
_TIMEOUT = 60.0
_MB = 10**6


@dataclass(frozen=True)
class RemoteFile:
    """File that another project publishes.

    Args:
        name: Name by which users ask for the file.
        path: Path of the file, relative to the folder of downloads.
        about: Description.
        url: https address; None if the file needs registration or has no permanent address.
        sha256: Checksum or its first digits; None if no copy could be verified.
        member: Name of the file inside the tar archive at ``url``.
        page: Page for registration or manual download.
        file: Name of the file on that page.
        weights: Names of tensors that the file must contain. Needed unless ``sha256`` is complete.
        largest: Largest accepted size in bytes.
    """

    name: str
    path: str
    about: str
    url: str | None = None
    sha256: str | None = None
    member: str | None = None
    page: str | None = None
    file: str | None = None
    weights: tuple[str, ...] = ()
    largest: int = 2000 * _MB


_SPIN_PAGE = 'https://github.com/nkolot/SPIN#fetch-data'
_SPIN = 'https://visiondata.cis.upenn.edu/spin'

#: All files, by name.
FILES: dict[str, RemoteFile] = {
    item.name: item
    for item in (
        RemoteFile(
            'J_opt',
            ZOO['J_opt'].filename,
            'the joint regressor of Hedlin et al., CRV 2022',
            'https://github.com/ubc-vision/joint-regressor-refinement/raw/master/models/'
            'retrained_J_Regressor.pt',
            ZOO['J_opt'].sha256,
            page='https://github.com/ubc-vision/joint-regressor-refinement',
            file='models/retrained_J_Regressor.pt',
            largest=10 * _MB,
        ),
        RemoteFile(
            'J_std',
            ZOO['J_std'].filename,
            "SPIN's joint regressor",
            page=_SPIN_PAGE,
            file=f'data/{ZOO["J_std"].filename} in {_SPIN}/data.tar.gz',
        ),
        RemoteFile(
            'smpl_mean_params',
            'spin/smpl_mean_params.npz',
            "SPIN's mean parameters",
            f'{_SPIN}/data.tar.gz',
            '6fd6dd687800da946d0a0492383f973b92ec20f166a0b829775882868c35fcdd',
            'data/smpl_mean_params.npz',
            page=_SPIN_PAGE,
            file='data/smpl_mean_params.npz in data.tar.gz',
            largest=100 * _MB,
        ),
        RemoteFile(
            'spin',
            'spin/model_checkpoint.pt',
            "SPIN's weights",
            f'{_SPIN}/model_checkpoint.pt',
            page=_SPIN_PAGE,
            file='model_checkpoint.pt',
            weights=('conv1.weight', 'fc1.weight', 'decpose.weight'),
        ),
        RemoteFile(
            'vibe',
            'vibe/vibe_model_wo_3dpw.pth.tar',
            "VIBE's weights, not trained on 3DPW",
            'https://www.dropbox.com/s/amj2p8bmf6g56k6/vibe_model_wo_3dpw.pth.tar?dl=1',
            page='https://github.com/mkocabas/VIBE (lib/utils/demo_utils.py)',
            file='vibe_model_wo_3dpw.pth.tar',
            weights=('encoder.gru.weight_ih_l0', 'regressor.fc1.weight'),
        ),
        RemoteFile(
            'vibe_w_3dpw',
            'vibe/vibe_model_w_3dpw.pth.tar',
            "VIBE's weights, trained on 3DPW too",
            'https://www.dropbox.com/s/41ozgqorcp095ja/vibe_model_w_3dpw.pth.tar?dl=1',
            page='https://github.com/mkocabas/VIBE (lib/utils/demo_utils.py)',
            file='vibe_model_w_3dpw.pth.tar',
            weights=('encoder.gru.weight_ih_l0', 'regressor.fc1.weight'),
        ),
        RemoteFile(
            'meva',
            'meva/model_best.pth.tar',
            "MEVA's weights",
            page='https://github.com/ZhengyiLuo/MEVA (scripts/prepare_data.sh)',
            file='results/meva/train_meva_2/model_best.pth.tar',
        ),
        RemoteFile(
            'mask_rcnn_mmdet',
            'mask_rcnn_r50_fpn_2x_coco.pth',
            "mmdet's Mask R-CNN, trained on COCO",
            'https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/mask_rcnn_r50_fpn_2x_coco/'
            'mask_rcnn_r50_fpn_2x_coco_bbox_mAP-0.392__segm_mAP-0.354_20200505_003907-3e542a40.pth',
            '3e542a40',
            page='https://github.com/open-mmlab/mmdetection (configs/mask_rcnn)',
            file='mask-rcnn_r50_fpn_2x_coco',
            weights=('backbone.conv1.weight', 'roi_head.mask_head.conv_logits.weight'),
        ),
        RemoteFile(
            'mask_rcnn_torchvision',
            'maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth',
            "torchvision's Mask R-CNN, trained on COCO",
            'https://download.pytorch.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth',
            'bf2d0c1e',
            page='https://pytorch.org/vision/stable/models.html',
            file='MaskRCNN_ResNet50_FPN_Weights.COCO_V1',
            weights=(
                'backbone.body.conv1.weight',
                'roi_heads.mask_predictor.mask_fcn_logits.weight',
            ),
        ),
        RemoteFile(
            'smpl',
            'smpl/SMPL_NEUTRAL.pkl',
            'the SMPL body, neutral',
            page='https://smplify.is.tue.mpg.de (registration)',
            file='basicModel_neutral_lbs_10_207_0_v1.0.0.pkl in mpips_smplify_public_v2.zip',
        ),
        RemoteFile(
            'h36m',
            'h36m',
            'Human3.6M in the layout of MMPose',
            page='http://vision.imar.ro/human3.6m (registration), then '
            'https://mmpose.readthedocs.io/en/latest/dataset_zoo/3d_body_keypoint.html',
            file='annotation_body3d/ and images/',
        ),
    )
}


def download(
    item: RemoteFile,
    folder: str | Path | None = None,
    log: Callable[[str], None] = print,
    context: ssl.SSLContext | None = None,
) -> Path:
    """Download a file unless it exists, and return its path.

    After a broken connection or a kill, the next call resumes the download.

    Args:
        item: The file.
        folder: Folder of downloads. Default: None, ``$MMJRR_HOME`` or ``~/.cache/mmjrr``.
        log: Function that receives lines of progress.
        context: TLS context with the trusted certificates. Default: None, the system's.

    Raises:
        DataError: The file needs registration, or the downloaded or existing file is not this one.
        OSError: The download or the write fails; the message says why and what to do.
    """
    target = (Path(folder) if folder is not None else search_folders()[0]) / item.path
    if target.exists():
        if target.is_file():
            try:
                _check(item, target, target)
            except DataError as error:
                raise DataError(f'{error}; move it away to download the right file') from error
        return target
    if item.url is None:
        raise DataError(
            f'{item.name} ({item.about}) cannot be downloaded automatically: '
            f'{by_hand(item, target)}'
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _part(target)
    _fetch(item, target, log, context)
    try:
        _refuse_web_page(item, target)
        if item.member is None:
            _check(item, part, target)
            part.replace(target)
        else:
            with atomic_write(target) as temporary:
                _extract(item, part, temporary)
                _check(item, temporary, target)
    finally:
        part.unlink(missing_ok=True)
    if item.sha256 is None:
        log(f'{target}: sha256 {sha256(target)} (no published checksum to compare it with)')
    return target


def by_hand(item: RemoteFile, target: str | Path) -> str:
    """Return the instruction to get a file by hand and put it at ``target``."""
    return f'get {item.file or item.name} from {item.page or "its page"}, and put it at {target}'


# -- the connection --------------------------------------------------------------------------------


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Redirect handler that refuses addresses other than https."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlparse(newurl).scheme != 'https':
            raise _RedirectError(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _RedirectError(Exception):
    """Error of a redirect to an address that is not https."""


def _part(target: Path) -> Path:
    """Return the file that holds the partial download of ``target``."""
    return target.with_name(f'.{target.name}.part')


def _tag(target: Path) -> Path:
    """Return the file that holds the server's version of the partial download."""
    return _part(target).with_suffix('.tag')


def _fetch(
    item: RemoteFile, target: Path, log: Callable[[str], None], context: ssl.SSLContext | None
) -> None:
    """Download the part of ``target`` that is missing; all of it if the file has changed."""
    url, part, tag = str(item.url), _part(target), _tag(target)
    if urlparse(url).scheme != 'https':
        raise DataError(f'{url}: found another scheme, expected https; {by_hand(item, target)}')
    start = part.stat().st_size if part.is_file() and tag.is_file() else 0
    headers = {'User-Agent': 'mmjrr', 'Accept-Encoding': 'identity'}
    if start:
        headers |= {'Range': f'bytes={start}-', 'If-Range': tag.read_text()}
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _HttpsOnly())
    try:
        answer = opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if start and error.code == 416:  # the part is as long as the file, or longer
                _discard(part, tag)
                _fetch(item, target, log, context)
                return
            raise OSError(f'{url}: {_refusal(item, error, target)}') from error
    except _RedirectError as error:
        raise OSError(
            f'{url}: redirected to {error}, expected https (a login page of the network, perhaps); '
            f'{by_hand(item, target)}'
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise OSError(f'{url}: cannot be reached: {_cause(error)}') from error
    with answer:
        start = _resumed_at(item, answer, start, target)
        total = _announced_size(item, answer, start, target)
        if not start:
            _discard(part, tag)
        version = _version(answer)
        if version:
            tag.write_text(version)
        size = f'{total / _MB:.1f} MB' if total else 'of unknown size'
        log(f'{urlparse(url).netloc}: {part.name[1:-5]}, {size}' + (', continued' if start else ''))
        received = _receive(item, answer, target, start, total, log)
    if total is not None and received != total:
        raise OSError(
            f'{url}: the connection ended after {received} of {total} bytes; run the same command '
            'again to continue'
        )
    tag.unlink(missing_ok=True)


def _resumed_at(item: RemoteFile, answer: Any, start: int, target: Path) -> int:
    """Return the offset of the answer's first byte: ``start``, or 0 if it is the whole file.

    Raises:
        OSError: The answer holds another range than the requested one, or another version.
    """
    tag = _tag(target)
    encoding = answer.headers.get('Content-Encoding', 'identity')
    if encoding != 'identity':
        raise OSError(
            f'{item.url}: found Content-Encoding {encoding}, expected none; {by_hand(item, target)}'
        )
    if answer.status == 200:  # the file has changed, or the server does not support ranges
        return 0
    content_range = answer.headers.get('Content-Range', '')
    matched = re.fullmatch(r'bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)', content_range)
    version = _version(answer)
    if (
        answer.status != 206
        or not start
        or not matched
        or int(matched[1]) != start
        or (matched[3] != '*' and int(matched[2]) + 1 != int(matched[3]))
        or version not in (None, tag.read_text())
    ):
        _discard(tag)  # without the tag, the next call starts again
        raise OSError(
            f'{item.url}: found status {answer.status} with Content-Range {content_range!r:.80}, '
            f'expected the bytes from {start} on; run the command again for a new download'
        )
    return start


def _announced_size(item: RemoteFile, answer: Any, start: int, target: Path) -> int | None:
    """Return the size of the whole file from the answer's header; None if it has none.

    Raises:
        OSError: The size is no number, or larger than the entry allows.
    """
    length = answer.headers.get('Content-Length')
    if length is None:
        return None
    if not re.fullmatch(r'\d{1,18}', length):
        raise OSError(f'{item.url}: found Content-Length {length!r:.80}, expected a number')
    total = start + int(length)
    if total > item.largest:
        _discard(_part(target), _tag(target))
        raise OSError(
            f'{item.url}: found {total} bytes, expected at most {item.largest} for {item.about}; '
            f'{by_hand(item, target)}'
        )
    return total


def _receive(
    item: RemoteFile,
    answer: Any,
    target: Path,
    start: int,
    total: int | None,
    log: Callable[[str], None],
) -> int:
    """Append the answer to the partial file, and return its size in bytes.

    Raises:
        OSError: The connection ends early, the file is too large, or the write fails.
    """
    part = _part(target)
    progress = Progress(max(round((total or 0) / _MB), 1), 'MB', log)
    done = start
    with open(part, 'ab' if start else 'wb') as file:
        while True:
            cut: http.client.IncompleteRead | None = None
            try:
                block = answer.read(_BLOCK)
            except http.client.IncompleteRead as error:
                block, cut = error.partial, error
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise OSError(
                    f'{item.url}: the connection ended after {done} bytes: {_cause(error)}; run '
                    'the same command again to continue'
                ) from error
            done += len(block)
            if done > item.largest:
                file.truncate(0)
                raise OSError(
                    f'{item.url}: found more than {item.largest} bytes, expected at most that for '
                    f'{item.about}; {by_hand(item, target)}'
                )
            try:
                file.write(block)
                file.flush()
            except OSError as error:
                raise OSError(
                    f'{part}: cannot be written ({error.strerror}); free disk space, then run the '
                    'same command again to continue'
                ) from error
            if cut is not None:
                raise OSError(
                    f'{item.url}: the connection ended after {done} bytes; run the same command '
                    'again to continue'
                ) from cut
            if not block:
                return done
            progress(round(done / _MB))


def _version(answer: Any) -> str | None:
    """Return an identifier of the file's version on the server: a strong ETag, or its date."""
    tag = answer.headers.get('ETag')
    if tag and not tag.startswith('W/'):
        return tag
    return answer.headers.get('Last-Modified')


def _refusal(item: RemoteFile, error: urllib.error.HTTPError, target: Path) -> str:
    """Describe a server's error, and what to do about it."""
    answer = f'the server answers {error.code} {error.reason}'
    if error.code in (404, 410):
        return f'{answer}: the file is not at this address; {by_hand(item, target)}'
    if error.code in (401, 403, 407):
        return f'{answer}: it refuses the file to this machine; {by_hand(item, target)}'
    if error.code == 429 or error.code >= 500:
        return f'{answer}; run the same command again later'
    return f'{answer}; {by_hand(item, target)}'


def _cause(error: Exception) -> str:
    """Describe briefly why a connection failed, and what to do about it."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return (
            f'its certificate is not trusted ({reason.verify_message}); check the clock, or name '
            "your network's certificates in SSL_CERT_FILE"
        )
    if isinstance(reason, socket.gaierror):
        return 'its name has no address; check the connection and the proxy (https_proxy)'
    if isinstance(reason, TimeoutError):
        return f'no answer in {_TIMEOUT:.0f} seconds; run the same command again later'
    if isinstance(reason, ssl.SSLError):
        return f'no secure connection ({reason.reason}); check the proxy (https_proxy)'
    if isinstance(reason, OSError) and reason.errno is not None:
        return f'{os.strerror(reason.errno)}; check the connection and the proxy (https_proxy)'
    text = ' '.join(str(reason).split())[:120] or 'no text'
    return f'{type(reason).__name__} ({text}); check the connection and the proxy (https_proxy)'


def _discard(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


# -- checks of the downloaded file -----------------------------------------------------------------


def _refuse_web_page(item: RemoteFile, target: Path) -> None:
    """Refuse a web page, such as a login or a notice, that the server sent instead of the file."""
    with open(_part(target), 'rb') as file:
        start = file.read(512)
    if start.lstrip(b'\xef\xbb\xbf \t\r\n').startswith(b'<'):
        raise DataError(
            f'{item.url}: found a web page (a login or a notice, perhaps), expected {item.about}; '
            f'{by_hand(item, target)}'
        )


def _extract(item: RemoteFile, archive: Path, target: Path) -> None:
    """Extract only the file ``item.member`` of a tar archive to ``target``.

    Raises:
        DataError: The archive is damaged, or does not have the file.
    """
    member = str(item.member)
    try:
        with tarfile.open(archive) as tar:
            information = tar.getmember(member)
            if not information.isfile() or information.size > item.largest:
                raise DataError(
                    f'{archive}: {member}: found no file of at most {item.largest} bytes'
                )
            source = tar.extractfile(information)
            assert source is not None  # it is a file
            with source, open(target, 'wb') as file:
                shutil.copyfileobj(source, file)
    except KeyError as error:
        raise DataError(f'{archive}: has no {member}') from error
    except DataError:
        raise
    except Exception as error:  # a broken archive raises nearly anything
        raise DataError(f'{archive}: not a readable tar archive ({error})') from error


def _check(item: RemoteFile, path: Path, target: Path) -> None:
    """Check a file's checksum and that it contains the weights of its entry.

    Raises:
        DataError: The file is not ``item``.
    """
    digest = None if item.sha256 is None else sha256(path)
    if digest is not None and not digest.startswith(str(item.sha256)):
        raise DataError(
            f'{target}: is not {item.name} ({item.about}): sha256 {digest}, expected {item.sha256}'
        )
    if not item.weights:
        return
    from mmjrr.io import read_checkpoint, weights_of

    try:
        weights = weights_of(read_checkpoint(path), str(target))
    except DataError as error:
        reason = str(error).replace(str(path), str(target))
        raise DataError(f'{target}: is not {item.name} ({item.about}): {reason}') from error
    plain = {name.removeprefix('module.') for name in weights}
    missing = [name for name in item.weights if name not in plain]
    if missing:
        raise DataError(
            f'{target}: is not {item.name} ({item.about}): {len(weights)} weights, without '
            f'{", ".join(missing)}'
        )
