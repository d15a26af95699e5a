"""Places of downloaded files, where models are found that are named without a path."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from mmjrr.downloads import FILES, RemoteFile
from mmjrr.regressors.zoo import search_folders

#: Names in :data:`~mmjrr.downloads.FILES` of the released weights, by the model's ``type``.
WEIGHTS_OF = {'SPIN': 'spin', 'VIBE': 'vibe', 'MEVA': 'meva'}


def find_file(item: RemoteFile) -> Path:
    """Return the path of a published file that was downloaded.

    Raises:
        FileNotFoundError: It is in none of the folders; the message says how to get it.
    """
    for folder in search_folders():
        if (folder / item.path).exists():
            return folder / item.path
    folders = ' or '.join(str(folder.absolute()) for folder in search_folders())
    if item.url is None:
        where = f'get {item.file} from {item.page}'
    else:
        where = f"'mmjrr download {item.name}' fetches it"
    raise FileNotFoundError(f'{item.name}: {item.about}: no file {item.path} in {folders}; {where}')


def find_by_url(url: str) -> Path:
    """Return the path of a downloaded file, by its address.

    Raises:
        FileNotFoundError: It is in none of the folders; the message gives the address.
    """
    for item in FILES.values():
        if item.url == url:
            return find_file(item)
    name = url.rpartition('/')[2].partition('?')[0]
    for folder in search_folders():
        if (folder / name).is_file():
            return folder / name
    folders = ' or '.join(str(folder.absolute()) for folder in search_folders())
    raise FileNotFoundError(
        f'no file {name} in {folders}; download {url} into one of them, or give the '
        'path of the file'
    )


def located(path: str) -> Path | None:
    """Return an existing file or folder: the path, or its part after ``data/`` in a known folder.

    The shipped configs name downloaded files as ``data/...``.
    """
    relative = path.removeprefix('data/')
    for candidate in (Path(path), *(folder / relative for folder in search_folders())):
        if candidate.exists():
            return candidate
    return None


def find_weights(cfg: Config, weights: str | None) -> Path:
    """Return the file of the model's weights.

    Raises:
        FileNotFoundError: It does not exist; the message says where to get it.
        ValueError: None is given, and none is known for the model.
    """
    if weights is not None:
        if '://' in weights:
            raise ValueError(f'weights: found {weights}, expected a file: download it first')
        if not Path(weights).is_file():
            raise FileNotFoundError(f'weights: {weights}: no such file')
        return Path(weights)
    stated = cfg.get('load_from') or cfg.model.get('checkpoint')
    if stated is not None:
        return Path(find_named(stated))
    name = WEIGHTS_OF.get(str(cfg.model.type).split('.')[-1])
    if name is None or cfg.model.get('backbone') is not None:
        raise ValueError(
            f'weights: found None, expected a file, since no weights of this {cfg.model.type} are '
            'published'
        )
    return find_file(FILES[name])


def find_named(path: str) -> str:
    """Return an existing file that a config names, searched in the folders of downloads too.

    Raises:
        FileNotFoundError: It does not exist; the message says where to get it.
    """
    existing = located(path)
    if existing is not None:
        return str(existing)
    for item in FILES.values():
        if item.path == path.removeprefix('data/'):
            return str(find_file(item))
    raise FileNotFoundError(f'{path}: no such file')
