'use strict';
(() => {
  const element = (id) => document.getElementById(id);
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === 'text') node.textContent = value;
      else if (value !== null && value !== undefined) node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  };
  const svg = (tag, attributes = {}) => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };

  // -------------------------------------------------------------- sortable tables

  const cellValue = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = Number(text);
    return text !== '' && !Number.isNaN(number) ? number : text;
  };
  const compare = (a, b) => {
    if (typeof a === typeof b) return typeof a === 'number' ? a - b : a.localeCompare(b, 'en', { numeric: true });
    return typeof a === 'number' ? -1 : 1;
  };
  for (const table of document.querySelectorAll('table.sortable')) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = head.querySelector('button');
      button.addEventListener('click', () => {
        const numeric = head.classList.contains('number');
        const first = numeric ? 'descending' : 'ascending';
        const other = numeric ? 'ascending' : 'descending';
        const order = head.getAttribute('aria-sort') === first ? other : first;
        heads.forEach((each) => each.setAttribute('aria-sort', 'none'));
        head.setAttribute('aria-sort', order);
        const sign = order === 'ascending' ? 1 : -1;
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => sign * compare(cellValue(a, column), cellValue(b, column)));
        table.tBodies[0].append(...rows);
      });
    });
  }

  // -------------------------------------------------------------- packed data

  const source = element('gallery-data');
  if (!source) return;
  const gallery = JSON.parse(source.textContent);

  const unpack = async (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  const words = (bytes) => {
    const count = bytes.length / 2;
    const values = new Uint16Array(count);
    for (let i = 0; i < count; i += 1) values[i] = bytes[i] | (bytes[i + count] << 8);
    return values;
  };
  const facesOf = {};
  const faces = (kind) => {
    facesOf[kind] ??= unpack(gallery.faces[kind]).then(words);
    return facesOf[kind];
  };
  // Posed vertices as x, y, z in meters of the camera frame (y down, z forward).
  const vertices = async (mesh) => {
    const steps = words(await unpack(mesh.data));
    const points = new Float32Array(steps.length);
    const at = [...mesh.first];
    for (let i = 0; i < steps.length; i += 1) {
      const axis = i % 3;
      at[axis] += steps[i] > 32767 ? steps[i] - 65536 : steps[i];
      points[i] = at[axis] * mesh.step;
    }
    return points;
  };

  // -------------------------------------------------------------- marks and bodies in the picture

  const SHAPES = {
    circle: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
    cross: (x, y, r) => `M${x - r} ${y - r}l${2 * r} ${2 * r}M${x + r} ${y - r}l${-2 * r} ${2 * r}`,
    square: (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    diamond: (x, y, r) => `M${x} ${y - 1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}z`,
    plus: (x, y, r) => `M${x - 1.3 * r} ${y}h${2.6 * r}M${x} ${y - 1.3 * r}v${2.6 * r}`,
    triangle: (x, y, r) => `M${x} ${y - 1.2 * r}l${1.2 * r} ${2.1 * r}h${-2.4 * r}z`,
  };
  const BY_STYLE = ['cross', 'square', 'diamond', 'plus', 'triangle', 'circle'];
  // Fixed colors: marks lie over photographs, whatever the page's colors are.
  const COLORS = ['#ff8a3d', '#54b8ff', '#d08cff', '#b6e36b', '#ff8cc0', '#dfe6ee'];
  const LABEL_COLOR = '#3df0a6';
  const layers = ['label', ...gallery.regressors];
  const shapeOf = (name) => (name === 'label' ? 'circle' : BY_STYLE[gallery.styles[name]]);
  const colorOf = (name) => (name === 'label' ? LABEL_COLOR : COLORS[gallery.styles[name]]);

  const hidden = new Set();
  let showInitial = false;

  const marks = (frame, radius, width) => {
    const node = svg('svg', { viewBox: `0 0 ${frame.size} ${frame.size}`, class: 'marks', 'aria-hidden': 'true' });
    if (frame.mask) node.append(svg('path', { d: frame.mask, class: 'mask', 'stroke-width': width }));
    for (const name of layers) {
      const d = (frame.points[name] ?? []).filter((point) => point !== null)
        .map(([x, y]) => SHAPES[shapeOf(name)](x, y, radius)).join('');
      const group = svg('g', { 'data-layer': name });
      group.append(
        svg('path', { d, class: 'halo', 'stroke-width': width + 2 }),
        svg('path', { d, stroke: colorOf(name), 'stroke-width': width }),
      );
      node.append(group);
    }
    return node;
  };
  const meshOf = (frame) => {
    const names = Object.keys(frame.meshes);
    if (!names.length) return null;
    return frame.meshes[showInitial ? names[0] : names[names.length - 1]];
  };
  const project = (frame, points) => {
    const [fx, fy, cx, cy, k1, k2, k3, p1, p2] = frame.camera;
    const pixels = new Float32Array((points.length / 3) * 2);
    for (let i = 0, j = 0; i < points.length; i += 3, j += 2) {
      const x = points[i] / points[i + 2];
      const y = points[i + 1] / points[i + 2];
      const r = x * x + y * y;
      const scale = 1 + r * (k1 + r * (k2 + r * k3)) + p1 * y + p2 * x;
      pixels[j] = fx * (x * scale + r * p2) + cx;
      pixels[j + 1] = fy * (y * scale + r * p1) + cy;
    }
    return pixels;
  };
  const LIGHT = [-0.4, -0.62, -0.68];
  // Draw a shaded body by painting its front faces from far to near.
  const drawBody = async (canvas, frame) => {
    const mesh = meshOf(frame);
    const ticket = Symbol('drawing');
    canvas.ticket = ticket;
    const context = canvas.getContext('2d');
    if (!mesh) { context.clearRect(0, 0, canvas.width, canvas.height); return; }
    const [points, corners] = await Promise.all([vertices(mesh), faces(mesh.kind)]);
    if (canvas.ticket !== ticket) return;
    const pixels = project(frame, points);
    const count = corners.length / 3;
    const shown = [];
    for (let face = 0; face < count; face += 1) {
      const [a, b, c] = [corners[3 * face], corners[3 * face + 1], corners[3 * face + 2]];
      const u = [0, 1, 2].map((k) => points[3 * b + k] - points[3 * a + k]);
      const v = [0, 1, 2].map((k) => points[3 * c + k] - points[3 * a + k]);
      const n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
      const facing = n[0] * points[3 * a] + n[1] * points[3 * a + 1] + n[2] * points[3 * a + 2];
      if (facing >= 0) continue;
      const length = Math.hypot(...n) || 1;
      const light = (n[0] * LIGHT[0] + n[1] * LIGHT[1] + n[2] * LIGHT[2]) / length;
      shown.push([points[3 * a + 2] + points[3 * b + 2] + points[3 * c + 2], a, b, c, light]);
    }
    shown.sort((p, q) => q[0] - p[0]);
    const scale = canvas.width / frame.size;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.lineWidth = 0.7;
    const base = showInitial && Object.keys(frame.meshes).length > 1 ? [236, 190, 150] : [178, 198, 228];
    for (const [, a, b, c, light] of shown) {
      const shade = 0.42 + 0.58 * Math.max(light, 0);
      const color = `rgb(${base.map((value) => Math.round(value * shade)).join(' ')})`;
      context.fillStyle = color;
      context.strokeStyle = color;
      context.beginPath();
      context.moveTo(pixels[2 * a], pixels[2 * a + 1]);
      context.lineTo(pixels[2 * b], pixels[2 * b + 1]);
      context.lineTo(pixels[2 * c], pixels[2 * c + 1]);
      context.closePath();
      context.fill();
      context.stroke();
    }
    canvas.dataset.drawn = 'true';
  };
  const fill = (stage, frame, pixels, radius, width) => {
    const canvas = make('canvas', { width: pixels, height: pixels, 'aria-hidden': 'true' });
    canvas.style.opacity = 0.72;
    stage.replaceChildren();
    if (frame.photo) stage.append(make('img', { src: frame.photo, class: 'photo', alt: '' }));
    stage.append(canvas, marks(frame, radius, width));
    return canvas;
  };
  const applyHidden = (root = document) => {
    element('gallery').dataset.hide = [...hidden].join(' ');
    for (const group of root.querySelectorAll('[data-layer]')) {
      group.style.display = hidden.has(group.dataset.layer) ? 'none' : '';
    }
  };

  // -------------------------------------------------------------- text of a frame

  const last = gallery.regressors[gallery.regressors.length - 1];
  const first = gallery.regressors[0];
  const number = (value, digits = 1) => (value === null || value === undefined ? '–' : value.toFixed(digits));
  const iouOf = (frame) => Object.values(frame.iou).at(-1);
  const titleOf = (frame) => {
    const { subject, action, camera, frame: index } = frame.labels;
    return subject ? `${subject} ${(action ?? '').replaceAll('_', ' ')}, camera ${camera}, frame ${index}` : frame.name;
  };
  const describe = (frame) => {
    const mm = gallery.regressors.map((name) => `${name} ${number(frame.mpjpe[name])} mm`).join(', ');
    const iou = iouOf(frame);
    return mm + (iou === undefined || iou === null ? '' : `, IoU ${number(iou, 3)}`);
  };
  const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
  const jointErrors = (frame, name) => {
    const label = frame.joints.label;
    const points = frame.joints[name];
    return label.map((point, row) => {
      if (point === null || label[0] === null || points[row] === null) return null;
      const moved = points[row].map((value, k) => value - points[0][k] + label[0][k]);
      return 1000 * distance(point, moved);
    });
  };
  const tableOf = (header, rows, caption) => {
    const body = make('tbody');
    for (const [title, ...cells] of rows) {
      body.append(make('tr', {}, make('th', { scope: 'row', text: title }), ...cells.map((text) => make('td', { text }))));
    }
    const head = make('tr', {}, ...header.map((text, column) => make('th', { scope: 'col', text, class: column ? 'number' : null })));
    return make('div', { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': caption }, make('table', {}, make('caption', { text: caption }), make('thead', {}, head), body));
  };
  const showNumbers = (frame) => {
    const node = element('numbers');
    const before = Object.keys(frame.init).length > 0;
    const rows = gallery.regressors.map((name) => [
      name, ...(before ? [number(frame.init[name])] : []), number(frame.mpjpe[name]),
    ]);
    const iou = Object.entries(frame.iou);
    const header = before ? ['Regressor', 'Before, mm', 'After, mm'] : ['Regressor', 'MPJPE, mm'];
    const errors = gallery.regressors.map((name) => jointErrors(frame, name));
    const joints = gallery.joints.map((joint, row) => [joint.replaceAll('_', ' '), ...errors.map((each) => number(each[row], 0))]);
    node.replaceChildren(
      tableOf(header, rows, before ? 'MPJPE of this frame, before and after the refinement' : 'Error of this frame'),
      ...(iou.length ? [tableOf(['Mesh', 'IoU'], iou.map(([name, value]) => [name, number(value, 3)]), 'Overlap with the mask')] : []),
      make('details', {}, make('summary', { text: 'By joint' }), tableOf(['Joint', ...gallery.regressors], joints, 'Distance of each joint from its label, mm, after both are moved to a common pelvis')),
      make('p', { class: 'note', text: `${frame.source}: ${frame.name}` }),
    );
  };

  // -------------------------------------------------------------- selection, order, cards

  const PAGE = 24;
  let shownFrames = gallery.frames;
  let visible = PAGE;
  let current = null;
  const cards = new Map();
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watcher.unobserve(entry.target);
      const { canvas, frame } = entry.target;
      drawBody(canvas, frame);
    }
  }, { rootMargin: '200px' });

  const cardOf = (frame) => {
    if (!cards.has(frame)) {
      const stage = make('span', { class: 'stage' });
      stage.style.display = 'block';
      const text = `${frame.source}: ${describe(frame)}`;
      const button = make('button', { type: 'button' }, stage, make('span', { text: titleOf(frame) }), make('br'), make('small', { text }));
      button.canvas = fill(stage, frame, 300, 2.6, 1);
      button.frame = frame;
      button.addEventListener('click', () => { select(frame); announce(); element('frame-title').scrollIntoView({ block: 'nearest' }); });
      watcher.observe(button);
      cards.set(frame, make('li', {}, button));
      applyHidden(cards.get(frame));
    }
    return cards.get(frame);
  };
  const listeners = [];
  const select = (frame) => {
    current = frame;
    const place = shownFrames.indexOf(frame);
    element('frame-title').textContent = `${titleOf(frame)} (${frame.source})`;
    element('position').textContent = `${place + 1} of ${shownFrames.length}`;
    element('previous').disabled = place <= 0;
    element('next').disabled = place < 0 || place === shownFrames.length - 1;
    const stage = element('stage');
    stage.setAttribute('role', 'img');
    stage.setAttribute('aria-label', `Image, mask, body, labels and joints of ${titleOf(frame)}. ${describe(frame)}`);
    drawBody(fill(stage, frame, 800, 3.4, 2), frame);
    applyHidden(stage);
    showNumbers(frame);
    for (const [each, item] of cards) item.firstChild.setAttribute('aria-current', String(each === frame));
    listeners.forEach((listen) => listen(frame));
  };
  // Say to a screen reader which frame is shown; not when the page opens.
  const announce = () => {
    const place = shownFrames.indexOf(current);
    element('frame-status').textContent = `${place + 1} of ${shownFrames.length}: ${titleOf(current)}, ${current.source}, ${describe(current)}`;
  };
  const listCards = () => {
    element('cards').replaceChildren(...shownFrames.slice(0, visible).map(cardOf));
    element('more').hidden = visible >= shownFrames.length;
    for (const [each, item] of cards) item.firstChild.setAttribute('aria-current', String(each === current));
  };
  const orders = {
    ...Object.fromEntries([...gallery.regressors].reverse().map((name) => [
      `MPJPE under ${name}, worst first`, (frame) => -(frame.mpjpe[name] ?? 0),
    ])),
    'IoU, worst first': (frame) => iouOf(frame) ?? 2,
    ...(first !== last ? { [`Gain of ${last} over ${first}, largest first`]: (frame) => (frame.mpjpe[last] ?? 0) - (frame.mpjpe[first] ?? 0) } : {}),
    Name: null,
  };
  const arrange = () => {
    const wanted = element('source').value;
    const key = orders[element('order').value];
    shownFrames = gallery.frames.filter((frame) => wanted === '' || frame.source === wanted);
    shownFrames.sort(key ? (a, b) => key(a) - key(b) : (a, b) => (a.name < b.name ? -1 : 1));
    visible = PAGE;
    listCards();
    select(shownFrames[0]);
  };
  const step = (by) => {
    const next = shownFrames[shownFrames.indexOf(current) + by];
    if (next) { select(next); announce(); }
  };

  // -------------------------------------------------------------- controls

  const redraw = () => {
    for (const [frame, item] of cards) {
      if (item.firstChild.canvas.dataset.drawn) drawBody(item.firstChild.canvas, frame);
    }
    select(current);
  };
  const toggle = (key, text, swatch) => {
    const box = make('input', { type: 'checkbox', id: `show-${key}` });
    box.checked = true;
    box.addEventListener('change', () => {
      if (box.checked) hidden.delete(key); else hidden.add(key);
      applyHidden();
      listeners.forEach((listen) => listen(current));
    });
    const label = make('label', {}, box);
    if (swatch) {
      const icon = svg('svg', { viewBox: '0 0 18 18', class: 'swatch', 'aria-hidden': 'true' });
      icon.append(svg('path', { d: SHAPES[shapeOf(key)](9, 9, 5), stroke: key === 'label' ? 'var(--label)' : `var(--c${gallery.styles[key]})` }));
      label.append(icon);
    }
    label.append(text);
    element('toggles').append(label);
  };
  if (gallery.frames.some((frame) => frame.photo)) toggle('photo', 'photograph');
  if (gallery.frames.some((frame) => frame.mask)) toggle('mask', 'outline of the mask');
  if (gallery.frames.some((frame) => Object.keys(frame.meshes).length)) toggle('body', 'body');
  toggle('label', 'labels', true);
  for (const name of gallery.regressors) toggle(name, name, true);
  if (gallery.frames.some((frame) => Object.keys(frame.meshes).length > 1)) {
    const box = make('input', { type: 'checkbox', id: 'show-initial' });
    box.addEventListener('change', () => { showInitial = box.checked; redraw(); });
    element('toggles').append(make('label', {}, box, 'body before the refinement (brown)'));
  }
  const sources = [...new Set(gallery.frames.map((frame) => frame.source))];
  element('source').append(...(sources.length > 1 ? [make('option', { value: '', text: 'all' })] : []), ...sources.map((name) => make('option', { value: name, text: name })));
  element('order').append(...Object.keys(orders).map((name) => make('option', { value: name, text: name })));
  element('source').addEventListener('change', () => { arrange(); announce(); });
  element('order').addEventListener('change', () => { arrange(); announce(); });
  element('previous').addEventListener('click', () => step(-1));
  element('next').addEventListener('click', () => step(1));
  element('more').addEventListener('click', () => {
    const before = visible;
    visible += 2 * PAGE;
    listCards();
    element('frame-status').textContent = `${Math.min(visible, shownFrames.length)} of ${shownFrames.length} frames are listed`;
    element('cards').children[before].firstChild.focus({ preventScroll: true });
  });

  // -------------------------------------------------------------- 3D view

  const importPacked = async (id, rewrite = (text) => text) => {
    const text = rewrite(new TextDecoder().decode(await unpack(element(id).textContent)));
    const url = URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));
    return [await import(url), url];
  };
  const startSpace = async () => {
    const holder = element('space');
    const message = element('space-message');
    const [THREE, url] = await importPacked('three-module');
    const [{ OrbitControls }] = await importPacked('three-controls', (text) => text.replace("'three'", JSON.stringify(url)));
    const renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true, preserveDrawingBuffer: true });
    renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    const canvas = renderer.domElement;
    canvas.tabIndex = 0;
    // An application: screen readers hand the arrow keys to it.
    canvas.setAttribute('role', 'application');
    canvas.setAttribute('aria-roledescription', '3D view');
    canvas.setAttribute('aria-describedby', 'space-keys');
    holder.append(canvas);
    message.remove();
    const scene = new THREE.Scene();
    const camera = new THREE.PerspectiveCamera(32, 1, 0.05, 100);
    scene.add(new THREE.HemisphereLight(0xffffff, 0x707880, 1.7));
    const sun = new THREE.DirectionalLight(0xffffff, 1.9);
    camera.add(sun);
    sun.position.set(-1, 2, 1);
    scene.add(camera);
    const controls = new OrbitControls(camera, canvas);
    controls.enableDamping = false;
    const content = new THREE.Group();
    scene.add(content);
    const render = () => renderer.render(scene, camera);
    controls.addEventListener('change', render);
    new ResizeObserver(() => {
      const { clientWidth: width, clientHeight: height } = holder;
      if (!width || !height) return;
      renderer.setSize(width, height, false);
      camera.aspect = width / height;
      camera.updateProjectionMatrix();
      render();
    }).observe(holder);

    const DIRECTIONS = { camera: [0, 0, 1], side: [1, 0, 0], top: [0.001, 1, 0] };
    let view = 'camera';
    const look = () => {
      const [x, y, z] = DIRECTIONS[view];
      controls.target.set(0, 0, 0);
      camera.position.set(x, y, z).normalize().multiplyScalar(4.4);
      controls.update();
      render();
    };
    for (const button of document.querySelectorAll('[data-view]')) {
      button.addEventListener('click', () => { view = button.dataset.view; look(); });
    }
    const turn = (azimuth, polar, zoom) => {
      const offset = new THREE.Spherical().setFromVector3(camera.position.clone().sub(controls.target));
      offset.theta += azimuth;
      offset.phi = Math.min(Math.max(offset.phi + polar, 0.05), Math.PI - 0.05);
      offset.radius = Math.min(Math.max(offset.radius * zoom, 0.5), 30);
      camera.position.setFromSpherical(offset).add(controls.target);
      controls.update();
      render();
    };
    const KEYS = {
      ArrowLeft: [-0.15, 0, 1], ArrowRight: [0.15, 0, 1], ArrowUp: [0, -0.1, 1], ArrowDown: [0, 0.1, 1],
      '+': [0, 0, 0.9], '=': [0, 0, 0.9], '-': [0, 0, 1.1],
    };
    canvas.addEventListener('keydown', (event) => {
      if (!(event.key in KEYS)) return;
      turn(...KEYS[event.key]);
      event.preventDefault();
    });

    const skeleton = (points, color, radius) => {
      const group = new THREE.Group();
      const material = new THREE.MeshBasicMaterial({ color, depthTest: false, transparent: true });
      const sphere = new THREE.SphereGeometry(radius, 16, 12);
      points.forEach((point) => {
        if (!point) return;
        const ball = new THREE.Mesh(sphere, material);
        ball.position.set(...point);
        ball.renderOrder = 3;
        group.add(ball);
      });
      const line = [];
      for (const [a, b] of gallery.bones) {
        if (points[a] && points[b]) line.push(...points[a], ...points[b]);
      }
      const geometry = new THREE.BufferGeometry();
      geometry.setAttribute('position', new THREE.Float32BufferAttribute(line, 3));
      const lines = new THREE.LineSegments(geometry, new THREE.LineBasicMaterial({ color, depthTest: false, transparent: true, opacity: 0.8 }));
      lines.renderOrder = 2;
      group.add(lines);
      return group;
    };
    const darkPage = window.matchMedia('(prefers-color-scheme: dark)');
    const cssColor = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    let ticket = null;
    let bodyMaterial = null;
    const show = async (frame) => {
      const mine = Symbol('frame');
      ticket = mine;
      const mesh = hidden.has('body') ? null : meshOf(frame);
      const loaded = mesh ? await Promise.all([vertices(mesh), faces(mesh.kind)]) : null;
      if (ticket !== mine) return;
      content.traverse((node) => { node.geometry?.dispose(); node.material?.dispose(); });
      content.clear();
      // y down and z forward become y up and z towards the viewer; the body's middle is the origin.
      const reference = frame.joints[last].filter(Boolean);
      const middle = [0, 1, 2].map((k) => reference.reduce((sum, point) => sum + point[k], 0) / reference.length);
      const moved = ([x, y, z], shift = [0, 0, 0]) => [x - middle[0] + shift[0], middle[1] - y - shift[1], middle[2] - z - shift[2]];
      if (loaded) {
        const [points, corners] = loaded;
        const positions = new Float32Array(points.length);
        for (let i = 0; i < points.length; i += 3) positions.set(moved([points[i], points[i + 1], points[i + 2]]), i);
        const geometry = new THREE.BufferGeometry();
        geometry.setAttribute('position', new THREE.BufferAttribute(positions, 3));
        geometry.setIndex(new THREE.BufferAttribute(corners, 1));
        geometry.computeVertexNormals();
        const before = showInitial && Object.keys(frame.meshes).length > 1;
        const opacity = Number(element('opacity').value);
        bodyMaterial = new THREE.MeshStandardMaterial({ color: before ? 0xd9a87c : 0x9fb4d4, roughness: 0.75, transparent: true, opacity });
        bodyMaterial.visible = opacity > 0;
        content.add(new THREE.Mesh(geometry, bodyMaterial));
      }
      const parts = [loaded ? 'body' : null, ...gallery.regressors.map((name) => (hidden.has(name) ? null : `joints of ${name}`)), hidden.has('label') ? null : 'labels'].filter(Boolean);
      canvas.setAttribute('aria-label', `${parts.join(', ') || 'nothing'} of ${titleOf(frame)} in space`);
      const label = frame.joints.label;
      let shift = [0, 0, 0];
      if (element('align').checked && label[0]) {
        const visibleRegressors = gallery.regressors.filter((name) => !hidden.has(name));
        const pelvis = frame.joints[visibleRegressors.at(-1) ?? last][0];
        shift = [0, 1, 2].map((k) => pelvis[k] - label[0][k]);
      }
      for (const name of [...gallery.regressors, 'label']) {
        if (hidden.has(name)) continue;
        const color = cssColor(name === 'label' ? '--label' : `--c${gallery.styles[name]}`);
        const points = frame.joints[name].map((point) => point && moved(point, name === 'label' ? shift : undefined));
        content.add(skeleton(points, color, name === 'label' ? 0.017 : 0.013));
      }
      render();
      canvas.dataset.frame = frame.name;
    };
    element('opacity').addEventListener('input', () => {
      element('opacity').setAttribute('aria-valuetext', `${Math.round(100 * element('opacity').value)} %`);
      if (!bodyMaterial) return;
      bodyMaterial.opacity = Number(element('opacity').value);
      bodyMaterial.visible = bodyMaterial.opacity > 0;
      render();
    });
    element('align').addEventListener('change', () => show(current));
    darkPage.addEventListener('change', () => show(current));
    look();
    listeners.push(show);
    await show(current);
  };

  element('gallery').hidden = false;
  arrange();
  startSpace().catch((error) => {
    const reason = String(error && error.message ? error.message : error);
    const place = element('space-message') ?? element('space').appendChild(make('p', { id: 'space-message' }));
    place.textContent = `The 3D view could not be drawn (${reason}). The pictures do not need it.`;
  });
})();
