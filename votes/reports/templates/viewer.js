'use strict';
// Two pictures of a frame on top of each other: a divider, a frame scrubber, zoom at pixels, and a curve of values.
// source: {clips: [name], names: (clip) => [picture], count: (clip) => frames, picture: (clip, i, name) => address,
//          about: (clip, i) => text, curves: (clip) => {label: [value or null]}, unit, left, right, words: {clip, frame}}
// Only the pictures that are shown are loaded, and those of the frame after them.
const COLOURS = ['#0b6bcb', '#d9730d', '#2e8b57', '#a33ea1', '#b3261e', '#7a6a00'];
const ZOOMS = [1, 2, 4, 8, 16, 32];

function element(tag, attributes = {}, ...children) {
  const made = tag === 'svg' || tag.startsWith('svg:')
    ? document.createElementNS('http://www.w3.org/2000/svg', tag.replace('svg:', '')) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function makeViewer(root, source) {
  const words = { clip: 'clip', frame: 'frame', ...source.words };
  const [clip, left, right] = ['clip', 'left', 'right'].map((name) => element('select', { class: name }));
  const split = element('input', { class: 'split', type: 'range', min: 0, max: 100, value: 50 });
  const frame = element('input', { class: 'frame', type: 'range', min: 0, max: 0, value: 0 });
  const about = element('output', { class: 'about' });
  const [under, over] = ['under', 'over'].map((name) => element('img', { class: name, alt: '', draggable: 'false' }));
  const [back, front] = [[under, 'back'], [over, 'front']].map(([image, name]) => element('div', { class: `layer ${name}` }, image));
  const bar = element('div', { class: 'bar' });
  const [l, r] = ['l', 'r'].map((name) => element('span', { class: name }));
  const stage = element('div', {
    class: 'stage', tabindex: 0, role: 'slider', 'aria-valuemin': 0, 'aria-valuemax': 100,
    'aria-label': 'comparison: arrow keys left and right, Home and End move the divider, up and down, PageUp and '
      + 'PageDown change the frame, plus, minus and 0 zoom, Shift with arrow keys moves what is zoomed',
  }, back, front, bar, l, r);
  const [less, more, fit] = [['−', 'zoom out'], ['+', 'zoom in'], ['fit', 'whole picture']].map(
    ([text, label]) => element('button', { type: 'button', 'aria-label': label, title: label }, text));
  const scale = element('output', { class: 'zoom' });
  const curve = element('svg', { class: 'curve', role: 'img', 'aria-label': 'values of each frame', preserveAspectRatio: 'none' });
  const legend = element('p', { class: 'legend' });
  const labelled = (text, input) => element('label', {}, `${text} `, input);
  const clipLabel = labelled(words.clip, clip);
  const row = (text, input) => {
    input.setAttribute('aria-label', text);
    return element('div', { class: 'controls' }, element('span', { 'aria-hidden': 'true' }, text), input);
  };
  const scrubber = row(words.frame, frame);
  root.append(
    element('div', { class: 'controls' }, clipLabel, labelled('left', left), labelled('right', right), about),
    stage, row('divider', split), scrubber,
    element('div', { class: 'controls' }, element('span', {}, 'zoom'), less, more, fit, scale), curve, legend);

  let zoom = 0; // pixels of the screen for one of the picture; 0: all of it fits
  let centre = [0.5, 0.5];
  let loading = false;
  let again = false;
  let shown = '';
  let drawn = null;
  let cursor = null;

  const place = () => {
    const width = stage.clientWidth;
    const factor = zoom ? Math.max(1, (zoom * under.naturalWidth) / Math.max(1, width)) : 1;
    centre = centre.map((c) => Math.min(1 - 0.5 / factor, Math.max(0.5 / factor, c)));
    const [x, y] = centre.map((c, i) => (0.5 - c * factor) * (i ? stage.clientHeight : width));
    for (const image of [under, over]) image.style.transform = factor > 1 ? `translate(${x}px, ${y}px) scale(${factor})` : '';
    stage.classList.toggle('zoomed', factor > 1);
    scale.textContent = zoom ? `${100 * zoom} %` : 'whole picture';
  };
  const divide = () => {
    front.style.clipPath = `inset(0 ${100 - split.value}% 0 0)`;
    bar.style.left = `${split.value}%`;
    stage.setAttribute('aria-valuenow', split.value);
    stage.setAttribute('aria-valuetext', `${split.value} % ${left.value}, ${about.textContent}`);
  };
  const zoomTo = (step, at) => {
    const width = Math.max(1, stage.clientWidth);
    const useful = ZOOMS.filter((z) => (z * under.naturalWidth) / width > 1.05);
    const next = step > 0 ? useful.find((z) => z > zoom) : step < 0 ? useful.filter((z) => z < zoom).pop() : 0;
    if (at) centre = at;
    zoom = next === undefined ? (step > 0 ? zoom : 0) : next;
    place();
  };
  const spot = (event) => { // of the picture, 0 to 1
    const box = stage.getBoundingClientRect();
    const factor = zoom ? Math.max(1, (zoom * under.naturalWidth) / Math.max(1, box.width)) : 1;
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((p, i) => centre[i] + (p - 0.5) / factor);
  };

  const fill = (select, names, wanted) => {
    const kept = names.includes(select.value) ? select.value : names.includes(wanted) ? wanted : names[0];
    if ([...select.options].map((o) => o.value).join('\0') !== names.join('\0')) {
      select.replaceChildren(...names.map((name) => new Option(name, name)));
    }
    if (kept !== undefined) select.value = kept;
  };
  const draw = () => {
    const lines = source.curves ? source.curves(clip.value) : {};
    const values = Object.values(lines).flat().filter((v) => v !== null);
    curve.style.display = legend.style.display = values.length ? '' : 'none';
    if (!values.length) return;
    const [low, high] = [Math.min(...values, source.least ?? Infinity), Math.max(...values, source.least ?? -Infinity)];
    const count = source.count(clip.value);
    const width = 1000;
    const at = (i) => (count > 1 ? (i * width) / (count - 1) : width / 2);
    const height = (v) => 94 - (88 * (v - low)) / Math.max(1e-9, high - low);
    curve.setAttribute('viewBox', `0 0 ${width} 100`);
    const parts = Object.entries(lines).map(([label, line], k) => {
      const points = line.map((v, i) => (v === null ? null : `${at(i)},${height(v)}`)).filter((p) => p);
      if (points.length === 1) points.push(`${Number(points[0].split(',')[0]) + 4},${points[0].split(',')[1]}`);
      const drawnLine = element('svg:polyline', {
        points: points.join(' '), fill: 'none', stroke: COLOURS[k % COLOURS.length], 'stroke-width': 2, 'vector-effect': 'non-scaling-stroke',
      });
      return [label, drawnLine, COLOURS[k % COLOURS.length]];
    });
    cursor = element('svg:line', { class: 'cursor', y1: 0, y2: 100, 'vector-effect': 'non-scaling-stroke' });
    const ground = low <= 0 && high >= 0 ? [element('svg:line', {
      x1: 0, x2: width, y1: height(0), y2: height(0), stroke: 'var(--line)', 'vector-effect': 'non-scaling-stroke',
    })] : [];
    curve.replaceChildren(...ground, ...parts.map((part) => part[1]), cursor);
    legend.replaceChildren(...parts.map(([label, , colour]) => {
      const mark = element('b', {}, '■ ');
      mark.style.color = colour;
      mark.append(label);
      return mark;
    }), `${source.unit || ''} from ${low.toFixed(2)} to ${high.toFixed(2)}; a click shows the frame`);
  };

  const load = (address) => {
    const image = new Image();
    image.src = address;
    return image.decode().then(() => image, () => image);
  };
  const show = async () => {
    const names = source.clips();
    fill(clip, names, names[0]);
    clipLabel.hidden = names.length < 2;
    if (!names.length) return;
    const pictures = source.names(clip.value);
    fill(left, pictures, source.left);
    fill(right, pictures, source.right);
    const count = source.count(clip.value);
    frame.max = Math.max(0, count - 1);
    scrubber.hidden = count < 2;
    const i = Math.min(+frame.value, count - 1);
    if (drawn !== `${clip.value}\0${count}`) {
      drawn = `${clip.value}\0${count}`;
      draw();
    }
    if (cursor) {
      const x = count > 1 ? (i * 1000) / (count - 1) : 500;
      cursor.setAttribute('x1', x);
      cursor.setAttribute('x2', x);
    }
    about.textContent = source.about(clip.value, i);
    l.textContent = left.value;
    r.textContent = right.value;
    divide();
    const wanted = [right, left].map((select) => source.picture(clip.value, i, select.value));
    if (wanted.join('\0') === shown && !loading) return;
    if (loading) { // what is asked for meanwhile comes afterwards, and only the last of it
      again = true;
      return;
    }
    loading = true;
    const waiting = setTimeout(() => stage.classList.add('waiting'), 300);
    const loaded = await Promise.all(wanted.map(load));
    clearTimeout(waiting);
    loading = false;
    stage.classList.remove('waiting');
    shown = wanted.join('\0');
    [under.src, over.src] = wanted; // both at once: never two frames side by side
    under.alt = right.value;
    over.alt = left.value;
    if (loaded[0].naturalWidth) {
      stage.style.setProperty('--ratio', loaded[0].naturalWidth / loaded[0].naturalHeight);
      stage.style.setProperty('--natural', `${loaded[0].naturalWidth}px`);
    }
    place();
    if (again) {
      again = false;
      show();
    } else if (i + 1 < count) [left, right].forEach((select) => load(source.picture(clip.value, i + 1, select.value)));
  };

  let dragging = null;
  const drag = (event) => {
    const box = stage.getBoundingClientRect();
    if (dragging.what === 'divider') {
      split.value = Math.round((100 * (event.clientX - box.left)) / box.width);
      divide();
      return;
    }
    const factor = Math.max(1, (zoom * under.naturalWidth) / Math.max(1, box.width));
    centre = [
      dragging.centre[0] - (event.clientX - dragging.x) / box.width / factor,
      dragging.centre[1] - (event.clientY - dragging.y) / box.height / factor,
    ];
    place();
  };
  stage.addEventListener('pointerdown', (event) => {
    if (event.button) return;
    stage.setPointerCapture(event.pointerId);
    const box = stage.getBoundingClientRect();
    const near = Math.abs(event.clientX - box.left - (box.width * split.value) / 100) < 24;
    const zoomed = stage.classList.contains('zoomed');
    dragging = { what: zoomed && !near ? 'picture' : 'divider', x: event.clientX, y: event.clientY, centre: [...centre] };
    if (!zoomed) drag(event);
  });
  stage.addEventListener('pointermove', (event) => { if (dragging && event.buttons) drag(event); });
  for (const end of ['pointerup', 'pointercancel']) stage.addEventListener(end, () => { dragging = null; });
  stage.addEventListener('dblclick', (event) => { if (zoom) zoomTo(0); else zoomTo(1, spot(event)); });
  stage.addEventListener('wheel', (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoomTo(event.deltaY < 0 ? 1 : -1, zoom ? null : spot(event));
  }, { passive: false });
  stage.addEventListener('keydown', (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const pan = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.shiftKey && pan) {
      event.preventDefault();
      const factor = Math.max(1, (zoom * under.naturalWidth) / Math.max(1, stage.clientWidth));
      centre = centre.map((c, k) => c + (0.2 * pan[k]) / factor);
      place();
      return;
    }
    const turn = { '+': 1, '=': 1, '-': -1, 0: 0 }[event.key];
    const step = {
      ArrowLeft: [split, -5], ArrowRight: [split, 5], Home: [split, -100], End: [split, 100],
      ArrowUp: [frame, 1], ArrowDown: [frame, -1], PageUp: [frame, 5], PageDown: [frame, -5],
    }[event.key];
    if (turn === undefined && !step) return;
    event.preventDefault();
    if (turn !== undefined) {
      zoomTo(turn);
      return;
    }
    step[0].value = +step[0].value + step[1];
    show();
  });
  less.addEventListener('click', () => zoomTo(-1));
  more.addEventListener('click', () => zoomTo(1));
  fit.addEventListener('click', () => zoomTo(0));
  curve.addEventListener('click', (event) => {
    const box = curve.getBoundingClientRect();
    frame.value = Math.round(((event.clientX - box.left) / box.width) * frame.max);
    show();
  });
  clip.addEventListener('change', () => { frame.value = 0; });
  for (const input of [clip, left, right, split, frame]) {
    for (const event of ['input', 'change']) input.addEventListener(event, show);
  }
  window.addEventListener('resize', place);
  show();
  return {
    show,
    // Shows a frame, by its place in the clip.
    go(name, i, names = {}) {
      clip.value = name;
      if (names.left) left.value = names.left;
      if (names.right) right.value = names.right;
      frame.max = Math.max(0, source.count(name) - 1);
      frame.value = i;
      stage.scrollIntoView({ block: 'nearest' });
      return show();
    },
  };
}
