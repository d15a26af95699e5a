"""Options that the evaluation commands share, and their conversion to library arguments."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmjrr.evaluation import EvaluationResult

# Copied from modules that import PyTorch, which the parser must not import.
#: Storage orders of 6D rotations.
ROTATIONS_6D = ('interleaved', 'columns', 'rows')
#: Genders of SMPL's bodies.
GENDERS = ('neutral', 'male', 'female')


def add_annotations(
    parser: argparse.ArgumentParser, note: str = '', required: bool = False
) -> None:
    """Add ``--annotations``.

    Args:
        parser: The parser.
        note: What to add to the help.
        required: Whether the option is required.
    """
    help_text = "MMPose's Human3.6M npz, or the folder with annotation_body3d/fps10/h36m_test.npz"
    parser.add_argument('--annotations', required=required, help=f'{help_text}{note}')


def add_protocols(parser: argparse.ArgumentParser) -> None:
    """Add ``--protocol``, which takes several."""
    from mmjrr.evaluation.protocols import PROTOCOLS

    parser.add_argument(
        '--protocol',
        nargs='+',
        help=f'one or more of {", ".join(PROTOCOLS)} (default: paper)',
    )


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the contents of results files."""
    from mmjrr.datasets.predictions.layouts import FIELDS, LAYOUTS
    from mmjrr.datasets.units import METERS

    parser.add_argument(
        '--layout',
        default='auto',
        choices=['auto', *(layout.name for layout in LAYOUTS)],
        help='layout of the results files (default: recognized from their contents)',
    )
    parser.add_argument(
        '--fields',
        nargs='+',
        default=[],
        metavar='FIELD=PATH',
        help="path of a field in the files, such as body_pose=out.theta or 'pose=theta[3:75]'; "
        f'fields: {", ".join(FIELDS)}',
    )
    parser.add_argument(
        '--name-format',
        help="pattern that makes image names from frame numbers, such as '{folder}_{number:06d}' "
        '({frame} counts from 0)',
    )
    parser.add_argument(
        '--rotation-6d',
        choices=ROTATIONS_6D,
        help='storage order of 6D rotations (default: inferred from the values or the joints)',
    )
    parser.add_argument(
        '--frame-step',
        type=int,
        default=1,
        metavar='N',
        help='video frames from one frame number in the files to the next, if the model saw only '
        'every Nth frame (default: %(default)s)',
    )
    parser.add_argument(
        '--gender', choices=GENDERS, help="gender of the bodies, instead of the files' own"
    )
    parser.add_argument(
        '--num-betas', type=int, metavar='N', help='use only the first N betas of each body'
    )
    parser.add_argument(
        '--unit',
        default='m',
        choices=METERS,
        help='unit of stored vertices and transl (default: %(default)s)',
    )


def file_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of :func:`add_file_options` that :func:`read_predictions` takes."""
    return dict(
        layout=args.layout,
        fields=dict(pair(text, '--fields') for text in args.fields) or None,
        name_format=args.name_format,
        rotation_6d=args.rotation_6d,
        frame_step=args.frame_step,
    )


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the contents of results files, and for matching bodies to frames."""
    add_file_options(parser)
    add_mapping_options(parser)
    parser.add_argument(
        '--match',
        default='name',
        choices=['name', 'order'],
        help='match bodies to frames by image name or by the order of the annotation (default: '
        '%(default)s)',
    )
    parser.add_argument(
        '--person',
        default='nearest',
        metavar='WHICH',
        help="body to take if an image has several: 'nearest' to the annotated joints, 'largest', "
        'or a track (default: %(default)s)',
    )
    parser.add_argument(
        '--metadata',
        metavar='XML',
        help="Human3.6M's metadata.xml, needed for image names with a subaction (s_09_act_02_...)",
    )


def add_mapping_options(parser: argparse._ActionsContainer) -> None:
    """Add the options for predictions of another mesh than the regressors'."""
    parser.add_argument(
        '--mapping',
        metavar='FILE',
        help="mapping to the regressors' mesh, if the predictions are of another one (default: a "
        'known mapping, found by the number of vertices)',
    )
    parser.add_argument(
        '--faces',
        metavar='FILE',
        help="triangles of the predictions' mesh, for a mapping by barycentric coordinates",
    )


