"""Tables like the paper's Table I for any models and regressors, in four text formats."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmjrr.errors import DataError
from mmjrr.io import atomic_write, read_json
from mmjrr.io.paths import check_suffix

from .carried_remarks import carried_remarks
from .protocols import PROTOCOLS, Protocol, get_protocol
from .result import EvaluationResult, format_mean, format_table

#: Table I of Hedlin, Rhodin and Yi, CRV 2022: MPJPE and PA-MPJPE in mm, protocol 'paper'.
PAPER: dict[str, dict[str, tuple[float, float]]] = {
    'SPIN': {'J_std': (60.4, 41.3), 'J_spin': (57.0, 39.6), 'J_opt': (56.9, 39.7)},
    'VIBE': {'J_std': (62.9, 43.1), 'J_spin': (60.1, 41.7), 'J_opt': (60.0, 41.5)},
    'MEVA': {'J_std': (101.6, 62.3), 'J_spin': (98.4, 61.9), 'J_opt': (98.3, 61.9)},
}
_PAPER_PROTOCOL = 'paper'

FORMATS = ('.txt', '.md', '.tex', '.csv')


@dataclass(frozen=True)
class Cell:
    """Errors of a model under a regressor, in mm."""

    mpjpe: float
    pa_mpjpe: float
    frames: int
    regressor_sha256: str = ''  # of the regressor's file; '' if unknown
    annotations_sha256: str = ''  # of the annotation file; '' if unknown


@dataclass(frozen=True)
class PaperTable:
    """A table of errors with models as rows and regressors as columns.

    Args:
        protocol: Name of the protocol.
        rows: Cells by model and regressor.
        definition: The protocol. Default: None, the protocol of this name in PROTOCOLS.
        remarks: Sentences on regressors, such as those that were carried to a model's mesh.
    """

    protocol: str
    rows: Mapping[str, Mapping[str, Cell]]
    definition: Protocol | None = None
    remarks: tuple[str, ...] = ()

    @property
    def regressors(self) -> list[str]:
        """Names of the columns, in order of appearance."""
        return list(dict.fromkeys(name for cells in self.rows.values() for name in cells))

    def best(self, model: str) -> tuple[set[str], set[str]]:
        """Return the regressors with the lowest printed MPJPE and PA-MPJPE in a row.

        Both sets are empty if the row has a single regressor.
        """
        cells = self.rows[model]
        if len(cells) < 2:
            return set(), set()
        best = []
        for metric in ('mpjpe', 'pa_mpjpe'):
            values = {name: round(getattr(cell, metric), 1) for name, cell in cells.items()}
            least = min((v for v in values.values() if not math.isnan(v)), default=math.nan)
            best.append({name for name, value in values.items() if value == least})
        return best[0], best[1]

    def paper(self, model: str, regressor: str) -> tuple[float, float] | None:
        """Return the paper's MPJPE and PA-MPJPE for a cell in mm; None if it has none."""
        if self.protocol != _PAPER_PROTOCOL or self.definition not in (None, _named(self.protocol)):
            return None
        return PAPER.get(model, {}).get(regressor)

    @property
    def caption(self) -> str:
        """Caption that states units, protocol, frame counts and :attr:`notes`."""
        counts = {
            model: sorted({cell.frames for cell in cells.values()})
            for model, cells in self.rows.items()
        }
        if len({tuple(count) for count in counts.values()}) == 1:
            frames = '/'.join(map(str, next(iter(counts.values())))) + ' frames'
        else:
            frames = 'frames: ' + ', '.join(
                f'{model} {"/".join(map(str, count))}' for model, count in counts.items()
            )
        protocol = self.definition or PROTOCOLS.get(self.protocol)
        summary = f' ({protocol.summary})' if protocol is not None else ''
        text = f'MPJPE / PA-MPJPE in mm, protocol {self.protocol}{summary}, {frames}.'
        if self._with_paper():
            text += ' In parentheses: Hedlin et al., CRV 2022, Table I.'
        return ' '.join([text, *self.notes, *self.remarks])

    @property
    def notes(self) -> list[str]:
        """Reasons why rows are not comparable: different regressor files or annotations."""
        notes = []
        for name in self.regressors:
            sums = {
                model: cells[name].regressor_sha256
                for model, cells in self.rows.items()
                if name in cells
            }
            if len(set(sums.values()) - {''}) > 1:
                notes.append(f'{name} is not the same file in all rows: {_checksums(sums)}.')
        sums = {
            model: next(iter(cells.values())).annotations_sha256
            for model, cells in self.rows.items()
        }
        if len(set(sums.values()) - {''}) > 1:
            notes.append(f'The rows are of different annotations: {_checksums(sums)}.')
        return notes

    def _with_paper(self) -> bool:
        return any(
            self.paper(model, name) is not None
            for model, cells in self.rows.items()
            for name in cells
        )

    def _cells(self, mark: tuple[str, str], paper: str) -> list[list[str]]:
        """Return the texts of the cells.

        Args:
            mark: Texts before and after the best values of a row.
            paper: Format of the paper's two numbers.
        """
        lines = []
        for model, cells in self.rows.items():
            least = self.best(model)
            line = [model]
            for name in self.regressors:
                if name not in cells:
                    line.append('')
                    continue
                values = (cells[name].mpjpe, cells[name].pa_mpjpe)
                texts = [
                    f'{mark[0]}{value:.1f}{mark[1]}' if name in names else format_mean(value)
                    for value, names in zip(values, least, strict=True)
                ]
                printed = self.paper(model, name)
                in_the_paper = '' if printed is None else paper.format(*printed)
                line.append(' / '.join(texts) + in_the_paper)
            lines.append(line)
        return lines

    def to_text(self) -> str:
        """Return the table as plain text; ``*`` precedes the best values of a row."""
        lines = self._cells(('*', ''), ' ({:.1f} / {:.1f})')
        text = format_table(['', *self.regressors], lines, self.caption)
        return text + '\n* best of its row\n'

    def to_markdown(self) -> str:
        """Return the table as Markdown; the best values of a row are bold."""
        head = ['', *self.regressors]
        lines = [head, ['---'] * len(head), *self._cells(('**', '**'), ' ({:.1f} / {:.1f})')]
        body = '\n'.join(
            '| ' + ' | '.join(_escape_markdown(c) for c in line) + ' |' for line in lines
        )
        return f'{self.caption}\n\n{body}\n'

    def to_latex(self) -> str:
        """Return the table as LaTeX with booktabs; the best values of a row are bold."""
        lines = [
            [_escape_latex(line[0]), *line[1:]]
            for line in self._cells((r'\textbf{', '}'), r' {{\small({:.1f} / {:.1f})}}')
        ]
        columns = self.regressors
        return '\n'.join(
            [
                r'% needs \usepackage{booktabs}',
                r'\begin{table}',
                r'  \centering',
                rf'  \caption{{{_escape_latex(self.caption)}}}',
                rf'  \begin{{tabular}}{{l{"c" * len(columns)}}}',
                r'    \toprule',
                '    ' + ' & '.join(['', *map(_latex_regressor, columns)]) + r' \\',
                r'    \midrule',
                *('    ' + ' & '.join(line) + r' \\' for line in lines),
                r'    \bottomrule',
                r'  \end{tabular}',
                r'\end{table}',
                '',
            ]
        )

    def to_csv(self) -> str:
        """Return the table as CSV: a line for each cell, with all digits."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(
            ['model', 'regressor', 'protocol', 'frames', 'mpjpe_mm', 'pa_mpjpe_mm']
            + ['paper_mpjpe_mm', 'paper_pa_mpjpe_mm', 'regressor_sha256', 'annotations_sha256']
        )
        for model, cells in self.rows.items():
            for name, cell in cells.items():
                printed = self.paper(model, name) or ('', '')
                writer.writerow(
                    [model, name, self.protocol, cell.frames, cell.mpjpe, cell.pa_mpjpe, *printed]
                    + [cell.regressor_sha256, cell.annotations_sha256]
                )
        return file.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the table in the format of the path's suffix, and return the path.

        Raises:
            ValueError: The suffix is none of :data:`FORMATS`.
        """
        path = check_table_path(path)
        made = {'.txt': self.to_text, '.md': self.to_markdown}
        made |= {'.tex': self.to_latex, '.csv': self.to_csv}
        with atomic_write(path) as temporary:
            temporary.write_text(made[path.suffix](), encoding='utf-8')
        return path


