"""The page in Chromium: it loads, tables sort, toggles hide, the 3D view draws and turns."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_example import HOSTILE, example_report

from mmjrr.visualization.report import write_report

CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason='no Chromium on the path: apt install chromium'),
    pytest.mark.skipif(
        importlib.util.find_spec('playwright') is None,
        reason='Playwright is not installed: pip install -r requirements/tests.txt',
    ),
]


@pytest.fixture(scope='module')
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ['--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader']
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(example_report(), tmp_path_factory.mktemp('report') / 'report.html')


@pytest.fixture(scope='module')
def opened(browser: Any, file: Path) -> Iterator[tuple[Any, list[str], list[str]]]:
    """The page, its console messages, and its requests of other addresses."""
    context = browser.new_context(viewport={'width': 1200, 'height': 900}, offline=True)
    context.set_default_timeout(180_000)  # a busy machine draws slowly
    page = context.new_page()
    messages: list[str] = []
    requests: list[str] = []
    page.on('console', lambda message: messages.append(f'{message.type}: {message.text}'))
    page.on('pageerror', lambda error: messages.append(str(error)))
    page.on('request', lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector('#space canvas[data-frame]', timeout=180_000)
    yield page, messages, requests
    context.close()


@pytest.fixture
def page(opened: tuple[Any, list[str], list[str]]) -> Any:
    return opened[0]


def test_the_page_loads_without_console_messages_and_network(opened) -> None:
    page, messages, requests = opened
    assert messages == []
    assert all(url.startswith(('file:', 'data:', 'blob:')) for url in requests)
    assert page.title() == HOSTILE[0]


def test_hostile_names_are_shown_and_not_run(page) -> None:
    assert page.evaluate('window.hacked') is None
    assert HOSTILE[0] in page.inner_text('h1')
    assert page.locator('#cards img').count() == 14  # the photographs only
    # Even a script that got into the page would not run.
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), "
                  "{textContent: 'window.injected = 1'}))")  # fmt: skip
    assert page.evaluate('window.injected') is None


def test_columns_sort_up_and_down_and_say_so(page) -> None:
    table = page.locator('table.sortable', has_text='By joint').first
    button = table.locator('thead button', has_text='J_std')
    head = table.locator('th', has_text='J_std')

    def column() -> list[float]:
        cells = table.locator('tbody tr td:nth-child(2)')
        return [float(cells.nth(row).get_attribute('data-value')) for row in range(3)]

    button.click()
    assert head.get_attribute('aria-sort') == 'descending' and column() == [56.0, 53.0, 50.0]
    button.press('Enter')
    assert head.get_attribute('aria-sort') == 'ascending' and column() == [50.0, 53.0, 56.0]


def pixels(page: Any, canvas: str) -> list[int]:
    """The number of pixels that are drawn, and their sum, of a canvas."""
    return page.evaluate(
        """(selector) => {
            const canvas = document.querySelector(selector);
            const copy = document.createElement('canvas');
            copy.width = canvas.width; copy.height = canvas.height;
            const context = copy.getContext('2d');
            context.drawImage(canvas, 0, 0);
            const data = context.getImageData(0, 0, copy.width, copy.height).data;
            let drawn = 0, sum = 0;
            for (let i = 0; i < data.length; i += 4) {
                drawn += data[i + 3] > 0; sum += data[i] + 2 * data[i + 1] + 3 * data[i + 2];
            }
            return [drawn, sum];
        }""",
        canvas,
    )


def other_pixels(page, canvas: str, before: list[int]) -> list[int]:
    """Wait until the canvas is drawn again, at most ten seconds, and return what it shows."""
    for _ in range(100):
        after = pixels(page, canvas)
        if after != before:
            return after
        page.wait_for_timeout(100)
    raise AssertionError(f'{canvas}: the picture stays as it is')


def test_the_3d_view_draws_turns_by_keyboard_and_follows_the_frame(page) -> None:
    canvas = '#space canvas'
    first = pixels(page, canvas)
    assert first[0] > 2000
    page.focus(canvas)
    page.keyboard.press('ArrowRight')
    page.keyboard.press('+')
    turned = other_pixels(page, canvas, first)
    assert turned[1] != first[1]
    name = page.get_attribute(canvas, 'data-frame')
    page.click('#next')
    page.wait_for_function(
        'name => document.querySelector("#space canvas").dataset.frame !== name', arg=name
    )
    assert '2 of 14' in page.inner_text('#position')
    page.click('#previous')


def test_the_3d_view_turns_by_mouse(page) -> None:
    before = pixels(page, '#space canvas')
    view = page.locator('#space canvas')
    view.hover(position=dict(x=100, y=100))  # waits until the page no longer moves
    page.mouse.down()
    view.hover(position=dict(x=180, y=120))
    page.mouse.up()
    other_pixels(page, '#space canvas', before)


def test_toggles_hide_layers_in_the_pictures_and_in_space(page) -> None:
    stage = page.locator('#stage')
    page.wait_for_selector('#stage canvas[data-drawn]', state='attached')
    assert pixels(page, '#stage canvas')[0] > 10000
    parts = {'photo': 'img', 'mask': '.mask', 'body': 'canvas', 'label': '[data-layer=label]',
             'J_opt': '[data-layer=J_opt]'}  # fmt: skip
    for key, part in parts.items():
        assert stage.locator(part).first.is_visible(), key
        page.locator(f'[id="show-{key}"]').uncheck()
        assert not stage.locator(part).first.is_visible(), key
    page.wait_for_timeout(200)
    few = pixels(page, '#space canvas')[0]
    for key in ('photo', 'mask', 'body', 'label', 'J_opt'):
        page.locator(f'[id="show-{key}"]').check()
    page.wait_for_timeout(500)
    assert pixels(page, '#space canvas')[0] > 2 * few


def test_frames_are_worst_first_and_can_be_ordered_and_chosen(page) -> None:
    def names() -> list[str]:
        return page.eval_on_selector_all('#cards button', 'nodes => nodes.map(n => n.frame.name)')

    assert [name.rsplit('_')[-1] for name in names()[:3]] == ['13.jpg', '12.jpg', '11.jpg']
    page.select_option('#order', 'IoU, worst first')
    assert names()[0].endswith('_0.jpg')
    page.select_option('#source', 'Even')
    assert len(names()) == 7
    page.locator('#cards button').nth(2).press('Enter')
    assert page.inner_text('#position') == '3 of 7'
    page.select_option('#source', '')
    page.select_option('#order', index=0)


def test_the_body_before_the_refinement_replaces_the_one_after(page) -> None:
    page.wait_for_selector('#stage canvas[data-drawn]', state='attached')
    after = pixels(page, '#stage canvas')
    page.check('#show-initial')
    page.wait_for_selector('#stage canvas[data-drawn]', state='attached')
    assert pixels(page, '#stage canvas') != after
    page.uncheck('#show-initial')


def test_tables_have_captions_and_headers_and_figures_descriptions(page) -> None:
    # Without the report's own tables this would hold of nothing.
    assert page.locator('table').count() > 10 and page.locator('svg[role=img]').count() > 3
    without_caption = 'node => !node.caption || !node.caption.textContent.trim()'
    assert page.evaluate(f"[...document.querySelectorAll('table')].filter({without_caption})") == []
    empty = "[...document.querySelectorAll('th')].filter(node => !node.textContent.trim()).length"
    assert page.evaluate(empty) == 0
    for picture in page.locator('svg[role=img], [role=img]').all():
        assert picture.get_attribute('aria-label')
    for picture in page.locator('img').all():
        # Photographs are described by the element around them.
        assert picture.get_attribute('alt') or picture.locator('xpath=..').evaluate(
            "node => node.closest('[role=img]')?.ariaLabel || node.closest('button')?.textContent"
        )


def test_a_screen_reader_is_told_the_frame_the_order_and_the_view(page, browser) -> None:
    tree = page.context.new_cdp_session(page).send('Accessibility.getFullAXTree')['nodes']

    def named(role: str) -> list[str]:
        return [
            node['name']['value']
            for node in tree
            if not node['ignored'] and node['role']['value'] == role
        ]

    # Sorting arrows are not read: the column header has its state.
    assert 'J_std' in named('columnheader')
    assert not [name for name in named('button') if '↕' in name]
    [view] = named('application')
    assert 'joints of J_opt' in view and 'in space' in view
    description = page.get_attribute('#space canvas', 'aria-describedby')
    assert 'arrow keys' in page.inner_text(f'#{description}')
    assert '%' in page.get_attribute('#opacity', 'aria-valuetext')

    status = page.locator('#frame-status')
    page.click('#next')
    assert status.inner_text().startswith('2 of 14')
    page.click('#previous')
    assert status.inner_text().startswith('1 of 14')
    page.uncheck('[id="show-body"]')
    page.locator('#space canvas:not([aria-label*="body"])').wait_for(state='attached')
    page.check('[id="show-body"]')
    page.locator('#space canvas[aria-label*="body"]').wait_for(state='attached')


@pytest.mark.parametrize('width', [360, 1600])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_text_is_legible_and_nothing_is_wider_than_the_window(browser, file, width, scheme) -> None:
    context = browser.new_context(viewport={'width': width, 'height': 800}, color_scheme=scheme)
    context.set_default_timeout(180_000)
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector('#cards button')
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    assert page.evaluate(CONTRAST) >= 4.5  # WCAG 2.2, level AA
    # Every control has a name.
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, select, input')].filter(node => "
        '!(node.textContent.trim() || node.ariaLabel || node.labels?.[0]?.textContent.trim()))'
        '.length'
    )
    assert unnamed == 0
    context.close()


#: The smallest contrast of the page's text colors with its backgrounds, and of text with bars.
CONTRAST = """() => {
    const style = getComputedStyle(document.documentElement);
    const luminance = (name) => {
        const hex = style.getPropertyValue(name).trim().slice(1);
        const [r, g, b] = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    // A bar mixes its color into the page's; the mixture is computed by drawing it.
    const context = document.createElement('canvas').getContext('2d');
    const mixed = (name) => {
        context.globalAlpha = 1;
        context.fillStyle = style.getPropertyValue('--back');
        context.fillRect(0, 0, 1, 1);
        context.globalAlpha = parseFloat(style.getPropertyValue('--bar')) / 100;
        context.fillStyle = style.getPropertyValue(name);
        context.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const small = getComputedStyle(document.querySelector('td.bar small')).color;
    const color = getComputedStyle(document.body).color;
    if (small !== color) return 0;
    const ratios = [0, 1, 2, 3, 4, 5].map((k) => ratio(luminance('--text'), mixed(`--c${k}`)));
    for (const text of ['--text', '--faint', '--link']) {
        for (const back of ['--back', '--panel']) {
            ratios.push(ratio(luminance(text), luminance(back)));
        }
    }
    return Math.min(...ratios);
}"""
