"""The report's page: one HTML file with everything in it."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import FloatArray
from mmjrr.errors import DataError
from mmjrr.evaluation.result import BREAKDOWNS, ERRORS, Score, interval_table
from mmjrr.io import atomic_write, versions
from mmjrr.io.paths import check_suffix
from mmjrr.joints import H36M_BONES, H36M_JOINTS_MMPOSE
from mmjrr.refinement.corrections import CORRECTIONS
from mmjrr.visualization.crops import encode_photo
from mmjrr.visualization.frames import Frame

from .charts import Chart, histogram, line_chart
from .content import Evaluation, Refinement, Report, Truth
from .decimation import CoarseMesh, decimate, encode, encode_faces, whole_mesh
from .weights_picture import joint_table, weights_pictures

#: Vertices of the meshes in the gallery, and number of frames whose meshes are whole.
COARSE_VERTICES = 1500
WHOLE_FRAMES = 10
#: Resolution of stored vertices in meters.
_COARSE_STEP, _WHOLE_STEP = 1e-3, 5e-4
#: Format of label-consistency files, as mmjrr.evaluation.label_consistency writes them.
LABEL_CONSISTENCY = 'mmjrr.label_consistency/1'
#: Names of regressors with a style of their own; others take the next free number.
_STYLES = {'J_std': 0, 'J_spin': 1, 'J_opt': 2}
_NUM_STYLES = 6
_OTHER_ERRORS = {
    'N-MPJPE': 'N-MPJPE: MPJPE after the scale is removed',
    'ACCEL': 'ACCEL: error of the acceleration',
    'PVE': 'PVE: mean distance of vertices from the annotated ones',
    'PA-PVE': 'PA-PVE: PVE after rotation and scale are removed',
}
_SUMMARY = {
    'frames': 'refined frames',
    'frames_expected': 'frames to refine',
    'frames_in_dataset': 'frames of the data set',
    'iou': 'IoU with the masks, after',
    'init_iou': 'IoU with the masks, before',
}
_TERMS = {
    'joint_3d': 'the distance of the joints from the labels in space',
    'joint_2d': 'the distance of the joints from the labels in the image',
    'silhouette': 'the difference between silhouette and mask',
    'adv_pose': 'how implausible the pose is to a discriminator',
    'adv_shape': 'how implausible the shape is to a discriminator',
}


def write_report(report: Report, path: str | Path) -> Path:
    """Write a report as one HTML file that needs no network.

    Equal reports give equal bytes.

    Args:
        report: What to show.
        path: The file, ending in ``.html``.

    Returns:
        The path.

    Raises:
        ValueError: The path has another suffix.
        ImportError: Jinja2 is not installed.
    """
    path = check_report_path(path)
    page = render(report)
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding='utf-8')
    return path


def check_report_path(path: str | Path) -> Path:
    """Return the path of a report, after checking its suffix.

    Raises:
        ValueError: The path does not end in ``.html``.
    """
    return check_suffix(path, '.html', '.htm')


def render(report: Report) -> str:
    """Return the page of a report.

    Raises:
        ImportError: Jinja2 is not installed.
    """
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        raise ImportError('a report needs Jinja2: pip install jinja2') from error

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: _text('templates', name)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['mm'] = _mm
    environment.filters['sortable'] = _sortable
    script = _text('templates', 'report.js')
    styles = _styles(report)
    page: str = environment.get_template('report.html').render(
        report=report,
        evaluations=[_shown_evaluation(item, styles) for item in report.evaluations],
        truth=None if report.truth is None else _shown_truth(report.truth),
        refinement=None if report.refinement is None else _shown_refinement(report.refinement),
        weights=_weights(report),
        consistency=_consistency(report.label_consistency),
        styles=styles,
        breakdowns=BREAKDOWNS,
        css=Markup(_text('templates', 'report.css')),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=Markup(_json(_gallery(report))),
        has_gallery=bool(report.frames),
        three=_packed('three.module.min.js'),
        controls=_packed('OrbitControls.js'),
        three_license=_text('vendor', 'three', 'LICENSE'),
        provenance=[
            (name, json.dumps(content, indent=2, ensure_ascii=False, default=str))
            for name, content in report.provenance.items()
        ],
        versions=versions(),
    )
    return page


def _text(*parts: str) -> str:
    """Read a file of this package."""
    resource = files(__package__)
    for part in parts:
        resource = resource / part
    return resource.read_text(encoding='utf-8')


def _packed(name: str) -> str:
    """Return a vendored script as base64 text of zlib's compression."""
    data = _text('vendor', 'three', name).encode()
    return base64.b64encode(zlib.compress(data, 9)).decode()


