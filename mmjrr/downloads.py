"""Files of others that mmjrr works with: where they are, what they must be, and fetching them.

What needs registration is not fetched: the entry says which page, which file, and where it goes.
"""

from __future__ import annotations

import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from mmjrr.engine.progress import Progress
from mmjrr.errors import DataError
from mmjrr.io import atomic_write, sha256
from mmjrr.regressors.zoo import ZOO, search_folders

_BLOCK = 1 << 18
_TIMEOUT = 60.0


@dataclass(frozen=True)
class RemoteFile:
    """A file that others publish.

    Args:
        name: what it is called here.
        path: where it goes, under the folder of files.
        about: what it is.
        url: where it is; None where it needs registration, or has no lasting address.
        sha256: its checksum, or how it begins; None where no copy could be verified.
        member: its name inside the archive (tar) that ``url`` gives.
        page: the page to register at, or to get it from.
        file: which file of the page it is.
    """

    name: str
    path: str
    about: str
    url: str | None = None
    sha256: str | None = None
    member: str | None = None
    page: str | None = None
    file: str | None = None


_SPIN = 'http://visiondata.cis.upenn.edu/spin'

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
        ),
        RemoteFile(
            'J_std',
            ZOO['J_std'].filename,
            "SPIN's joint regressor",
            page='https://github.com/nkolot/SPIN#fetch-data',
            file=f'data/{ZOO["J_std"].filename} in {_SPIN}/data.tar.gz',
        ),
        RemoteFile(
            'smpl_mean_params',
            'spin/smpl_mean_params.npz',
            "SPIN's mean parameters",
            f'{_SPIN}/data.tar.gz',
            '6fd6dd687800da946d0a0492383f973b92ec20f166a0b829775882868c35fcdd',
            'data/smpl_mean_params.npz',
        ),
        RemoteFile(
            'spin', 'spin/model_checkpoint.pt', "SPIN's weights", f'{_SPIN}/model_checkpoint.pt'
        ),
        RemoteFile(
            'vibe',
            'vibe/vibe_model_wo_3dpw.pth.tar',
            "VIBE's weights, not trained on 3DPW",
            'https://www.dropbox.com/s/amj2p8bmf6g56k6/vibe_model_wo_3dpw.pth.tar?dl=1',
        ),
        RemoteFile(
            'vibe_w_3dpw',
            'vibe/vibe_model_w_3dpw.pth.tar',
            "VIBE's weights, trained on 3DPW too",
            'https://www.dropbox.com/s/41ozgqorcp095ja/vibe_model_w_3dpw.pth.tar?dl=1',
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
        ),
        RemoteFile(
            'mask_rcnn_torchvision',
            'maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth',
            "torchvision's Mask R-CNN, trained on COCO",
            'https://download.pytorch.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth',
            'bf2d0c1e',
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
) -> Path:
    """Fetch a file, unless it is there; its path.

    What a broken connection or a kill left is continued the next time. The file gets its name when
    it is whole and its checksum holds.

    Args:
        item: what to fetch.
        folder: where to. Default: ``$MMJRR_HOME``, or ``~/.cache/mmjrr``.
        log: takes lines on how far it is.

    Raises:
        DataError: it needs registration, or what came (or what is there) is not the file.
        OSError: it cannot be reached; what came so far is kept.
    """
    target = (Path(folder) if folder is not None else search_folders()[0]) / item.path
    if target.exists():
        if target.is_file():
            _check(item, target, target)
        return target
    if item.url is None:
        raise DataError(
            f'{item.name} ({item.about}) is not fetched: get {item.file} from {item.page}, and put '
            f'it at {target}'
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f'.{target.name}.part')
    _fetch(item.url, part, log)
    if item.member is None:
        _check(item, part, target)
        part.replace(target)
    else:
        with atomic_write(target) as temporary:
            _extract(part, item.member, temporary)
            _check(item, temporary, target)
        part.unlink()
    if item.sha256 is None:
        log(f'{target}: sha256 {sha256(target)} (there is none to compare it with)')
    return target


def _fetch(url: str, part: Path, log: Callable[[str], None]) -> None:
    """Fetch to ``part``, from where it ends."""
    tag = part.with_suffix('.tag')  # which version of the file the part is of
    start = part.stat().st_size if part.is_file() and tag.is_file() else 0
    request = urllib.request.Request(url, headers={'User-Agent': 'mmjrr'})
    if start:
        request.add_header('Range', f'bytes={start}-')
        request.add_header('If-Range', tag.read_text())
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if start and error.code == 416:  # nothing is left, or the part is longer than the file
            part.unlink()
            tag.unlink()
            return _fetch(url, part, log)
        raise OSError(f'{url}: {error.code} {error.reason}') from error
    except urllib.error.URLError as error:
        raise OSError(f'{url}: cannot be reached ({error.reason})') from error
    with answer:
        if answer.status != 206:  # all of it: the file changed, or the server knows no ranges
            start = 0
        version = answer.headers.get('ETag') or answer.headers.get('Last-Modified')
        if version:
            tag.write_text(version)
        else:
            tag.unlink(missing_ok=True)
        length = answer.headers.get('Content-Length')
        total = start + int(length) if length else 0
        size = f'{total / 1e6:.1f} MB' if total else 'of unknown size'
        log(f'{urlparse(url).netloc}: {part.name[1:-5]}, {size}' + (', continued' if start else ''))
        progress = Progress(max(round(total / 1e6), 1), 'MB', log)
        with open(part, 'ab' if start else 'wb') as file:
            while block := answer.read(_BLOCK):
                file.write(block)
                progress(round(file.tell() / 1e6))
            found = file.tell()
    if total and found != total:
        raise OSError(
            f'{url}: the connection ended after {found} of {total} bytes; the same command goes on'
        )
    tag.unlink(missing_ok=True)


def _extract(archive: Path, member: str, target: Path) -> None:
    """One file of a tar archive; nothing else of it is written."""
    try:
        with tarfile.open(archive) as tar:
            source = tar.extractfile(member)
            if source is None:
                raise DataError(f'{archive}: {member} is not a file')
            with source, open(target, 'wb') as file:
                shutil.copyfileobj(source, file)
    except KeyError as error:
        raise DataError(f'{archive}: has no {member}') from error
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f'{archive}: not a readable tar archive ({error})') from error


def _check(item: RemoteFile, path: Path, target: Path) -> None:
    """Refuse what is not the file; what came is removed, what was there is not."""
    if item.sha256 is None:
        return
    found = sha256(path)
    if not found.startswith(item.sha256):
        if path != target:
            path.unlink()
        raise DataError(
            f'{target}: is not {item.name} ({item.about}): sha256 {found}, expected {item.sha256}'
            + ('' if path != target else '; move it away to fetch the right one')
        )
