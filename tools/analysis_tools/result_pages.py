"""Keep the numbers of the pages in files, and write them into the pages.

    python tools/analysis_tools/result_pages.py collect work_dirs/results
    python tools/analysis_tools/result_pages.py write

``collect`` takes the summaries of demos and the records of benchmarks under a folder (``make
results`` makes them) into ``docs/results/``, each with commit, date, machine and versions. Counts
of ``make kills`` and ``make fuzz`` under ``work_dirs`` are collected in the same way.
Refinements of the four real frames are work directories below ``real_frames/``.
``write`` renders them between the markers of the pages:

    <!-- results: NAME -->
    <!-- end of results -->

NAME is a key of ``TABLES``, followed by arguments of the table where it takes any. ``results?:``
marks a table of results that need not be there; the page then says that they are not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'docs' / 'results'
#: Folders of RESULTS.
KINDS = (
    'demo', 'benchmarks', 'mappings', 'experiments', 'training', 'mask_errors', 'mask_shapes',
    'label_offset_errors', 'label_offset_effect', 'uncertainty', 'real_frames', 'detector_masks',
    'kills', 'fuzz',
)  # fmt: skip
BLOCK = re.compile(r'(<!-- results(\??): ([^\n]+?) -->\n)(.*?)(<!-- end of results -->)', re.DOTALL)
NOT_MEASURED = 'Not measured.'
#: Side in pixels of the crops in which silhouettes and projected joints are compared.
CROP_SIZE = 224
REGRESSORS = ('J_std', 'J_spin', 'J_opt')

Run = dict[str, Any]


class MissingResultError(ValueError):
    """An error for a table of results that were not collected."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    collecting = commands.add_parser('collect', help='take results into docs/results/')
    collecting.add_argument('folder', type=Path, help='folder whose subfolders hold the results')
    collecting.add_argument('--commit', help='commit that made them (default: the present one)')
    collecting.add_argument(
        '--add', action='store_true', help='keep the seeds of experiments that the folder lacks'
    )
    commands.add_parser('write', help='write docs/results/ into the pages')
    args = parser.parse_args()
    if args.command == 'collect':
        commit = args.commit or present_commit()
        if commit.endswith('-dirty'):
            parser.error(f'{ROOT}: found uncommitted changes; commit them, or pass --commit')
        names = collect(args.folder, commit, args.add)
        if not names:
            parser.error(f'{args.folder}: found no summary.json of a demo and no benchmarks/*.json')
        print('collected: ' + ', '.join(names))
    else:
        for page in write_pages(read_results()):
            print(f'written: {page.relative_to(ROOT)}')


# -- collecting ------------------------------------------------------------------------------


def collect(folder: Path, commit: str, add: bool = False) -> list[str]:
    """Copy results from work directories to ``docs/results/``, with their provenance.

    Args:
        folder: The folder whose subfolders hold the results.
        commit: The commit that made them.
        add: Whether experiments keep the seeds of earlier collections that the folder lacks.

    Returns:
        The names of the results.
    """
    of_now = provenance(commit)
    names = []
    for path in sorted(folder.glob('*/summary.json')):
        summary = json.loads(path.read_text())
        _write(RESULTS / 'demo' / f'{path.parent.name}.json', {**of_now, **summary})
        names.append(path.parent.name)
    for path in sorted((folder / 'benchmarks').glob('*.json')):
        record = json.loads(path.read_text())
        if 'tables' in record:
            kept = {key: record[key] for key in ('title', 'machine', 'tables', 'targets', 'notes')}
            kept['versions'] = {k: v for k, v in kept['machine'].items() if k in _VERSIONS}
            # A GPU's record comes from another machine, and holds its commit.
            of_record = {'commit': record.get('commit', commit), 'machine': _machine_of(record)}
            _write(RESULTS / 'benchmarks' / path.name, {**kept, **of_now, **of_record})
            names.append(path.stem)
    for kind in (
        'mappings',
        'training',
        'mask_errors',
        'mask_shapes',
        'label_offset_errors',
        'label_offset_effect',
        'uncertainty',
        'detector_masks',
    ):
        for path in sorted((folder / kind).glob('*.json')):
            _write(RESULTS / kind / path.name, {**json.loads(path.read_text()), **of_now})
            names.append(path.stem)
    for path in sorted((folder / 'real_frames').glob('*/refinement.json')):
        record = real_frame_errors(path.parent)
        _write(RESULTS / 'real_frames' / f'{path.parent.name}.json', {**record, **of_now})
        names.append(path.parent.name)
    for kind in ('kills', 'fuzz'):  # their records say when and on what they were made
        for path in sorted((folder / kind).glob('*.json')):
            _write(RESULTS / kind / path.name, json.loads(path.read_text()))
            names.append(path.stem)
    cells: dict[str, list[Run]] = {}
    for path in sorted((folder / 'cells').glob('*.json')):
        cell = json.loads(path.read_text())
        cells.setdefault(cell['experiment'], []).append(cell)
    for name, runs in cells.items():
        if any(run['settings'] != runs[0]['settings'] for run in runs):
            raise ValueError(f'{folder / "cells"}: {name}: found seeds with different settings')
        shared = {key: runs[0][key] for key in ('settings', 'config', 'versions')}
        kept = [
            {key: run[key] for key in _OF_CELLS if key in run} | dict(balance=_balance(run))
            for run in runs
        ]
        machine = ', '.join(sorted({run['device'] for run in runs}))
        content = {**of_now, **shared, 'machine': machine, 'cells': kept}
        path = RESULTS / 'experiments' / f'{name}.json'
        if add and path.is_file():
            content = _with_earlier_seeds(content, json.loads(path.read_text()), path)
        _write(path, content)
        names.append(name)
    return names