def _json(content: Any) -> str:
    """Return JSON that cannot end the script element in which it stands."""
    text = json.dumps(content, ensure_ascii=False, separators=(',', ':'), allow_nan=False)
    for character in '<>&\u2028\u2029':
        text = text.replace(character, f'\\u{ord(character):04x}')
    return text


def _styles(report: Report) -> dict[str, int]:
    """Return the number of the style of each regressor."""
    names = [name for item in report.evaluations for name in item.regressors]
    names = list(dict.fromkeys([*report.regressors, *names]))
    free = [number for number in range(_NUM_STYLES) if number not in _STYLES.values()]
    unstyled = [name for name in names if name not in _STYLES]
    if not set(names) & set(_STYLES):
        free = list(range(_NUM_STYLES))
    return {
        name: _STYLES[name] if name in _STYLES else free[unstyled.index(name) % len(free)]
        for name in names
    }


def _mm(value: float) -> str:
    return f'{value:.1f}' if np.isfinite(value) else '–'


def _sortable(value: float) -> float | str:
    """Return the value by which a cell is sorted; an empty text, which comes last, for NaN."""
    return value if np.isfinite(value) else ''


# ---------------------------------------------------------------------- tables and charts


def _shown_evaluation(item: Evaluation, styles: Mapping[str, int]) -> dict[str, Any]:
    """Return the tables and charts of an evaluation."""
    shown: list[dict[str, Any]] = []
    for protocol, summary in item.protocols.items():
        scores = [score for score in item.scores if score.protocol == protocol]
        errors = {
            regressor: values
            for (name, regressor), values in item.errors.items()
            if name == protocol
        }
        intervals = [interval for interval in item.intervals if interval.protocol == protocol]
        others = _other_errors([score for score in scores if score.by == 'all'])
        shown.append(
            {
                'name': protocol,
                'summary': summary,
                'overall': [score for score in scores if score.by == 'all'],
                'others': others,
                'others_caption': '; '.join(_OTHER_ERRORS.get(name, name) for name, *_ in others),
                'intervals': interval_table(intervals) if intervals else None,
                'breakdowns': {
                    by: _breakdown([score for score in scores if score.by == by])
                    for by in BREAKDOWNS
                    if any(score.by == by for score in scores)
                },
                'histogram': histogram(
                    'Number of frames by error',
                    errors,
                    'MPJPE, mm',
                    styles,
                    note='The last step counts all larger errors.',
                ),
            }
        )
    return {'item': item, 'protocols': shown, 'regressors': item.regressors}


def _other_errors(scores: Sequence[Score]) -> list[tuple[str, str, list[float]]]:
    """Return name, unit and the regressors' values of the errors besides MPJPE and PA-MPJPE."""
    rows = [
        (name, unit, [float(getattr(score, attribute)) for score in scores])
        for name, (attribute, unit) in ERRORS.items()
        if attribute not in ('mpjpe', 'pa_mpjpe')
    ]
    return [row for row in rows if np.isfinite(row[2]).any()]


