"""Options that the commands of evaluation share, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmjrr.evaluation import EvaluationResult

#: Copies of constants whose modules import PyTorch: the parser does without it.
ROTATIONS_6D = ('interleaved', 'columns', 'rows')
GENDERS = ('neutral', 'male', 'female')


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is in a results file and which body is of which frame."""
    from mmjrr.datasets.predictions.layouts import FIELDS, LAYOUTS

    parser.add_argument(
        '--layout', default='auto', choices=['auto', *(layout.name for layout in LAYOUTS)]
    )
    parser.add_argument(
        '--fields',
        nargs='+',
        default=[],
        metavar='FIELD=PATH',
        help="where fields are, as body_pose=out.theta or 'pose=theta[3:75]'; fields: "
        f'{", ".join(FIELDS)}',
    )
    parser.add_argument(
        '--name-format',
        help="image names from frame numbers, as '{folder}_{number:06d}' ({frame} is from 0)",
    )
    parser.add_argument(
        '--rotation-6d',
        choices=ROTATIONS_6D,
        help='how 6D rotations are stored; default: told from the numbers, or from the joints',
    )
    parser.add_argument('--gender', choices=GENDERS, help="in place of the files' own")
    parser.add_argument(
        '--num-betas', type=int, metavar='N', help='use the first N betas of each body only'
    )
    parser.add_argument(
        '--match',
        default='name',
        choices=['name', 'order'],
        help='how bodies find their frames: by image name, or in the order of the annotation',
    )
    parser.add_argument(
        '--person',
        default='nearest',
        metavar='WHICH',
        help="of several in an image: 'nearest' (to the annotated joints), 'largest', or a track",
    )
    parser.add_argument(
        '--metadata',
        metavar='XML',
        help="Human3.6M's metadata.xml, for image names that have a subaction (s_09_act_02_...)",
    )
    parser.add_argument('--unit', default='m', choices=['m', 'mm'], help='of stored vertices')


def reading_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of :func:`mmjrr.evaluate` that :func:`add_reading_options` added."""
    return dict(
        layout=args.layout,
        fields=dict(pair(text, '--fields') for text in args.fields) or None,
        name_format=args.name_format,
        rotation_6d=args.rotation_6d,
        gender=args.gender,
        num_betas=args.num_betas,
        match=args.match,
        person=args.person,
        metadata=args.metadata,
        unit=args.unit,
    )


def add_frame_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that change which frames a protocol counts."""
    parser.add_argument(
        '--subjects',
        nargs='+',
        metavar='SUBJECT',
        help="count these in place of the protocol's (S9 and S11), or 'all'",
    )
    parser.add_argument(
        '--exclude',
        nargs='*',
        metavar='SEQUENCE',
        help="leave these sequences out in place of the protocol's; 'known_bad' for all that are "
        'known to be bad, nothing for none',
    )


def chosen_protocols(
    names: list[str], subjects: list[str] | None = None, exclude: list[str] | None = None
) -> list[str | dict[str, Any]]:
    """Return protocols with the frames of :func:`add_frame_options`."""
    changes: dict[str, Any] = {}
    if subjects is not None:
        changes['subjects'] = 'all' if subjects == ['all'] else subjects
    if exclude is not None:
        changes['exclude_sequences'] = exclude
    return [dict(type=name, **changes) if changes else name for name in names]


def what_was_read(result: EvaluationResult) -> str:
    """Say which layout each file was taken for, and how many frames matched."""
    from mmjrr.datasets.predictions.layouts import BY_WORDS, LAYOUTS

    about = {layout.name: layout.about for layout in (*LAYOUTS, BY_WORDS)}
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for part in result.provenance['predictions']:
        groups.setdefault((part['layout'], part['kind'], *part['notes']), []).append(part)
    lines = []
    for (layout, kind, *notes), parts in groups.items():
        files = (
            ', '.join(part['file'] for part in parts) if len(parts) < 4 else f'{len(parts)} files'
        )
        bodies = sum(part['bodies'] for part in parts)
        how = about.get(layout, 'the fields that were named')
        lines += [f'{files}: {how}; {bodies} bodies, {kind}', *(f'  {note}' for note in notes)]
    annotations, how = result.provenance['annotations'], result.provenance['arguments']['match']
    lines.append(
        f'{result.frames} of {annotations["frames"]} annotated frames have a prediction '
        f'(matched by {how})'
    )
    if annotations['predictions_left_out']:
        lines.append(
            f'{annotations["predictions_left_out"]} predictions are of frames that the protocol '
            'leaves out'
        )
    return '\n'.join(lines)


def named_sets(texts: list[str]) -> dict[str, list[Path]]:
    """Return the files, folders and patterns of each set by its name.

    Raises:
        FileNotFoundError: A file is missing.
    """
    from mmjrr.datasets.predictions.files import result_files

    sets: dict[str, list[Path]] = {}
    unnamed = Path(texts[0]).stem
    for text in texts:
        name, path = (unnamed, text) if Path(text).exists() or '=' not in text else pair(text)
        sets.setdefault(name, []).append(Path(path))
    missing = []
    for file in (file for files in sets.values() for file in files):
        try:
            result_files(file)
        except FileNotFoundError as error:
            missing.append(str(error))
    if missing:
        raise FileNotFoundError('; '.join(missing))
    return sets


def chosen_regressors(
    texts: list[str], joint_order: str | None = None, body_model: str | None = None
) -> list[dict[str, Any]]:
    """Return arguments of :func:`load_regressors`; order and body for files without a sidecar."""
    chosen: list[dict[str, Any]] = []
    for text in texts:
        entry: dict[str, Any] = {'path': text}
        if '=' in text and not Path(text).is_file():
            entry['name'], entry['path'] = pair(text)
        file = Path(entry['path'])
        if file.is_file() and not file.with_suffix('.json').is_file():
            if joint_order is not None:
                entry['joint_order'] = joint_order
            if body_model == 'free_body':
                entry['body_model'] = body_model
        chosen.append(entry)
    return chosen


def pair(text: str, option: str = 'FILE') -> tuple[str, str]:
    """Split ``NAME=VALUE``.

    Raises:
        ValueError: The text is something else.
    """
    name, equals, value = text.partition('=')
    if not (name and equals and value):
        raise ValueError(f'{option}: found {text!r}, expected NAME=VALUE')
    return name, value