def real_frame_errors(work_dir: Path) -> Run:
    """Read from a work directory how far a refinement of few frames met joints and masks.

    Args:
        work_dir: Work directory of ``tools/train.py`` with a finished refinement.

    Returns:
        ``config``, ``weights`` of the terms, ``versions``, and by image name under ``frames`` the
        values ``joints_mm``, the root mean square over the 17 joints of the pelvis-aligned
        distances between regressed and annotated joints, ``joints_2d_px``, that of projected joints
        in pixels of the crop, and ``iou`` with the mask. Each is a pair: before and after
        refinement.
    """
    from mmjrr.io import read_json, read_npz
    from mmjrr.joints import H36M_JOINTS_MMPOSE

    summary = read_json(work_dir / 'refinement.json')
    count = len(H36M_JOINTS_MMPOSE)
    frames: dict[str, Run] = {}
    for path in sorted((work_dir / 'pseudo_gt').glob('batch_*.npz')):
        shard = read_npz(path)
        for row, name in enumerate(shard['imgname'].tolist()):

            def pair(key: str, row: int = row, shard: Mapping[str, Any] = shard) -> list[float]:
                return [float(shard[prefix + key][row]) for prefix in ('init_', '')]

            frames[name] = {
                'joints_mm': [
                    round(1000 * (energy / count) ** 0.5, 2) for energy in pair('energy_joint_3d')
                ],
                'joints_2d_px': [
                    round(CROP_SIZE * (energy / count) ** 0.5, 2)
                    for energy in pair('energy_joint_2d')
                ],
                'iou': [round(iou, 4) for iou in pair('iou')],
            }
    return {
        'config': Path(summary['provenance']['config']).name,
        'versions': summary['provenance']['versions'],
        'weights': {name: round(w, 3) for name, w in summary['term_weights'].items()},
        'frames': dict(sorted(frames.items())),
    }


def _with_earlier_seeds(content: Run, earlier: Run, path: Path) -> Run:
    """Add the seeds that an earlier collection of an experiment has besides.

    Raises:
        ValueError: The earlier seeds were run with other settings.
    """
    seeds = {cell['seed'] for cell in content['cells']}
    cells = [cell for cell in earlier['cells'] if cell['seed'] not in seeds]
    if not cells:
        return content
    if _set(earlier['settings']) != _set(content['settings']):
        raise ValueError(f'{path}: found seeds with different settings')
    kept = {cell['seed'] for cell in cells}
    sources = earlier.get('earlier', [])
    last = {key: earlier[key] for key in ('commit', 'date', 'machine', 'versions')}
    last['seeds'] = kept - {seed for source in sources for seed in source['seeds']}
    sources = [
        {**source, 'seeds': sorted(kept.intersection(source['seeds']))}
        for source in (last, *sources)
    ]
    return {
        **content,
        'cells': sorted([*cells, *content['cells']], key=lambda cell: cell['seed']),
        'earlier': [source for source in sources if source['seeds']],
    }