def _breakdown(scores: Sequence[Score]) -> dict[str, Any]:
    """Return rows of group, frames and both errors by regressor, and the largest MPJPE."""
    groups = list(dict.fromkeys(score.group for score in scores))
    cells = {(score.group, score.regressor): score for score in scores}
    regressors = list(dict.fromkeys(score.regressor for score in scores))
    largest = max((s.mpjpe for s in scores if np.isfinite(s.mpjpe)), default=0.0)
    rows = []
    for group in groups:
        row = [cells.get((group, regressor)) for regressor in regressors]
        first = next(score for score in row if score is not None)
        rows.append((group.replace('_', ' '), first.frames, row))
    return {'rows': rows, 'largest': largest or 1.0, 'regressors': regressors}


def _shown_truth(truth: Truth) -> dict[str, Any]:
    """Return the tables of a comparison with the truth, and a chart if there are several rounds."""
    curves = {
        name: (np.arange(1.0, len(values) + 1), np.array(values))
        for name, values in truth.rounds.items()
        if len(values) > 1
    }
    return {
        'regressors': truth.regressors,
        'largest': max(truth.regressors.values(), default=0.0) or 1.0,
        'bodies': truth.bodies,
        'rounds': line_chart(
            'Distance from the truth by round', curves, 'round', 'mm', y_from_zero=True,
            note='A round refines all bodies, then fits the regressor to them, which the next '
            'round uses.',
        ),
    }  # fmt: skip


def _terms(names: Sequence[str]) -> str:
    """Return what the energy's terms measure, in words."""
    texts = [text for name, text in _TERMS.items() if name in names]
    texts += [name.replace('_', ' ') for name in names if name not in _TERMS]
    if len(texts) < 2:
        return ''.join(texts) or 'the distance from labels and mask'
    return f'{", ".join(texts[:-1])} and {texts[-1]}'


def _shown_refinement(refinement: Refinement) -> dict[str, Any]:
    curves = refinement.curves
    charts: list[Chart | None] = _round_charts(refinement.summary)
    iou = {
        title: curves[name]
        for name, title in (('iou_init', 'before'), ('iou_opt', 'after'))
        if name in curves
    }
    charts.append(
        line_chart(
            'Agreement of silhouettes with masks', iou, 'batch', 'IoU',
            note='Mean IoU of the last logged batch. Each batch holds other frames.',
        )
    )  # fmt: skip
    if refinement.iou is not None and refinement.init_iou is not None:
        charts.append(
            histogram(
                'Number of frames by IoU',
                {'before': refinement.init_iou, 'after': refinement.iou},
                'IoU of silhouette and mask',
                limits=(min(0.5, float(refinement.init_iou.min())), 1.0),
            )
        )
    for name in sorted(curves):
        if name.startswith('energy_'):
            title = name.removeprefix('energy_').replace('_', ' ')
            charts.append(
                line_chart(
                    f'Energy after refinement: {title}', {title: curves[name]}, 'batch', 'energy'
                )
            )
    for kind in ('pose', 'shape'):
        losses = {
            {'real': 'initial fits', 'fake': 'refined fits'}[side]: curves[f'loss_{kind}_{side}']
            for side in ('real', 'fake')
            if f'loss_{kind}_{side}' in curves
        }
        charts.append(line_chart(f'Loss of the {kind} discriminator', losses, 'batch', 'loss'))
    return {
        'charts': [chart for chart in charts if chart is not None],
        'energies': [
            (name.replace('_', ' '), before, after)
            for name, (before, after) in refinement.energies.items()
        ],
        'terms': _terms(list(refinement.energies)),
        'corrections': _corrections(refinement.summary),
        'summary': {
            _SUMMARY.get(name, name.replace('_', ' ')): value
            for name, value in refinement.summary.items()
            if isinstance(value, (int, float)) and 'energy' not in name
        },
    }


