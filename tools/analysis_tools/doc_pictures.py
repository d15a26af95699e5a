r"""Draw the pictures of the documentation from the demo's folder and the recorded results.

    python tools/analysis_tools/doc_pictures.py work_dirs/demo \
        --without-silhouette work_dirs/contour-4view_5x80it_synthetic_wo-silhouette \
        --one-view work_dirs/contour_100it_synthetic \
        --one-view-without-discriminator work_dirs/contour_100it_synthetic_wo-discriminator

It writes, in docs/images: pipeline.jpg (the steps of the method), floor.png (errors of the
regressors and the floor, from docs/results/demo), and figure_1.jpg to figure_8.jpg, and
report_errors.png and report_frames.png (parts of the demo's report; needs Chromium and Playwright).
The discriminators of figure 4 belong to the refinement of each image by itself. The data must be
synthetic: Human3.6M's license forbids publishing its photographs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmjrr.cli.options import OptionError, parse, run_command

ROOT = Path(__file__).resolve().parents[2]
#: Colors of the regressors, as in reports.
COLORS = {'J_std': '#b8480a', 'J_spin': '#1f78b4', 'J_opt': '#7b3fa0', 'floor': '#4a5568'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('demo', type=Path, help="the demo's folder")
    parser.add_argument(
        '--without-silhouette',
        type=Path,
        metavar='DIR',
        help="work directory of the demo's refinement without the silhouette term, for figure 6",
    )
    for name, state in (('one-view', 'with'), ('one-view-without-discriminator', 'without')):
        parser.add_argument(
            f'--{name}',
            type=Path,
            metavar='DIR',
            help=f'work directory of a refinement {state} discriminators, for figure 4',
        )
    parser.add_argument('--out', type=Path, default=ROOT / 'docs' / 'images')
    parser.add_argument('--results', type=Path, default=ROOT / 'docs' / 'results' / 'demo')


def run(args: argparse.Namespace) -> None:
    """Draw all pictures."""
    from mmjrr.io import read_json
    from mmjrr.visualization.paper_figures import FigureSource, draw_figures

    if not (args.demo / 'data' / 'synthetic.json').is_file():
        raise OptionError(f"{args.demo}: found no data/synthetic.json, expected the demo's folder")
    one_view, without = args.one_view, args.one_view_without_discriminator
    if (one_view is None) != (without is None):
        raise OptionError('--one-view and --one-view-without-discriminator belong together')
    draw_figures(args.demo / 'refinement', args.out, without_silhouette=args.without_silhouette)
    if one_view is not None:
        draw_figures(one_view, args.out, [4], without_discriminator=without)
    source = FigureSource(args.demo / 'refinement')
    scores = read_json(args.demo / 'summary.json')['table']
    draw_pipeline(source, scores, args.out / 'pipeline.jpg')
    draw_floor(args.results, args.out / 'floor.png')
    picture_report(args.demo / 'report.html', args.out)
    for path in sorted([*args.out.glob('*.png'), *args.out.glob('*.jpg')]):
        print(path)


def draw_pipeline(source: Any, scores: dict[str, Any], path: Path) -> None:
    """Draw the steps of the method with pictures of one frame."""
    import numpy as np

    from mmjrr.visualization.matplotlib_figure import new_figure, save_figure
    from mmjrr.visualization.paper_figures import over_photo, photo_of
    from mmjrr.visualization.report.weights_picture import draw_weights

    faces = np.asarray(source.body.faces)
    (name,) = source.quantile(source.gain, 0.5)
    frame = source.frame(name)
    last = list(source.regressors)[-1]
    weights = draw_weights(source.maker.regressors[last], frame.meshes['refined'], faces)
    margin = (weights.shape[0] - weights.shape[1]) // 2
    weights = np.pad(weights, ((0, 0), (margin, margin), (0, 0)), constant_values=255)
    outlined = photo_of(frame).copy()
    import cv2

    shapes = [np.rint((shape - 0.5) * 16).astype(np.int32) for shape in frame.mask]
    cv2.polylines(outlined, shapes, True, (255, 255, 255), 3, cv2.LINE_AA, 4)
    for x, y in frame.points['label']:
        cv2.circle(outlined, (round(x), round(y)), 8, (20, 20, 20), -1, cv2.LINE_AA)
        cv2.circle(outlined, (round(x), round(y)), 6, (25, 230, 140), -1, cv2.LINE_AA)
    steps = [
        (outlined, 'Image, mask, labels', 'of the training subjects'),
        (
            over_photo(frame, 'initial', faces),
            'Initial fit',
            'of an estimator;\nJ_spin is fitted to these',
        ),
        (
            over_photo(frame, 'refined', faces),
            'Refined fit',
            'joints on the labels,\nsilhouette on the mask',
        ),
        (weights, 'J_opt', 'weights of vertices, fitted to\nrefined bodies and labels'),
        (None, 'Evaluation', 'estimates of other subjects\nunder each regressor'),
    ]
    figure = new_figure(13, 3.5, layout=None)
    for number, (picture, title, text) in enumerate(steps):
        axis = figure.add_axes((0.008 + 0.2 * number, 0.16, 0.165, 0.72))
        if picture is None:
            _draw_scores(axis, scores)
        else:
            axis.imshow(picture)
            axis.set_xticks([])
            axis.set_yticks([])
        for side in axis.spines.values():
            side.set_color('#9aa3ad')
        axis.set_title(title, fontsize=12, fontweight='bold')
        place = -0.05 if picture is not None else -0.16
        axis.text(0.5, place, text, transform=axis.transAxes, ha='center', va='top', fontsize=9.5)
        if number:
            figure.text(0.2 * number - 0.013, 0.52, '➜', fontsize=22, ha='center', va='center')
    save_figure(figure, path, dpi=130, suffixes=('.jpg', '.png'))


def _draw_scores(axis: Any, scores: dict[str, Any]) -> None:
    """Draw the MPJPE of the simulated estimators under each regressor."""
    for row, (name, table) in enumerate(scores.items()):
        for number, (regressor, errors) in enumerate(table.items()):
            y = row + 0.26 * (number - 1)
            axis.barh(y, errors['mpjpe'], height=0.24, color=COLORS[regressor])
            axis.text(errors['mpjpe'] - 1, y, regressor, ha='right', va='center', fontsize=6.5,
                      color='white')  # fmt: skip
        axis.text(1, row - 0.5, name, fontsize=8, va='center')
    axis.set_yticks([])
    axis.set_ylim(len(scores) - 0.5, -0.75)
    axis.tick_params(labelsize=7)
    axis.set_xlabel('MPJPE, mm', fontsize=7.5, labelpad=1)


def draw_floor(results: Path, path: Path) -> None:
    """Draw how far each regressor is from the true one, for each seed of the demo."""
    from mmjrr.io import read_json
    from mmjrr.visualization.matplotlib_figure import new_figure, save_figure

    errors = {
        runs: [
            read_json(file)['regressor_error_mm'] for file in sorted(results.glob(f'{runs}_?.json'))
        ]
        for runs in ('four_views', 'seed')
    }
    for runs, values in errors.items():
        if not values:
            raise FileNotFoundError(f'{results}: found no {runs}_*.json')
    figure = new_figure(8, 3.6, layout=None)
    axes = figure.add_axes((0.2, 0.19, 0.77, 0.62))
    rows = {
        'J_std': ('four_views', 'J_std'),
        'J_spin': ('four_views', 'J_spin'),
        'J_opt, each image\nby itself': ('seed', 'J_opt'),
        'J_opt, four views': ('four_views', 'J_opt'),
        'floor': ('four_views', 'floor'),
    }
    for row, (runs, name) in enumerate(rows.values()):
        distances = [error[name] for error in errors[runs]]
        mean = sum(distances) / len(distances)
        axes.barh(row, mean, height=0.6, color=COLORS[name], alpha=0.35)
        axes.scatter(distances, [row] * len(distances), color=COLORS[name], s=28, zorder=3)
        axes.text(max(distances) + 0.6, row, f'{mean:.1f} mm', va='center', fontsize=10)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlabel(
        'distance of the joints from those of the true regressor, on true test meshes, mm'
    )
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_xlim(0, axes.get_xlim()[1] * 1.06)
    axes.set_title(
        f'Regressors on the synthetic set, {len(errors["seed"])} seeds (dots) and their mean. '
        'Floor: fitted to the true\nbodies and the noisy labels, so that only the noise of the '
        'labels is left.',
        loc='left', fontsize=10,
    )  # fmt: skip
    save_figure(figure, path, dpi=130)


def picture_report(report: Path, folder: Path) -> None:
    """Take pictures of a report in Chromium: of its first tables, and of a frame.

    Raises:
        FileNotFoundError: There is no report, or no Chromium on the path.
        ImportError: Playwright is not installed.
    """
    chromium = shutil.which('chromium') or shutil.which('google-chrome')
    if chromium is None:
        raise FileNotFoundError('chromium: not on the path; apt install chromium')
    if not report.is_file():
        raise FileNotFoundError(f'{report}: no such file; "mmjrr report" writes it')
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise ImportError(
            'pictures of the report need Playwright: pip install -r requirements/tests.txt'
        ) from error
    options = ['--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader']
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        page = browser.new_page(viewport={'width': 1200, 'height': 900}, color_scheme='light')
        page.goto(report.resolve().as_uri())
        page.wait_for_selector('#space canvas[data-frame]', timeout=120000)
        tables = page.locator('#errors > .scroll').first.bounding_box()
        heading = page.locator('#errors-title').bounding_box()
        clip = {
            'x': tables['x'] - 12,
            'y': heading['y'] - 8,
            'width': tables['width'] + 24,
            'height': tables['y'] + tables['height'] - heading['y'] + 16,
        }
        page.screenshot(
            path=folder / 'report_errors.png', clip=clip, full_page=True, timeout=120000
        )
        page.click('[data-view=side]')
        page.wait_for_timeout(1000)
        page.locator('.viewer').screenshot(path=folder / 'report_frames.png', timeout=120000)
        browser.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv))


if __name__ == '__main__':
    sys.exit(main())