def check_table_path(path: str | Path) -> Path:
    """Check that a table can be written in the format of a path's suffix, and return the path.

    Raises:
        ValueError: The suffix is none of :data:`FORMATS`.
    """
    return check_suffix(path, *FORMATS)


def tables_of(results: Mapping[str, EvaluationResult | Mapping[str, Any]]) -> list[PaperTable]:
    """Make a table for each protocol.

    Args:
        results: Results by model, or the dicts that their ``to_dict()`` returns.

    Raises:
        DataError: Two results define a protocol differently.
    """
    rows: dict[str, dict[str, dict[str, Cell]]] = {}
    definitions: dict[str, tuple[str, Protocol]] = {}
    remarks: list[str] = []
    for model, result in results.items():
        content = result.to_dict() if isinstance(result, EvaluationResult) else result
        about = content.get('provenance', {})
        regressors = about.get('regressors', {})
        remarks += _remarks(model, regressors)
        for name, fields in about.get('protocols', {}).items():
            definition = _plain(get_protocol({'name': name, **fields}))
            first, other = definitions.setdefault(name, (model, definition))
            if other != definition:
                raise DataError(
                    f'protocol {name!r} is not the same in all rows: in {first} '
                    f'{other.summary}, in {model} {definition.summary}'
                )
        for score in content['scores']:
            if score['by'] != 'all':
                continue
            row = rows.setdefault(score['protocol'], {}).setdefault(model, {})
            row[score['regressor']] = Cell(
                mpjpe=math.nan if score['mpjpe'] is None else score['mpjpe'],
                pa_mpjpe=math.nan if score['pa_mpjpe'] is None else score['pa_mpjpe'],
                frames=score['frames'],
                regressor_sha256=_file_sha256(regressors.get(score['regressor'], {})),
                annotations_sha256=about.get('annotations', {}).get('sha256') or '',
            )
    return [
        PaperTable(
            name,
            by_model,
            definitions[name][1] if name in definitions else None,
            tuple(dict.fromkeys(remarks)),
        )
        for name, by_model in rows.items()
    ]


