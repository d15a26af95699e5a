// What the theme leaves out for people who use a screen reader or a keyboard.
document.addEventListener('DOMContentLoaded', () => {
  for (const caption of document.querySelectorAll('.caption[role=heading]')) caption.setAttribute('aria-level', '2');
  for (const overlay of document.querySelectorAll('label.overlay, label.toc-overlay-icon')) overlay.setAttribute('aria-hidden', 'true');
  document.querySelector('.sidebar-drawer')?.setAttribute('aria-label', 'Site navigation');
  document.querySelector('.toc-drawer')?.setAttribute('aria-label', 'Contents of this page');
  // A block or table that scrolls can be reached by keyboard.
  const scrolls = (node) => node.scrollWidth > node.clientWidth || node.scrollHeight > node.clientHeight;
  for (const block of document.querySelectorAll('pre, .table-wrapper')) if (scrolls(block)) block.tabIndex = 0;
  // An indented part of a docstring is no list of definitions.
  for (const list of document.querySelectorAll('dl')) {
    if (list.querySelector(':scope > dt')) continue;
    const block = document.createElement('div');
    block.className = 'indented';
    for (const part of [...list.children]) block.append(...part.childNodes);
    list.replaceWith(block);
  }
  // A column without a title has no header.
  for (const header of document.querySelectorAll('th')) {
    if (header.textContent.trim() || header.querySelector('img')) continue;
    const cell = document.createElement('td');
    cell.className = header.className;
    header.replaceWith(cell);
  }
});