def _corrections(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return tables of the corrections that a calibration found: of cameras, and of subjects."""
    calibration = summary.get('calibration')
    if not isinstance(calibration, Mapping):
        return []
    tables: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for variable, correction in CORRECTIONS.items():
        by_name = calibration.get(f'{variable}_{correction.unit}')
        if not isinstance(by_name, Mapping) or not by_name:
            continue
        title = variable.replace('_', ' ').capitalize()
        columns = {f'{title}, {correction.unit}': list(by_name.values())}
        if correction.names is not None:
            columns = {
                f'{title}, {name}, {correction.unit}': [value[name] for value in by_name.values()]
                for name in correction.names
            }
        for header, values in columns.items():
            rows = [value if isinstance(value, list) else [value] for value in values]
            if all(isinstance(number, (int, float)) for row in rows for number in row):
                column = [', '.join(f'{number:.2f}' for number in row) for row in rows]
                tables.setdefault(tuple(map(str, by_name)), {})[header] = column
    return [
        {'header': list(columns), 'rows': list(zip(names, *columns.values(), strict=True))}
        for names, columns in tables.items()
    ]


def _round_charts(summary: Mapping[str, Any]) -> list[Chart | None]:
    """Draw IoU and energies by round of a calibration, if the summary has several rounds."""
    calibration = summary.get('calibration')
    rounds = calibration.get('rounds') if isinstance(calibration, Mapping) else None
    if not isinstance(rounds, list) or not all(isinstance(entry, Mapping) for entry in rounds):
        return []
    names = sorted({str(name) for entry in rounds for name in entry})
    steps = np.arange(1.0, len(rounds) + 1)
    values = {
        name: np.array(
            [
                float(entry[name]) if isinstance(entry.get(name), (int, float)) else np.nan
                for entry in rounds
            ]
        )
        for name in names
    }
    energies = {
        name.replace('_', ' '): (steps, 100 * curve / curve[0])
        for name, curve in values.items()
        if name != 'iou' and not name.endswith('_weight') and curve[0] > 0
    }
    iou = {'IoU': (steps, values['iou'])} if 'iou' in values else {}
    return [
        line_chart(
            'Energies by round', energies, 'round', '% of round 1', y_from_zero=True,
            note='The regressor of a round is fitted to the bodies of the round before.',
        ),
        line_chart('Agreement of silhouettes with masks by round', iou, 'round', 'IoU'),
    ]  # fmt: skip


def _weights(report: Report) -> dict[str, Any] | None:
    """Return pictures of the regressors' weights, and the table of their joints."""
    vertices = report.body_picture
    usable = {
        name: regressor
        for name, regressor in report.regressors.items()
        if vertices is not None
        and regressor.num_vertices == len(vertices)
        and set(H36M_JOINTS_MMPOSE) <= set(regressor.joint_names)
    }
    if vertices is None or report.faces is None or not usable:
        return None
    pictures = weights_pictures(usable, vertices, report.faces)
    return {
        'pictures': {
            name: 'data:image/webp;base64,' + base64.b64encode(data).decode()
            for name, data in pictures.items()
        },
        'regressors': list(usable),
        'table': joint_table(usable, vertices),
        'largest': max((max(row[2]) for row in joint_table(usable, vertices)), default=1.0) or 1.0,
    }


def _consistency(content: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the sentence of a label-consistency file, and lengths of offsets by joint and subject.

    Raises:
        DataError: The content is no such file's.
    """
    if content is None:
        return None
    if content.get('format') != LABEL_CONSISTENCY:
        raise DataError(
            f'label_consistency.json: format: found {content.get("format")!r}, expected '
            f'{LABEL_CONSISTENCY!r}; "mmjrr label-consistency --out" writes it'
        )
    try:
        offsets = {str(subject): entry['joints'] for subject, entry in content['offsets'].items()}
        joints = list(dict.fromkeys(joint for entry in offsets.values() for joint in entry))
        rows = [
            (
                joint.replace('_', ' '),
                [_offset_cell(entry[joint]) for entry in offsets.values()],
            )
            for joint in joints
        ]
        lengths = [length for _, row in rows for length, *_ in row if np.isfinite(length)]
        largest = max(lengths, default=1.0)
        residuals = {
            name.replace('_', ' '): float(value)
            for name, value in content['residual_rms_mm'].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f'label_consistency.json: a field is missing or garbled ({error}); "mmjrr '
            'label-consistency --out" writes the file'
        ) from error
    return {
        'sentence': str(content.get('sentence', '')),
        'subjects': list(offsets),
        'rows': rows,
        'largest': largest or 1.0,
        'residuals': residuals,
        'has_untested': any(
            np.isfinite(length) and not is_tested for _, row in rows for length, _, is_tested in row
        ),
    }


def _offset_cell(entry: Mapping[str, Any]) -> tuple[float, bool, bool]:
    """Return an offset's length in mm, and whether it is significant, and tested.

    The length is NaN if the labels do not tell it.
    """
    offset = entry['offset_mm']
    length = float('nan') if offset is None else float(np.linalg.norm(offset))
    return length, bool(entry['significant']), entry['pvalue'] is not None


# ---------------------------------------------------------------------- gallery


def _gallery(report: Report) -> dict[str, Any]:
    """Return the frames as plain values, meshes packed."""
    if not report.frames:
        return {'frames': []}
    coarse = full_mesh = None
    if report.faces is not None:
        template = _template(report)
        coarse = decimate(template, report.faces, COARSE_VERTICES)
        full_mesh = whole_mesh(report.faces)
        if int(report.faces.max()) >= 2**16:
            raise DataError(
                f'faces: found {report.faces.max() + 1} vertices, expected at most 65536'
            )
    frames = [
        _packed_frame(frame, full_mesh if number < WHOLE_FRAMES else coarse, number < WHOLE_FRAMES)
        for number, frame in enumerate(report.frames)
    ]
    return {
        'frames': frames,
        'faces': {
            kind: encode_faces(mesh.faces)
            for kind, mesh in (('coarse', coarse), ('whole', full_mesh))
            if mesh is not None
        },
        'joints': list(H36M_JOINTS_MMPOSE),
        'bones': [[H36M_JOINTS_MMPOSE.index(joint) for joint in bone] for bone in H36M_BONES],
        'regressors': list(report.regressors),
        'styles': _styles(report),
    }


def _template(report: Report) -> FloatArray:
    """Return the pose from which the coarse mesh is chosen: the one that spreads the most."""
    meshes = [list(frame.meshes.values())[-1] for frame in report.frames]
    spread = [float(np.prod(np.ptp(mesh, axis=0))) for mesh in meshes]
    return meshes[int(np.argmax(spread))]


def _packed_frame(frame: Frame, mesh: CoarseMesh | None, is_whole: bool) -> dict[str, Any]:
    step = _WHOLE_STEP if is_whole else _COARSE_STEP
    meshes = {}
    for name, vertices in frame.meshes.items():
        if mesh is not None:
            first, data = encode(vertices[mesh.vertex_ids], step)
            meshes[name] = {
                'kind': 'whole' if is_whole else 'coarse',
                'step': step,
                'first': first,
                'count': len(mesh.vertex_ids),
                'data': data,
            }
    photo = None
    if frame.photo is not None:
        photo = 'data:image/webp;base64,' + base64.b64encode(encode_photo(frame.photo)).decode()
    return {
        'source': frame.source,
        'name': frame.imgname,
        'labels': frame.labels,
        'size': frame.size,
        'camera': [round(float(value), 6) for value in frame.camera],
        'photo': photo,
        'mask': ''.join(
            'M' + 'L'.join(f'{x:.1f} {y:.1f}' for x, y in shape.tolist()) + 'Z'
            for shape in frame.mask
        ),
        'meshes': meshes,
        'joints': {name: _rounded(points, 4) for name, points in frame.joints.items()},
        'points': {name: _rounded(points, 1) for name, points in frame.points.items()},
        'iou': {name: _finite(value, 4) for name, value in frame.iou.items()},
        'mpjpe': {name: _finite(value, 2) for name, value in frame.mpjpe.items()},
        'init': {name: _finite(value, 2) for name, value in frame.init_mpjpe.items()},
    }


def _rounded(points: FloatArray, digits: int) -> list[list[float] | None]:
    return [
        [round(float(value), digits) for value in point] if np.isfinite(point).all() else None
        for point in points
    ]


def _finite(value: float, digits: int) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None