def read_result(path: str | Path) -> dict[str, Any] | None:
    """Read a result that :meth:`EvaluationResult.save` wrote as JSON; None for other files.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file ends in ``.json`` but is not JSON, or its scores are invalid.
    """
    path = Path(path)
    if path.suffix != '.json':
        return None
    content = read_json(path)
    if not isinstance(content, dict) or 'scores' not in content:
        return None
    try:
        _check_scores(content['scores'])
        for table in tables_of({'': content}):
            table.to_text()
            table.to_csv()
    except Exception as error:  # any entry of the file may have any type
        raise DataError(
            f'{path}: no result of an evaluation ({type(error).__name__}: {error})'
        ) from error
    return content


def _check_scores(scores: Any) -> None:
    for score in scores:
        errors = [score['mpjpe'], score['pa_mpjpe']] if score['by'] == 'all' else []
        if any(not isinstance(value, (int, float, type(None))) for value in errors):
            raise TypeError(f'mpjpe, pa_mpjpe: found {errors!r:.80}, expected numbers')
        names = [score['protocol'], score['regressor']] if errors else []
        if any(not isinstance(name, str) for name in names) or (
            errors and not isinstance(score['frames'], int)
        ):
            raise TypeError(f'protocol, regressor, frames: found {score!r:.80}')


def _remarks(model: str, regressors: Mapping[str, Any]) -> list[str]:
    """Return the footnotes of regressors, and how they were carried to the model's mesh."""
    remarks = []
    for name, about in regressors.items():
        provenance = about.get('provenance') or {}
        footnote = provenance.get('footnote')
        remarks += [f'{name}: {footnote}.'] if footnote else []
        remarks += carried_remarks(f'{model}, {name}', provenance)
    return remarks


def _file_sha256(regressor: Mapping[str, Any]) -> str:
    return (regressor.get('provenance') or {}).get('file_sha256') or ''


def _checksums(by_model: Mapping[str, str]) -> str:
    return ', '.join(f'{model} {checksum[:8]}' for model, checksum in by_model.items() if checksum)


def _plain(protocol: Protocol) -> Protocol:
    """Return a protocol with only the fields that results contain."""
    fields = {name: value for name, value in protocol.to_dict().items() if name != 'root'}
    return Protocol(protocol.name, root=protocol.root, **fields)


def _named(name: str) -> Protocol | None:
    return _plain(PROTOCOLS[name]) if name in PROTOCOLS else None


def _escape_markdown(text: str) -> str:
    return text.replace('|', r'\|')


def _latex_regressor(name: str) -> str:
    r"""Return ``J_opt`` as :math:`J_{\mathrm{opt}}`, and other names as text."""
    first, _, second = name.partition('_')
    if len(first) == 1 and second.isalnum():
        return rf'${first}_{{\mathrm{{{second}}}}}$'
    return _escape_latex(name)


def _escape_latex(text: str) -> str:
    special = {'\\': r'\textbackslash{}', '~': r'\textasciitilde{}', '^': r'\textasciicircum{}'}
    special |= {character: '\\' + character for character in '&%$#_{}'}
    return ''.join(special.get(character, character) for character in text)