def _set(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are not empty: an option that came later is empty in its absence."""
    return {key: value for key, value in settings.items() if value}


def _balance(cell: Run) -> list[float]:
    """Return the weighted silhouette term over the weighted joint_3d after each round."""
    refinement = cell['refinement']
    weights = refinement.get('term_weights') or {}
    rounds = (refinement.get('calibration') or {}).get('rounds', [])
    if not {'silhouette', 'joint_3d'} <= set(weights):
        return []
    return [
        round(
            means.get('silhouette_weight', weights['silhouette'])
            * means['silhouette']
            / (weights['joint_3d'] * means['joint_3d']),
            2,
        )
        for means in rounds
    ]


def _machine_of(record: Run) -> str:
    machine = record['machine']
    gpu = f', {machine["gpu"]}' if machine.get('gpu') else ''
    return f'{machine["cpu"]}, {machine["cores"]} cores{gpu}'


#: What is kept of an experiment with one seed.
_OF_CELLS = (
    'seed', 'pseudo_gt', 'regressor_error_mm', 'ablation', 'rounds', 'mask_iou', 'seconds',
    'principal_points_px', 'cameras', 'label_offsets', 'scores', 'parts', 'beyond_limits',
    'deviation_mm',
)  # fmt: skip


_VERSIONS = ('mmjrr', 'python', 'torch', 'numpy', 'scipy', 'numba')


def present_commit() -> str:
    """Return the commit that is checked out, ending in ``-dirty`` if files differ from it."""
    command = ['git', 'describe', '--always', '--dirty']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or 'unknown'


def provenance(commit: str) -> Run:
    """Return a commit with the present date and this machine, for the record of a result."""
    from mmjrr.io.provenance import processor

    return {
        'commit': commit,
        'date': date.today().isoformat(),
        'machine': f'{processor()}, {os.cpu_count()} cores',
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + '\n')


# -- pages -----------------------------------------------------------------------------------


def read_results() -> dict[str, dict[str, Run]]:
    """Return the contents of ``docs/results/`` by kind (``'demo'`` and so on) and name."""
    return {
        kind: {path.stem: json.loads(path.read_text()) for path in _files(kind)} for kind in KINDS
    }


def _files(kind: str) -> list[Path]:
    return sorted((RESULTS / kind).glob('*.json'))


def pages() -> list[Path]:
    """Return the pages that may hold results."""
    paths = [ROOT / 'README.md', *(ROOT / 'docs').glob('*.md'), *(ROOT / 'configs').rglob('*.md')]
    return [page for page in sorted(paths) if BLOCK.search(page.read_text(encoding='utf-8'))]


def write_pages(results: dict[str, dict[str, Run]]) -> list[Path]:
    """Write all results into the pages, and return the pages that changed."""
    changed = []
    for page in pages():
        text = page.read_text(encoding='utf-8')
        filled = fill(text, results)
        if filled != text:
            page.write_text(filled, encoding='utf-8')
            changed.append(page)
    return changed


def fill(text: str, results: dict[str, dict[str, Run]]) -> str:
    """Return a page with its results rendered between the markers.

    Raises:
        ValueError: A marker asks for an unknown table, or for a result that is not there.
    """

    def block(match: re.Match[str]) -> str:
        optional = bool(match[2])
        name, *arguments = match[3].split()
        if name not in TABLES:
            raise ValueError(f'results: found the table {name!r}, expected one of {sorted(TABLES)}')
        try:
            lines = TABLES[name](results, arguments)
        except MissingResultError:
            if not optional:
                raise
            lines = [NOT_MEASURED]
        return match[1] + '\n' + '\n'.join(lines) + '\n\n' + match[5]

    return BLOCK.sub(block, text)


def _runs(results: dict[str, dict[str, Run]], names: Iterable[str]) -> dict[str, Run]:
    chosen: dict[str, Run] = {}
    for name in names:
        matching = [run for run in results['demo'] if re.fullmatch(name.replace('*', '.*'), run)]
        if not matching:
            raise MissingResultError(f'results: docs/results/demo/{name}.json: no such file')
        chosen.update({run: results['demo'][run] for run in matching})
    return chosen


def _provenance(runs: Iterable[Run]) -> str:
    """Return on what the runs were measured, and at which commits on which days."""
    found: dict[str, dict[str, set[str]]] = {}
    for result in runs:
        for run in (result, *result.get('earlier', [])):
            versions = [f'{_TITLES[name]} {run["versions"][name]}' for name in _TITLES]
            days = found.setdefault(', '.join([run['machine'], *versions]), {})
            days.setdefault(run['date'], set()).update(run['commit'].split(' and '))
    lines = []
    for machine, days in sorted(found.items()):
        word = 'commit' if sum(map(len, days.values())) == 1 else 'commits'
        commits = [f'{", ".join(sorted(days[day]))} ({day})' for day in sorted(days)]
        lines.append(f'{machine}, at {word} {", ".join(commits)}')
    return f'*Measured on {"; on ".join(lines)}.*'


_TITLES = {'python': 'Python', 'torch': 'PyTorch', 'numpy': 'NumPy', 'numba': 'Numba'}


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        '| ' + ' | '.join(header) + ' |',
        '|---' * len(header) + '|',
        *('| ' + ' | '.join(row) + ' |' for row in rows),
    ]


def regressor_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Vertex errors, IoU, and distances of the regressors from the true one.

    The default demo has its time too. The others were not timed on cores that did nothing else.
    """
    runs = _runs(results, names)
    timed = all(name.startswith('four_views') for name in runs)
    rows = []
    for name, run in runs.items():
        fits, errors = run['pseudo_gt'], run['regressor_error_mm']
        rows.append(
            [
                name.replace('_', ' '),
                f'{fits["pve_init_mm"]:.1f} → {fits["pve_opt_mm"]:.1f}',
                f'{fits["iou_init"]:.3f} → {fits["iou_opt"]:.3f}',
                *(f'{errors[key]:.1f}' for key in (*REGRESSORS, 'floor')),
                *([f'{sum(run["seconds"].values()) / 60:.1f}'] if timed else []),
            ]
        )
    header = ['', 'PVE, mm', 'IoU', *REGRESSORS, 'floor', *(['minutes'] if timed else [])]
    return [*_table(header, rows), '', _provenance(runs.values())]


#: Rows of ``summary_table``: experiments, or patterns of demos, with title and page.
SUMMARY_ROWS: dict[str, tuple[str, str]] = {
    r'four_views_\d': ('four views, exact masks: `make demo`', 'results.md#several-views'),
    'masks-head-h36m': (
        "masks of a 28×28 mask head, Human3.6M's options",
        'experiments.md#priors-of-poses',
    ),
    'moments-40-h36m': (
        'the same, 160 moments, of which 40 are calibrated',
        'experiments.md#moments-of-the-calibration',
    ),
    'masks-network-priors': (
        'masks of a small Mask R-CNN, with priors of poses',
        'experiments.md#priors-of-poses',
    ),
    'masks-longest-sharp-lens': (
        'masks of that network, trained twenty times as long',
        'experiments.md#networks-that-are-trained-for-longer',
    ),
    'one-view': ('one view, exact masks', 'experiments.md#one-view'),
    'offsets-head': (
        "label offsets fitted, a mask head's masks",
        'experiments.md#label-offsets',
    ),
    'clothes-h36m': (
        "clothes of some 10 mm, a mask head's masks, Human3.6M's options",
        'experiments.md#outside-the-models-world',
    ),
    'anny-clothes-h36m': (
        "Anny's people in clothes, a mask head's masks, Human3.6M's options",
        'experiments.md#people-of-another-body-model',
    ),
    'cameras-off': (
        'principal points off by 5 px per axis',
        'experiments.md#outside-the-models-world',
    ),
    'cameras-off-corrected': ('the same, corrected', 'experiments.md#outside-the-models-world'),
    'late-camera': ('one camera of four 20 ms late', 'experiments.md#outside-the-models-world'),
}


def summary_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Tabulate the main errors of experiments and demos for the README, means (and largest).

    Without names, the rows are those of ``SUMMARY_ROWS``.
    """
    rows = []
    for name in names or SUMMARY_ROWS:
        title, page = SUMMARY_ROWS[name]
        if name in results['experiments']:
            cells = results['experiments'][name]['cells']
            calibration = results['experiments'][name]['settings']['calibration'] or {}
        else:
            cells, calibration = list(_runs(results, [name]).values()), {}
        fits = [cell['pseudo_gt'] for cell in cells]
        errors = [cell['regressor_error_mm'] for cell in cells]
        offsets = ''
        if calibration.get('label_offsets'):
            found = [error for cell in cells for error in cell['label_offsets']['error_mm']]
            offsets = _summary(found)
        rows.append(
            [
                f'[{title}](docs/{page})',
                f'{fmean(fit["pve_init_mm"] for fit in fits):.1f} → '
                + _summary([fit['pve_opt_mm'] for fit in fits]),
                *(_summary([error[key] for error in errors]) for key in REGRESSORS[1:]),
                _summary([error['J_opt'] - error['floor'] for error in errors]),
                offsets,
            ]
        )
    header = ['', 'PVE, mm', *REGRESSORS[1:], 'above the floor', 'ankle offsets']
    return [*_table(header, rows), '', '*Machines, versions and commits: on the linked pages.*']


def round_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Vertex error and error of the regressor after each round of the calibration."""
    runs = _runs(results, names)
    count = max(len(run['rounds']) for run in runs.values())
    rows = [
        [
            name.replace('_', ' '),
            *(
                f'{errors["pve_mm"]:.1f} / {errors["regressor_error_mm"]:.1f}'
                for errors in run['rounds']
            ),
            *[''] * (count - len(run['rounds'])),
            f'{run["regressor_error_mm"]["floor"]:.1f}',
        ]
        for name, run in runs.items()
    ]
    header = ['', *(f'round {number}' for number in range(1, count + 1)), 'floor']
    return [*_table(header, rows), '', _provenance(runs.values())]


def plausibility_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Errors of the feet, and distances of poses from true ones."""
    runs = _runs(results, names)
    rows = []
    for name, run in runs.items():
        more, errors = run['ablation'], run['regressor_error_mm']
        rows.append(
            [
                name.replace('_', ' '),
                f'{more["feet_pve_init_mm"]:.1f} → {more["feet_pve_opt_mm"]:.1f}',
                f'{more["pose_distance_init_deg"]:.2f} → {more["pose_distance_opt_deg"]:.2f}',
                f'{errors["J_opt"] / errors["J_spin"]:.2f}',
            ]
        )
    header = ['', 'PVE of the feet, mm', 'pose distance, degrees', 'J_opt / J_spin']
    return [*_table(header, rows), '', _provenance(runs.values())]


def estimator_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """MPJPE / PA-MPJPE of the simulated estimators under each regressor."""
    runs = _runs(results, names)
    rows = [
        [
            name.replace('_', ' '),
            estimator,
            *(f'{row[r]["mpjpe"]:.1f} / {row[r]["pa_mpjpe"]:.1f}' for r in REGRESSORS),
        ]
        for name, run in runs.items()
        for estimator, row in run['table'].items()
    ]
    return [*_table(['', 'estimator', *REGRESSORS], rows), '', _provenance(runs.values())]


def difference_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Differences of J_opt's MPJPE from that under other regressors, with intervals."""
    runs = _uncertainties(results, names)
    first = next(iter(runs.values()))['scores']
    rows = []
    for estimator in first:
        for reference in first[estimator]['differences']:
            of_runs = [run['scores'][estimator]['differences'][reference] for run in runs.values()]
            rows.append(
                [
                    estimator,
                    f'J_opt - {reference}',
                    *(
                        f'{_signed(of["value"])} [{_signed(of["low"])}, {_signed(of["high"])}]'
                        for of in of_runs
                    ),
                    str(sum(of['high'] < 0 for of in of_runs)),
                    str(sum(of['low'] > 0 for of in of_runs)),
                ]
            )
    seeds = [f'seed {run["seed"]}' for run in runs.values()]
    header = ['estimator', 'MPJPE, mm', *seeds, 'lower', 'higher']
    return [*_table(header, rows), '', _provenance(runs.values())]


def _signed(value: float) -> str:
    return f'{round(value, 1) + 0.0:+.1f}'  # zero is added to write no minus sign before a zero


def joint_error_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Distances of joints from the true regressor's, beside radii of a bootstrap over subjects."""
    from mmjrr.joints import H36M_JOINTS_MMPOSE

    runs = _uncertainties(results, names)
    joints = {
        joint.replace('_', ' '): [run['joints'][joint] for run in runs.values()]
        for joint in H36M_JOINTS_MMPOSE
    }
    joints['all joints'] = [one for ones in joints.values() for one in ones]
    rows = []
    for title, ones in joints.items():
        radius, error, floor = (
            _summary([one[key] for one in ones]) for key in ('radius_mm', 'error_mm', 'floor_mm')
        )
        within, floor_within = (
            f'{sum(one[key] <= one["radius_mm"] for one in ones)} of {len(ones)}'
            for key in ('error_mm', 'floor_mm')
        )
        rows.append([title, radius, error, within, floor, floor_within])
    header = [
        '', 'radius, mm', 'error of J_opt, mm', 'within', 'with true bodies, mm', 'within',
    ]  # fmt: skip
    return [*_table(header, rows), '', _provenance(runs.values())]


def _uncertainties(results: dict[str, dict[str, Run]], names: list[str]) -> dict[str, Run]:
    there = {
        name: run
        for name, run in results['uncertainty'].items()
        if any(re.fullmatch(pattern, name) for pattern in names)
    }
    if not there:
        raise MissingResultError(f'results: docs/results/uncertainty: found none of {names}')
    return there


def photograph_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """IoU of a body with the masks of photographs, in views seen and left out."""
    runs = _runs(results, names)
    rows = [
        [
            camera,
            f'{run["reprojection_px"][camera]:.1f}',
            f'{run["recording"]["offsets"][camera]}',
            *('' if row[key] is None else f'{row[key]:.3f}' for key in _PHOTOGRAPH_IOUS),
        ]
        for run in runs.values()
        for camera, row in run['iou'].items()
    ]
    header = [
        'camera', '2D joints off, px', 'late by, frames', 'IoU, four views: initial fit', 'refined',
        'left out: initial fit', 'refined',
    ]  # fmt: skip
    return [*_table(header, rows), '', _provenance(runs.values())]


_PHOTOGRAPH_IOUS = ('initial', 'seen', 'left_out_initial', 'left_out')


def limb_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Limb lengths of a person on photographs over moments."""
    runs = _runs(results, names)
    columns = ('triangulated', 'free_shape', 'shared_shape')
    rows = [
        [limb.replace('_', ' '), *(f'{row[key][0]:.0f} ± {row[key][1]:.1f}' for key in columns)]
        for run in runs.values()
        for limb, row in run['limbs_mm'].items()
    ]
    header = ['limb, mm', 'triangulated joints', 'a shape of each moment', 'one shape']
    return [*_table(header, rows), '', _provenance(runs.values())]


def real_frame_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Joint errors and IoU of refinements of the real frames, before and after, and by frame."""
    runs = _real_frames(results, names)
    rows = []
    for name, run in runs.items():
        frames = run['frames'].values()
        joints, joints_2d = (
            [(fmean(frame[key][when] ** 2 for frame in frames)) ** 0.5 for when in (0, 1)]
            for key in ('joints_mm', 'joints_2d_px')
        )
        iou = [fmean(frame['iou'][when] for frame in frames) for when in (0, 1)]
        rows.append(
            [
                f'`{name}`',
                f'{joints[0]:.1f} → {joints[1]:.1f}',
                ', '.join(f'{frame["joints_mm"][1]:.0f}' for frame in frames),
                f'{joints_2d[0]:.1f} → {joints_2d[1]:.1f}',
                f'{iou[0]:.3f} → {iou[1]:.3f}',
                ', '.join(f'{frame["iou"][1]:.2f}' for frame in frames),
            ]
        )
    header = ['', 'joints, mm', 'by frame', '2D joints, px', 'IoU', 'by frame']
    return [*_table(header, rows), '', _provenance(runs.values())]


def _real_frames(results: dict[str, dict[str, Run]], names: list[str]) -> dict[str, Run]:
    missing = [name for name in names if name not in results['real_frames']]
    if missing:
        raise MissingResultError(f'results: docs/results/real_frames: found no {missing}')
    return {name: results['real_frames'][name] for name in names}


def real_frame_weight_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Weights of the terms in refinements of the real frames."""
    runs = _real_frames(results, names)
    terms = list(dict.fromkeys(term for run in runs.values() for term in run['weights']))
    rows = [
        [f'`{name}`', *(f'{run["weights"].get(term, 0):.3g}' for term in terms)]
        for name, run in runs.items()
    ]
    return [*_table(['', *(f'`{term}`' for term in terms)], rows), '', _provenance(runs.values())]


def mask_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """IoU of a network's masks with the exact ones."""
    runs = _runs(results, names)
    rows = [
        [name.replace('_', ' '), f'{m["iou_train"]:.3f}', f'{m["iou_test"]:.3f}']
        for name, run in runs.items()
        if 'iou_train' in (m := run['masks'])
    ]
    header = ['', 'IoU with the exact masks, training subjects', 'S9 and S11']
    return [*_table(header, rows), '', _provenance(runs.values())]


def mask_error_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Tabulate what masks miss and add, and where their outlines lie, by part of the body."""
    runs = _found(results, 'mask_errors', names)
    forms = dict(recall='.2f', precision='.2f', offset_px='+.1f', distance_px='.1f')
    rows = []
    for part in runs[0]['parts']:
        ones = [run['parts'][part] for run in runs]
        numbers = [f'{fmean(one[key] for one in ones):{form}}' for key, form in forms.items()]
        rows.append([part, *numbers])
    header = ['', 'recall', 'precision', 'outline: offset, px', 'distance, px']
    return [*_table(header, rows), '', _provenance(runs)]


def mask_shape_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Tabulate the errors of shapes that are fitted to masks alone, means over results.

    A name without the number of its seed stands for the results of all seeds.
    """
    rows, used = [], []
    for name in names:
        runs = [run for key, run in results['mask_shapes'].items() if key.split('-')[0] == name]
        for setting in runs[0]['settings'] if runs else ():
            ones = [run['settings'][setting] for run in runs]
            numbers = [
                f'{fmean(one[key] for one in ones):{form}}'
                for key, form in dict(
                    shape_mm='.1f', common_mm='.1f', stature_mm='+.1f', span_mm='+.1f'
                ).items()
            ]
            rows.append([name, setting, str(len(runs)), *numbers])
        used += runs
    if not rows:
        raise MissingResultError(f'results: docs/results/mask_shapes: found none of {names}')
    header = [
        'masks', 'compared in', 'seeds', 'shape, mm', 'common, mm', 'stature, mm', 'arm span, mm',
    ]  # fmt: skip
    return [*_table(header, rows), '', _provenance(used)]


def label_offset_error_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Tabulate the errors of label offsets on true bodies, by moments and vertex distances."""
    there = _found(results, 'label_offset_errors', names)
    rows = [
        [
            str(row['moments']),
            _distance_in_cm(row['max_vertex_distance']),
            str(row['ankles']),
            f'{row["mean_mm"]:.1f}, {row["largest_mm"]:.1f}',
            f'{row["standard_error_mm"]:.1f}',
            f'{row["rms_in_standard_errors"]:.1f}',
        ]
        for run in there
        for row in run['rows']
    ]
    header = [
        'moments of a subject', 'vertices within', 'ankles', 'error: mean, largest, mm',
        'standard error of an axis, mm', 'error of an axis in standard errors, rms',
    ]  # fmt: skip
    return [*_table(header, rows), '', _provenance(there)]


def label_offset_effect_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Tabulate the effect of label offsets on MPJPE, by seed and estimator, and their errors."""
    there = _found(results, 'label_offset_effect', names)
    titles = list(there[0]['rows'][0]['effects'])
    rows = []
    for run in there:
        for row in run['rows']:
            offsets = row['offsets']
            on_true_bodies = row['offsets_on_true_bodies']['error_mm']
            lengths = [offsets['planted_mm'], offsets['error_mm'], on_true_bodies]
            flagged = [f'{key} {mm:.1f} mm' for key, mm in offsets['others_flagged'].items()]
            effects = [
                [row['effects'][title][key]['all'] for key in ('reported', 'true_bodies', 'truth')]
                for title in titles
            ]
            rows.append(
                [
                    str(row['seed']),
                    *(', '.join(f'{effect:+.2f}' for effect in three) for three in effects),
                    *(f'{fmean(values):.1f}, {max(values):.1f}' for values in lengths),
                    f'{offsets["ankles_flagged"]} of {len(lengths[0])}',
                    ', '.join(flagged) or 'none',
                ]
            )
    first, *others = titles
    header = [
        'seed', f'{first}: reported, on true bodies, truth, mm', *others,
        "ankles' offsets: mean, largest, mm", 'error: mean, largest, mm', 'on true bodies',
        'ankles flagged', 'other joints flagged',
    ]  # fmt: skip
    return [*_table(header, rows), '', _provenance(there)]


def detector_mask_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Overlap of a detector's masks with those of a data set, in place and shifted, by image."""
    there = _found(results, 'detector_masks', names)
    rows = [
        [
            Path(name).stem,
            f'{row["iou"]:.3f}',
            '{:+d}, {:+d}'.format(*row['shift_px']),
            f'{row["iou_shifted"]:.3f}',
            '{:+d}, {:+d}'.format(*row['edge_shift_px']),
            f'{row["iou_with_itself"]:.3f}',
        ]
        for run in there
        for name, row in run['images'].items()
    ]
    means = [
        f'{fmean(row[key] for run in there for row in run["images"].values()):.3f}'
        for key in ('iou', 'iou_shifted', 'iou_with_itself')
    ]
    rows.append(['mean', means[0], '', means[1], '', means[2]])
    header = [
        'image', 'IoU', 'best shift: x, y, px', 'IoU after it', 'shift onto edges: x, y, px',
        "map's IoU with itself after it",
    ]  # fmt: skip
    return [*_table(header, rows), '', _provenance(there)]


def _distance_in_cm(meters: float | None) -> str:
    return 'any distance' if meters is None else f'{100 * meters:g} cm'


def mapping_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Errors that mappings between meshes add to the joints of a regressor."""
    rows = []
    for name in names:
        for bodies, error in results['mappings'][name]['errors_mm'].items():
            numbers = (f'{error[key]:.2f}' for key in ('mean', 'aligned', 'largest'))
            rows.append([bodies, str(error['bodies']), *numbers])
    header = ['', 'bodies', 'mean, mm', 'pelvis-aligned, mm', 'largest, mm']
    runs = [results['mappings'][name] for name in names]
    return [*_table(header, rows), '', _provenance(runs)]


def _found(results: dict[str, dict[str, Run]], kind: str, names: list[str]) -> list[Run]:
    """Return the results of a kind that are there; it is an error if there are none."""
    there = [results[kind][name] for name in names if name in results[kind]]
    if not there:
        raise MissingResultError(f'results: docs/results/{kind}: found none of {names}')
    return there


def _experiments(results: dict[str, dict[str, Run]], names: list[str]) -> dict[str, Run]:
    """Return the experiments that were run; it is an error if there are none."""
    there = {name: results['experiments'][name] for name in names if name in results['experiments']}
    if not there:
        raise MissingResultError(f'results: docs/results/experiments: found none of {names}')
    return there


def _summary(values: Sequence[float], digits: int = 1) -> str:
    """Write the mean of values over seeds, and the largest."""
    # Zero is added to write no minus sign before a rounded zero.
    mean, largest = (round(v, digits) + 0.0 for v in (fmean(values), max(values)))
    return f'{mean:.{digits}f}' + (f' ({largest:.{digits}f})' if len(values) > 1 else '')


def experiment_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Vertex error, and the regressor's error above the floor, means (and largest) over seeds."""
    there = _experiments(results, names)
    rows = []
    for name, run in there.items():
        cells = run['cells']
        errors = [cell['regressor_error_mm'] for cell in cells]
        masks = [cell['mask_iou'] for cell in cells if 'mask_iou' in cell]
        cameras = {
            unit: [
                {key: errors[unit] for key, errors in cell['cameras'].items()}
                for cell in cells
                if 'cameras' in cell
            ]
            for unit in ('px', 'degrees', 'mm')
        }
        principal_points = [c['principal_points_px'] for c in cells if 'principal_points_px' in c]
        rows.append(
            [
                name,
                str(len(cells)),
                f'{fmean(masks):.3f}' if masks else '',
                _summary([cell['pseudo_gt']['pve_opt_mm'] for cell in cells]),
                _summary([error['J_opt'] for error in errors]),
                _summary([error['J_opt'] - error['floor'] for error in errors]),
                _before_and_after(cameras['px'] or principal_points, '.1f'),
                _before_and_after(cameras['degrees'], '.2f'),
                _before_and_after(cameras['mm'], '.0f'),
            ]
        )
    header = [
        '', 'seeds', 'masks, IoU', 'PVE, mm', 'J_opt, mm', 'above the floor', 'cameras, px',
        'degrees', 'mm',
    ]  # fmt: skip
    used = [column for column in range(len(header)) if any(row[column] for row in rows)]
    table = _table([header[c] for c in used], [[row[c] for c in used] for row in rows])
    return [*table, '', _provenance(there.values())]


def _before_and_after(errors: Sequence[Mapping[str, float]], form: str) -> str:
    """Write the means of errors before and after; nothing without any."""
    return ' → '.join(
        f'{fmean(error[key] for error in errors):{form}}' for key in ('before', 'after') if errors
    )


def experiment_round_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Vertex error and error of the regressor after each round, means over seeds."""
    return _round_table(_experiments(results, names), with_start=False)


def experiment_start_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Tabulate the same after the errors of the initial fits and of J_spin, means over seeds."""
    return _round_table(_experiments(results, names), with_start=True)


def _round_table(there: dict[str, Run], with_start: bool) -> list[str]:
    def errors_of(cell: Run) -> list[tuple[float, float]]:
        rounds = [(means['pve_mm'], means['regressor_error_mm']) for means in cell['rounds']]
        if not with_start:
            return rounds
        start = cell['pseudo_gt']['pve_init_mm'], cell['regressor_error_mm']['J_spin']
        return [start, *rounds]

    columns = {name: [errors_of(cell) for cell in run['cells']] for name, run in there.items()}
    count = max(len(errors) for cells in columns.values() for errors in cells)
    rows = []
    for name, cells in columns.items():
        row = [name, str(len(cells))]
        for number in range(count):
            of_column = [errors[number] for errors in cells if number < len(errors)]
            means = [fmean(values) for values in zip(*of_column, strict=True)]
            row.append(' / '.join(f'{mean:.1f}' for mean in means))
        rows.append(row)
    numbers = [str(number) for number in range(1, count + 1 - with_start)]
    header = ['', 'seeds', *(['start'] if with_start else []), *numbers]
    return [*_table(header, rows), '', _provenance(there.values())]


def experiment_balance_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Weighted silhouette term over weighted joint_3d after each round, means (and largest)."""
    there = _experiments(results, names)
    there = {name: run for name, run in there.items() if run['cells'][0]['balance']}
    count = max(len(cell['balance']) for run in there.values() for cell in run['cells'])
    rows = []
    for name, run in there.items():
        row = [name, str(len(run['cells']))]
        for number in range(count):
            ones = [c['balance'][number] for c in run['cells'] if number < len(c['balance'])]
            row.append(_summary(ones) if ones else '')
        rows.append(row)
    header = ['', 'seeds', *(str(number) for number in range(1, count + 1))]
    return [*_table(header, rows), '', _provenance(there.values())]


def experiment_part_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Vertex errors by part of the body, means over seeds: fits, shape alone, pose alone."""
    there = {
        name: run
        for name, run in _experiments(results, names).items()
        if any('parts' in cell for cell in run['cells'])
    }
    if not there:
        raise MissingResultError(f'results: docs/results/experiments: {names}: found no parts')

    def mean(run: Run, part: str, key: str) -> str:
        values = [cell['parts'][part][key] for cell in run['cells'] if 'parts' in cell]
        return f'{fmean(values):.1f}'

    first = next(iter(there.values()))
    parts = next(cell['parts'] for cell in first['cells'] if 'parts' in cell)
    rows = [
        [
            part,
            *(
                ' / '.join(mean(run, part, key) for key in ('fits', 'shape', 'pose'))
                for run in there.values()
            ),
            mean(first, part, 'initial'),
        ]
        for part in parts
    ]
    header = ['', *there, 'initial ends']
    return [*_table(header, rows), '', _provenance(there.values())]


def experiment_limit_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """How near free bodies come to people whom they cannot match, means (and largest)."""
    there = {
        name: run
        for name, run in _experiments(results, names).items()
        if all('pve_fitted_mm' in cell['pseudo_gt'] for cell in run['cells'])
    }
    if not there:
        raise MissingResultError(f'results: docs/results/experiments: {names}: found no limits')
    rows = [
        [
            name,
            str(len(run['cells'])),
            *(
                _summary([cell['pseudo_gt'][f'pve_{key}_mm'] for cell in run['cells']])
                for key in ('init', 'posed', 'fitted', 'opt')
            ),
            *(
                _summary([cell['regressor_error_mm'][key] for cell in run['cells']])
                for key in ('J_std', 'nearest', 'floor', 'J_opt')
            ),
        ]
        for name, run in there.items()
    ]
    header = [
        '', 'seeds', 'PVE, mm: initial', 'in true poses', 'fitted', 'refined',
        'regressor, mm: J_std', 'of fitted bodies', 'floor', 'J_opt',
    ]  # fmt: skip
    return [*_table(header, rows), '', _provenance(there.values())]


def experiment_pose_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Frames beyond joint limits, and deviations from uniform motion, means over seeds."""
    there = {
        name: run
        for name, run in _experiments(results, names).items()
        if all('beyond_limits' in cell for cell in run['cells'])
    }
    if not there:
        raise MissingResultError(f'results: docs/results/experiments: {names}: found no poses')
    rows = []
    for name, run in there.items():
        shares = [cell['beyond_limits'] for cell in run['cells']]
        deviations = [cell['deviation_mm'] for cell in run['cells'] if 'deviation_mm' in cell]
        rows.append(
            [
                name,
                str(len(shares)),
                *(f'{fmean(s[key] for s in shares):.1%}' for key in ('true', 'initial', 'refined')),
                *(
                    f'{fmean(d[key] for d in deviations):.1f}' if deviations else ''
                    for key in ('true', 'refined')
                ),
            ]
        )
    header = [
        '', 'seeds', 'beyond limits: true', 'initial', 'refined', 'deviation, mm: true', 'refined'
    ]  # fmt: skip
    used = [column for column in range(len(header)) if any(row[column] for row in rows)]
    table = _table([header[c] for c in used], [[row[c] for c in used] for row in rows])
    return [*table, '', _provenance(there.values())]


def label_offset_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Errors of the ankles' label offsets, and what is flagged, for each seed.

    Without the test's zeros and, where they were measured, with them.
    """
    there = _experiments(results, names)
    rows = []
    for name, run in there.items():
        for cell in run['cells']:
            offsets = cell['label_offsets']
            errors, planted = offsets['error_mm'], offsets['planted_mm']
            delivered = offsets.get('delivered_error_mm')
            flagged = ', '.join(
                f'{key} {mm:.1f} mm' for key, mm in offsets['others_flagged'].items()
            )
            rows.append(
                [
                    name,
                    str(cell['seed']),
                    f'{fmean(planted):.1f}, {max(planted):.1f}',
                    f'{fmean(errors):.1f}, {max(errors):.1f}',
                    f'{fmean(delivered):.1f}, {max(delivered):.1f}' if delivered else '',
                    f'{offsets["ankles_flagged"]} of {len(errors)}',
                    flagged or 'none',
                ]
            )
    header = [
        '', 'seed', 'planted: mean, largest, mm', 'error: mean, largest, mm',
        'zero where not significant', 'ankles flagged', 'other joints flagged',
    ]  # fmt: skip
    return [*_table(header, rows), '', _provenance(there.values())]


def score_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """MPJPE under each regressor, and how far the regressor's errors cancel the bodies'."""
    there = _experiments(results, names)
    rows = []
    for run in there.values():
        cells = [cell['scores'] for cell in run['cells']]
        for title in cells[0]:
            for regressor in cells[0][title]:
                entries = [cell[title][regressor] for cell in cells]
                row = [title, regressor, _summary([entry['mpjpe'] for entry in entries])]
                for part in ('0.75', '0.5', '0.25'):
                    scores = [entry['fractions'][part] for entry in entries if 'fractions' in entry]
                    row.append(f'{fmean(scores):.1f}' if scores else '')
                for key, digits in (('bodies_rms', 1), ('regressor_rms', 1), ('correlation', 2)):
                    present = [entry[key] for entry in entries if key in entry]
                    row.append(f'{fmean(present):.{digits}f}' if present else '')
                rows.append(row)
    header = [
        'estimator', 'regressor', 'MPJPE', '3/4 of the errors', '1/2', '1/4',
        "bodies' errors, rms", "regressor's, rms", 'correlation',
    ]  # fmt: skip
    return [*_table(header, rows), '', _provenance(there.values())]


def training_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Errors of trainings on initial and refined fits, by the regressor of their loss."""
    from mmjrr.cli.compare_training import table_rows

    (record,) = (results['training'][name] for name in names)
    header, rows = table_rows(record['runs'])
    errors = [f'{name.replace("/paper/MPJPE", " MPJPE")}, mm' for name in header[3:]]
    means = ', '.join(f'{fits} {error:.1f}' for fits, error in record['mean_body_pve'].items())
    note = f'The mean of the fits in every test frame, without a network, has the PVE: {means} mm.'
    return [*_table([*header[:3], *errors], rows), '', note, '', _provenance([record])]


def training_seed_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Smallest and largest PVE over the cells of a training comparison, by seed."""
    (record,) = (results['training'][name] for name in names)
    seeds = sorted({run['seed'] for run in record['runs']})
    rows = []
    for seed in seeds:
        cells = [run['metrics'] for run in record['runs'] if run['seed'] == seed]
        errors = [[cell[key] for cell in cells] for key in ('PVE of training frames', 'PVE')]
        rows.append([str(seed), *(f'{min(values):.0f} to {max(values):.0f}' for values in errors)])
    header = ['Seed', 'PVE of training frames, mm', 'PVE, mm']
    return [*_table(header, rows), '', _provenance([record])]


def benchmark_tables(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Tables of benchmarks, each with its provenance."""
    lines: list[str] = []
    for name in names:
        record = _benchmark(results, name)
        lines += [_provenance([record]), '']
        for part in record['tables']:
            lines += [part['caption'], ''] if part['caption'] else []
            lines += [*_table(part['header'], part['rows']), '']
        lines += [note + '\n' for note in dict.fromkeys(record['notes'])]
    return '\n'.join(lines).rstrip().split('\n')


def _benchmark(results: dict[str, dict[str, Run]], name: str) -> Run:
    if name not in results['benchmarks']:
        raise MissingResultError(f'results: docs/results/benchmarks/{name}.json: no such file')
    return results['benchmarks'][name]


def target_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Targets of the benchmarks, and what was measured."""
    rows = [
        [
            *(_plain(target[key]) for key in ('what', 'target', 'measured')),
            'met' if target['met'] else '**not met**',
        ]
        for name in names
        for target in _benchmark(results, name)['targets']
    ]
    return _table(['', 'target', 'measured', ''], rows)


def _plain(text: str) -> str:
    return text.replace('<=', '≤').replace('>=', '≥').replace('|', '/')


def kill_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Kills of each job by the call at which they happen, and how many results are identical."""
    runs = {name: results['kills'][name] for name in results['kills']}
    if not runs:
        raise MissingResultError('results: docs/results/kills: no such file')
    kinds = ('fsync', 'replace', 'unlink', 'random')
    rows = []
    for name, run in runs.items():
        cells = [f'{run[kind]["run"]} of {run[kind]["cases"]}' for kind in kinds[:-1]]
        totals = [
            sum(run[kind][count] for kind in kinds) for count in ('run', 'kills', 'identical')
        ]
        cells += [f'{run["random"]["run"]} ({run["random"]["kills"]})']
        rows.append([name.replace('_', ' '), *cells, str(totals[1]), f'{totals[2]} of {totals[0]}'])
    header = [
        '', 'sides of fsync', 'of replace', 'of unlink', 'runs (and kills) at random', 'kills',
        'identical results',
    ]  # fmt: skip
    return [*_table(header, rows), '', _provenance(runs.values())]


def fuzz_table(results: dict[str, dict[str, Run]], names: list[str]) -> list[str]:
    """Outcomes of randomly changed files before all loaders."""
    runs = results['fuzz']
    if not runs:
        raise MissingResultError('results: docs/results/fuzz: no such file')
    outcomes = ('ok', 'refused', 'raised', 'crash', 'timeout', 'memory')
    rows = [
        [
            str(run['seed']), f'{run["cases"]:,}', str(len(run['loaders'])),
            *(f'{run["outcomes"][outcome]:,}' for outcome in outcomes),
            f'{1000 * run["longest_seconds"]:.0f} ms',
        ]
        for run in sorted(runs.values(), key=lambda run: int(run['seed']))
    ]  # fmt: skip
    header = [
        'seed', 'files', 'loaders', 'read', 'refused', 'other exception', 'crash', 'too long',
        'too much memory', 'longest',
    ]  # fmt: skip
    return [*_table(header, rows), '', _provenance(runs.values())]


TABLES: dict[str, Callable[[dict[str, dict[str, Run]], list[str]], list[str]]] = {
    'summary': summary_table,
    'regressors': regressor_table,
    'rounds': round_table,
    'plausibility': plausibility_table,
    'estimators': estimator_table,
    'differences': difference_table,
    'joint-errors': joint_error_table,
    'masks': mask_table,
    'mask-errors': mask_error_table,
    'mask-shapes': mask_shape_table,
    'experiments': experiment_table,
    'experiment-rounds': experiment_round_table,
    'label-offset-errors': label_offset_error_table,
    'label-offset-effect': label_offset_effect_table,
    'experiment-starts': experiment_start_table,
    'experiment-balance': experiment_balance_table,
    'experiment-parts': experiment_part_table,
    'experiment-limits': experiment_limit_table,
    'experiment-poses': experiment_pose_table,
    'label-offsets': label_offset_table,
    'scores': score_table,
    'real-frames': real_frame_table,
    'real-frame-weights': real_frame_weight_table,
    'detector-masks': detector_mask_table,
    'photographs': photograph_table,
    'limbs': limb_table,
    'benchmarks': benchmark_tables,
    'mappings': mapping_table,
    'targets': target_table,
    'training': training_table,
    'training-seeds': training_seed_table,
    'kills': kill_table,
    'fuzz': fuzz_table,
}


if __name__ == '__main__':
    main()
