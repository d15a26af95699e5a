"""Names of the release's archives and folders."""

from __future__ import annotations

from pathlib import Path

#: Kinds of archives, and the suffix of the file that each has for every take.
SUFFIXES = dict(D2_Positions='.cdf', D3_Positions_mono='.cdf', Videos='.mp4')

#: Numbers of the subjects in the file names of Human3.6M's website.
_SITE_NUMBERS = dict(S1=1, S7=2, S8=3, S9=4, S11=5, S5=6, S6=7)


def find_source(root: str | Path, subject: str, kind: str) -> Path:
    """Find the folder of a subject's unpacked files, or the archive.

    Known names are those of unpacked archives, of MMPose's script, of h36m-fetch and of the
    website.

    Args:
        root: Folder of the release.
        subject: The subject, such as ``'S1'``.
        kind: ``'D2_Positions'``, ``'D3_Positions_mono'`` or ``'Videos'``.

    Raises:
        FileNotFoundError: There is neither.
    """
    root, number = Path(root), _SITE_NUMBERS[subject]
    poses = kind != 'Videos'
    long = f'Poses_{kind}' if poses else kind
    folders = [f'{subject}/MyPoseFeatures/{kind}', f'{subject}/{long}', f'{subject}/{kind}']
    archives = [
        f'{long}_{subject}.tgz',
        f'{subject.lower()}/{kind}.tgz',
        f'{subject}/{kind}.tgz',
        f'{"Poses/" if poses else ""}{kind}/SubjectSpecific_{number}.tgz',
    ]
    for above in ('', 'extracted'):
        for folder in folders:
            if (root / above / folder).is_dir():
                return root / above / folder
    for above in ('', 'archives', 'original'):
        for archive in archives:
            if (root / above / archive).is_file():
                return root / above / archive
    raise FileNotFoundError(
        f'{root}: found no {kind} of {subject}, expected a folder {folders[0]} or {folders[1]}, or '
        f'an archive {", ".join(archives)}'
    )