def reading_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of :func:`add_reading_options` as arguments of :func:`mmjrr.evaluate`.

    Raises:
        FileNotFoundError: A file that an option names does not exist.
    """
    for option in ('mapping', 'faces', 'metadata'):
        path = getattr(args, option)
        if path is not None and not Path(path).is_file():
            raise FileNotFoundError(f'--{option}: {path}: no such file')
    return dict(
        file_options(args),
        gender=args.gender,
        num_betas=args.num_betas,
        match=args.match,
        person=args.person,
        metadata=args.metadata,
        mapping=args.mapping,
        faces=args.faces,
        unit=args.unit,
    )


def add_frame_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that change which frames a protocol evaluates."""
    parser.add_argument(
        '--subjects',
        nargs='+',
        metavar='SUBJECT',
        help="subjects to evaluate, or 'all' (default: the protocol's, S9 and S11)",
    )
    parser.add_argument(
        '--exclude',
        nargs='*',
        metavar='SEQUENCE',
        help="sequences to exclude, 'known_bad' for all with known errors, or nothing to exclude "
        "none (default: the protocol's)",
    )


def chosen_protocols(
    names: list[str] | None, subjects: list[str] | None = None, exclude: list[str] | None = None
) -> list[str | dict[str, Any]]:
    """Return the protocols, changed as the options of :func:`add_frame_options` say.

    Args:
        names: Their names; None for the paper's.
        subjects: The subjects to evaluate. Default: the protocol's.
        exclude: The sequences to exclude. Default: the protocol's.
    """
    names = ['paper'] if names is None else names
    changes: dict[str, Any] = {}
    if subjects is not None:
        changes['subjects'] = 'all' if subjects == ['all'] else subjects
    if exclude is not None:
        changes['exclude_sequences'] = exclude
    return [dict(type=name, **changes) if changes else name for name in names]


def what_was_read(result: EvaluationResult) -> str:
    """Describe the layout recognized in each file, and how many frames matched."""
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
        described = about.get(layout, 'fields named by --fields')
        lines += [
            f'{files}: {described}; {bodies} bodies, {kind}', *(f'  {note}' for note in notes)
        ]  # fmt: skip
    annotations, match = result.provenance['annotations'], result.provenance['arguments']['match']
    lines.append(
        f'{result.frames} of {annotations["frames"]} annotated frames have a prediction '
        f'(matched by {match})'
    )
    if annotations['predictions_left_out']:
        lines.append(
            f'{annotations["predictions_left_out"]} predictions are of frames that the protocol '
            'excludes'
        )
    return '\n'.join(lines)


def named_sets(texts: list[str]) -> dict[str, list[Path]]:
    """Return the files, folders and patterns of each named set of predictions.

    Files without a name form one set, named after the first of them.

    Raises:
        FileNotFoundError: A file is missing.
    """
    from mmjrr.datasets.predictions.results_files import result_files

    sets: dict[str, list[Path]] = {}
    unnamed = ''
    for text in texts:
        if Path(text).exists() or '=' not in text:
            unnamed = unnamed or Path(text).stem
            name, path = unnamed, text
        else:
            name, path = pair(text)
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
    """Return the regressors as arguments of :func:`mmjrr.evaluation.load_regressors`.

    ``joint_order`` and ``body_model`` apply to files without a sidecar. If all state their order,
    ``joint_order`` applies to all, and loading them refuses another one.
    """
    from mmjrr.regressors.regressor_files import sidecar_of

    chosen: list[dict[str, Any]] = []
    for text in texts:
        entry: dict[str, Any] = {'path': text}
        if '=' in text and not Path(text).is_file():
            entry['name'], entry['path'] = pair(text)
        file = Path(entry['path'])
        sidecar = sidecar_of(file)
        if file.is_file() and not (sidecar is not None and sidecar.is_file()):
            if joint_order is not None:
                entry['joint_order'] = joint_order
            if body_model == 'free_body':
                entry['body_model'] = body_model
        chosen.append(entry)
    if joint_order is not None and not any('joint_order' in entry for entry in chosen):
        chosen = [{**entry, 'joint_order': joint_order} for entry in chosen]
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
