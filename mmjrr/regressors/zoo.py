"""Zoo of known joint regressors and mappings between meshes: files, origins and checksums.

A checksum identifies a regressor, not the name of its file: several different files in circulation
are called "the H36M regressor".
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from mmjrr.errors import DataError

#: Environment variable that names the folder of downloaded files.
HOME_VARIABLE = 'MMJRR_HOME'


@dataclass(frozen=True)
class ZooEntry:
    """Entry of a known regressor.

    Args:
        name: Name by which it is loaded.
        filename: Name of its file, in a folder of :func:`search_folders` or, if ``packaged``, in
            the package.
        joint_order: Order of its rows, a name in :data:`mmjrr.joints.JOINT_ORDERS`.
        body_model: Name of the body whose vertices are its columns.
        source: Sentence that says where to get the file.
        sha256: Checksum of the file; None if no copy could be verified against the source.
        packaged: Whether the file ships with mmjrr.
        carried_from: Name of the entry that is carried to this entry's body by the mapping of
            :func:`mmjrr.regressors.known_mappings.find_mapping`, whose file ``filename`` is.
            Default: None, ``filename`` is the regressor's.
        downloadable: Whether ``mmjrr download NAME`` gets the file.
        provenance: Known facts about its making.
    """

    name: str
    filename: str
    joint_order: str
    body_model: str
    source: str
    sha256: str | None = None
    packaged: bool = False
    carried_from: str | None = None
    downloadable: bool = False
    provenance: dict[str, str] = field(default_factory=dict)

    def check_sha256(self, path: Path, checksum: str) -> None:
        """Check that a file is the one of this entry.

        Args:
            path: The file.
            checksum: Its SHA-256.

        Raises:
            DataError: The file is a different one.
        """
        if self.sha256 is not None and checksum != self.sha256:
            raise DataError(
                f'{path} is not the regressor {self.name!r}: found the sha256 {checksum}, '
                f'expected {self.sha256}. To load this other file, pass its path and joint_order='
            )


#: The known regressors by name.
ZOO: dict[str, ZooEntry] = {}


def register_regressor(entry: ZooEntry, force: bool = False) -> ZooEntry:
    """Add an entry to the zoo, so that ``JointRegressor.load(entry.name)`` finds it.

    Raises:
        ValueError: The zoo has an entry of that name, and ``force`` is False.
    """
    if entry.name in ZOO and not force:
        raise ValueError(f'the zoo has a regressor named {entry.name!r}; force=True replaces it')
    ZOO[entry.name] = entry
    return entry


def search_folders() -> list[Path]:
    """Return the folders to search: ``$MMJRR_HOME`` (default ``~/.cache/mmjrr``), ``./data``."""
    home = os.environ.get(HOME_VARIABLE)
    return [Path(home).expanduser() if home else Path.home() / '.cache' / 'mmjrr', Path('data')]


def is_carried(path_or_name: str | Path) -> bool:
    """Tell whether a name is that of a regressor that a mapping carries to another mesh."""
    entry = ZOO.get(path_or_name) if isinstance(path_or_name, str) else None
    return entry is not None and entry.carried_from is not None


def find_regressor(name: str) -> tuple[ZooEntry, Path]:
    """Return the zoo's entry of a name, and the path of its file, without checking the file.

    Raises:
        KeyError: The zoo has no such name.
        FileNotFoundError: The file is in none of the folders; the message says where to get it.
    """
    if name not in ZOO:
        raise KeyError(f'the zoo has no regressor {name!r}; it has {sorted(ZOO)}')
    entry = ZOO[name]
    if entry.packaged:
        folders = [Path(__file__).parent / 'data']
    else:
        folders = search_folders()
    for folder in folders:
        path = folder / entry.filename
        if path.is_file():
            return entry, path
    download = f'`mmjrr download {name}` gets it. ' if entry.downloadable else ''
    raise FileNotFoundError(
        f'regressor {name!r}: no file {entry.filename!r} in '
        f'{" or ".join(str(folder.absolute()) for folder in folders)}. {download}'
        f'Where to get it: {entry.source} Where to put it: {folders[0] / entry.filename}'
    )


register_regressor(
    ZooEntry(
        name='J_std',
        filename='J_regressor_h36m.npy',
        joint_order='spin',
        body_model='smpl',
        source=(
            "it is part of SPIN's data: https://visiondata.cis.upenn.edu/spin/data.tar.gz "
            '(fetch_data.sh of https://github.com/nkolot/SPIN), data/J_regressor_h36m.npy.'
        ),
        downloadable=True,
        provenance={
            'made_by': 'distributed with SPIN (and GraphCMR), Kolotouros et al. 2019',
            'note': 'checksum unknown: no copy was verified against its source',
        },
    )
)
register_regressor(
    ZooEntry(
        name='J_opt',
        filename='retrained_J_Regressor.pt',
        joint_order='spin',
        body_model='smpl',
        source=(
            'models/retrained_J_Regressor.pt of '
            'https://github.com/ubc-vision/joint-regressor-refinement.'
        ),
        sha256='4ea32d1b3b9a135130722218f87eadfcf78321cf2ca6954e14f780eb9b60d079',
        downloadable=True,
        provenance={
            'made_by': 'Hedlin, Rhodin, Yi, CRV 2022, arXiv:2205.00076',
            'raw': (
                'not usable as released: it has negative weights, and without them its rows sum '
                'to 0.98-2.15; clamped at zero and each row divided by its sum, as loaded here'
            ),
            'training_data': (
                "the authors' public training script draws its batches from the validation "
                'subjects; whether the released file was made so is unknown'
            ),
            'support': (
                "its weights lie on J_std's support, since the authors' ReLU has no gradient at "
                'zero'
            ),
            'footnote': (
                "the released file is J_std reweighted: its weights lie on J_std's support. The "
                'public training script draws its batches from the validation subjects; whether '
                'the file was made so is unknown'
            ),
            'sparsity': (
                'the sparsity mask of the public training script is a no-op: both its branches '
                'are ones'
            ),
        },
    )
)
register_regressor(
    ZooEntry(
        name='J_spin',
        filename='J_spin.npy',
        joint_order='mmpose',
        body_model='smpl',
        source=(
            "the authors released none; a refinement run fits it from SPIN's estimates of the "
            'training images and writes J_spin.npy with its sidecar J_spin.json into its '
            'work_dir.'
        ),
        provenance={'made_by': "fitted from SPIN's estimates to the annotated joints"},
    )
)
register_regressor(
    ZooEntry(
        name='free_body_h36m',
        filename='free_body_h36m.npz',
        joint_order='mmpose',
        body_model='free_body',
        source='it ships with mmjrr; tools/build_free_body_regressor.py rebuilds it.',
        packaged=True,
        provenance={
            'made_by': (
                'hand-made, not learned: joint centers as means of surface rings of the free '
                'body (CC0), tools/build_free_body_regressor.py'
            ),
        },
    )
)


@dataclass(frozen=True)
class KnownMapping:
    """A mapping between meshes that others publish, or that ships with the package.

    Args:
        source: Mesh whose vertices it takes.
        target: Mesh whose vertices it computes.
        filename: Name of its file.
        origin: Where to get the file.
        faces_filename: Name of the file with the source mesh's triangles; None if not needed.
        packaged: Whether the file ships with mmjrr.
    """

    source: str
    target: str
    filename: str
    origin: str
    faces_filename: str | None = None
    packaged: bool = False


#: The known mappings.
KNOWN_MAPPINGS = (
    KnownMapping(
        'smplx',
        'smpl',
        'smplx2smpl_deftrafo_setup.pkl',
        'the transfer data of https://smpl-x.is.tue.mpg.de (registration)',
    ),
    KnownMapping(
        'mhr',
        'smpl',
        'mhr2smpl_mapping.npz',
        'tools/mhr_smpl_conversion/assets of https://github.com/facebookresearch/MHR, with '
        'mhr_face_mask.ply next to it',
        faces_filename='mhr_face_mask.ply',
    ),
    KnownMapping(
        'anny',
        'free_body',
        'anny2free_body.npz',
        'it ships with mmjrr; tools/build_anny_mapping.py rebuilds it',
        packaged=True,
    ),
)


def _register_carried(base: str, mapping: KnownMapping, name: str) -> None:
    """Add the entry of a regressor that is carried by a known mapping."""
    register_regressor(
        ZooEntry(
            name=name,
            filename=mapping.filename,
            joint_order=ZOO[base].joint_order,
            body_model=mapping.source,
            source=f'{mapping.origin}.',
            packaged=mapping.packaged,
            carried_from=base,
        )
    )


for _mapping in KNOWN_MAPPINGS:
    if _mapping.target == 'smpl':
        for _base in ('J_std', 'J_opt'):
            _register_carried(_base, _mapping, f'{_base}_{_mapping.source}')
    else:
        _register_carried('free_body_h36m', _mapping, f'{_mapping.source}_h36m')
