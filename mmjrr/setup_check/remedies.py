"""Commands and pages that provide what is missing."""

from __future__ import annotations

from pathlib import Path

from mmjrr.downloads import FILES, RemoteFile

PREPARE = 'docs/prepare_h36m.md says how to make it'

#: Commands that make datasets, by the name of the folder.
MADE_BY = {
    'synthetic_h36m': 'python tools/dataset_converters/make_synthetic_h36m.py --out {root}',
    'h36m_mini': 'python tools/dataset_converters/h36m_mini.py SRC {root} (docs/real_frames.md)',
}

SEGMENTATION_PACKAGES = 'pip install --no-deps -r requirements/segmentation.txt'


def remedy(path: str | Path, root: str | Path = '', otherwise: str = PREPARE) -> str:
    """Return the command or page that provides a missing file.

    Args:
        path: The file.
        root: Folder of the dataset to which the file belongs.
        otherwise: Command or page for files that this module does not know.
    """
    folder = 'synthetic_h36m' if (Path(root) / 'synthetic.json').is_file() else Path(root).name
    if folder in MADE_BY:
        return MADE_BY[folder].format(root=str(root).rstrip('/'))
    if Path(path).parts[:1] == ('work_dirs',):
        return f'python tools/train.py with the config {Path(path).parts[1]}.py writes it'
    item = next((f for f in FILES.values() if Path(path).as_posix().endswith('/' + f.path)), None)
    return otherwise if item is None else download_command(item, path)


def download_command(item: RemoteFile, path: str | Path) -> str:
    """Return the command or page from which a file is downloaded to a path."""
    if item.url is None:
        return f'get {item.file} from {item.page}, and put it at {path}'
    folder = Path(path).as_posix()[: -len(item.path)].rstrip('/') or '.'
    return f'python tools/download.py {item.name} --into {folder}'
