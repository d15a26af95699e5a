"""Sphinx configuration of the documentation: ``make docs``."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

from sphinx.application import Sphinx

from mmjrr.version import __version__

DOCS = Path(__file__).resolve().parent

project = 'mmjrr'
author = 'The mmjrr contributors'
copyright = author
version = release = __version__

extensions = [
    'myst_nb',
    'sphinx.ext.autodoc',
    'sphinx.ext.autosummary',
    'sphinx.ext.napoleon',
    'sphinx.ext.mathjax',
    'sphinx-mathjax-offline',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
]
templates_path = ['_templates']
exclude_patterns = ['_build', '_static', '_templates', 'results']
html_theme = 'furo'
html_title = f'mmjrr {version}'
html_copy_source = False
html_static_path = ['_static']
html_css_files = ['site.css']
html_js_files = ['accessibility.js']
#: A style whose colors all have a contrast of 4.5 with their background (WCAG 2.2, level AA).
pygments_style = 'xcode'

# Pages are Markdown that also reads well on a code host: links between headings, formulas in $.
myst_enable_extensions = ['dollarmath', 'deflist']
myst_heading_anchors = 4
myst_links_external_new_tab = False

# Notebooks are executed at each build, and an error in one ends the build.
nb_execution_mode = 'force'
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_default_options = {'members': True, 'show-inheritance': True}
autodoc_member_order = 'bysource'
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
# Members show their types themselves.
napoleon_attr_annotations = False
napoleon_custom_sections = [('Shapes', 'notes_style')]
#: Longer signatures have one parameter a line.
python_maximum_signature_line_length = 88
copybutton_exclude = '.linenos, .gp'

#: Files outside docs/ that are pages of the site: the page, and the file that it shows.
PAGES_FROM_THE_REPOSITORY = {
    'changelog': 'CHANGELOG.md',
    'contributing': 'CONTRIBUTING.md',
    'configs_evaluation': 'configs/evaluation/README.md',
    'configs_inference': 'configs/inference/README.md',
    'configs_refinement': 'configs/refinement/README.md',
    'configs_segmentation': 'configs/segmentation/README.md',
    'configs_training': 'configs/training/README.md',
}


def write_api_pages() -> None:
    """Write a page for each package with its public names: a page for each class and function."""
    text = (DOCS / 'public_interface.md').read_text()
    packages = re.findall(r'^### `([\w.]+)`', text, flags=re.MULTILINE)
    page_of: dict[int, str] = {}  # of each class and function that has a page
    for package in packages:
        _write_if_changed(DOCS / 'api' / f'{package}.rst', _api_page(package, page_of))
    lines = ['API reference', '=============', '', '.. toctree::', '   :maxdepth: 1', '']
    _write_if_changed(
        DOCS / 'api' / 'index.rst', '\n'.join(lines + [f'   {p}' for p in packages]) + '\n'
    )


def _api_page(package: str, page_of: dict[int, str]) -> str:
    module = import_module(package)
    values = {name: getattr(module, name) for name in module.__all__ if name != '__version__'}
    documented: list[str] = []
    elsewhere: list[str] = []
    constants: list[str] = []
    for name, value in values.items():
        if isinstance(value, ModuleType):
            continue
        if not callable(value):
            constants.append(name)
        elif id(value) in page_of:
            elsewhere.append(
                f'- ``{name}``: :doc:`{page_of[id(value)]} <generated/{page_of[id(value)]}>`'
            )
        else:
            documented.append(name)
            page_of[id(value)] = f'{package}.{name}'
    summary = (module.__doc__ or '').strip().splitlines()[0]
    lines = [package, '=' * len(package), '', summary, '', f'.. currentmodule:: {package}', '']
    if documented:
        lines += ['.. autosummary::', '   :toctree: generated', '']
        lines += [*(f'   {name}' for name in documented), '']
    if elsewhere:
        lines += ['From other packages:', '', *elsewhere, '']
    for name in constants:  # their comments stand where they are defined
        lines += [f'.. autodata:: {_defining_module(package, name)}.{name}', '   :no-value:', '']
    return '\n'.join(lines)


def _defining_module(module: str, name: str) -> str:
    """Follow a module's imports to the module that defines a constant."""
    for statement in ast.walk(ast.parse(inspect.getsource(import_module(module)))):
        if (
            isinstance(statement, ast.ImportFrom)
            and statement.module
            and name in [alias.name for alias in statement.names]
        ):
            return _defining_module(statement.module, name)
    return module


def write_repository_pages() -> None:
    """Write the pages that show files from outside docs/, with links to the site's pages."""
    for page, file in PAGES_FROM_THE_REPOSITORY.items():
        source = DOCS.parent / file
        if source.exists():
            text = _links_to_the_site(source.read_text(), source.parent)
            _write_if_changed(DOCS / 'repository' / f'{page}.md', text)


def turn_links(app: Sphinx, page: str, source: list[str]) -> None:
    """Turn a page's links to files outside docs/ to their pages on the site."""
    path = Path(app.env.doc2path(page))
    if path.suffix == '.md' and not page.startswith('repository/'):
        source[0] = _links_to_the_site(source[0], path.parent)


def _links_to_the_site(text: str, folder: Path) -> str:
    root = DOCS.parent
    pages = {
        root / file: f'/repository/{page}.md' for page, file in PAGES_FROM_THE_REPOSITORY.items()
    }

    def turned(match: re.Match[str]) -> str:
        label, target, anchor = match[1], match[2], match[3] or ''
        path = (folder / target).resolve()
        if path in pages:
            return f'[{label}]({pages[path]}{anchor})'
        if DOCS in path.parents or not path.exists():
            relative = path.relative_to(DOCS) if DOCS in path.parents else target
            return f'[{label}](/{relative}{anchor})' if DOCS in path.parents else match[0]
        return f'{label} (`{path.relative_to(root)}`)'  # a file of the repository without a page

    return re.sub(r'(?<!!)\[([^\]]+)\]\((?!https?:|#|/)([^)#\s]+)(#[^)]*)?\)', turned, text)


def _write_if_changed(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def setup(app: Sphinx) -> None:
    """Write the pages that come from the package, and connect what happens while pages are read."""
    write_api_pages()
    write_repository_pages()
    app.connect('source-read', turn_links)
