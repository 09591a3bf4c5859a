'use strict';
// The page of `votes app`. It asks the server each second; what it shows lies there, so a closed tab loses nothing.
const find = (id) => document.getElementById(id);
const cards = new Map();
let weights = [];
let limit = Infinity;
let timer = 0;

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error('`votes app` does not answer: is it still running? Videos and results are kept; its next start goes on.');
  }
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error([content.error || `error ${response.status}`, content.value, content.fix].filter(Boolean).join('\n'));
  return content;
}
const send = (path, content = {}) => ask(path, {
  keepalive: true, // a page that is closed right after a click has asked all the same
  method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(content),
});

function tell(error) {
  find('problem').textContent = error ? error.message || String(error) : '';
  find('problem').hidden = !error;
}
// What a button does: its error is shown, and the page is brought up to date.
const doing = (button, work) => async () => {
  button.disabled = true;
  try {
    await work();
    tell(null);
  } catch (error) {
    tell(error);
  }
  button.disabled = false;
  refresh();
};

const clock = (seconds) => {
  const s = Math.round(seconds);
  const rest = `${String(Math.floor(s / 60) % 60).padStart(s >= 3600 ? 2 : 1, '0')}:${String(s % 60).padStart(2, '0')}`;
  return s >= 3600 ? `${Math.floor(s / 3600)}:${rest}` : rest;
};
const bytes = (n) => (n >= 1e9 ? `${+(n / 1e9).toFixed(1)} GB` : n >= 1e6 ? `${+(n / 1e6).toFixed(1)} MB` : `${Math.ceil(n / 1e3)} kB`);
const button = (text, kind = '') => element('button', { type: 'button', class: kind }, text);

// Uploads, one after the other.
let queue = new Promise((resolve) => { setTimeout(() => resolve(begun)); }); // cards need weights to offer
function upload(file) {
  const bar = element('progress', { max: 1, value: 0, 'aria-label': `upload of ${file.name}` });
  const text = element('span', {}, `${file.name}: waits`);
  const cancel = button('cancel');
  const line = element('div', {}, text, bar, cancel);
  find('uploads').append(line);
  const request = new XMLHttpRequest();
  let cancelled = false;
  cancel.addEventListener('click', () => { cancelled = true; request.abort(); });
  const work = () => new Promise((resolve, reject) => {
    if (cancelled) { resolve(); return; }
    if (file.size > limit) { reject(new Error(`${file.name} has ${bytes(file.size)}; at most ${bytes(limit)} are taken.`)); return; }
    request.open('POST', `api/videos?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    request.upload.addEventListener('progress', (event) => {
      bar.value = event.total ? event.loaded / event.total : 0;
      text.textContent = event.loaded < event.total ? `${file.name}: ${Math.floor(100 * bar.value)} %` : `${file.name}: looking at it`;
    });
    request.addEventListener('load', () => {
      let content = {};
      try { content = JSON.parse(request.responseText); } catch { /* no answer of ours */ }
      if (request.status === 201) resolve();
      else reject(new Error([`${file.name}: ${content.error || `error ${request.status}`}`, content.value, content.fix].filter(Boolean).join('\n')));
    });
    request.addEventListener('error', () => reject(new Error(`${file.name}: the upload broke off. Is \`votes app\` still running?`)));
    request.addEventListener('abort', resolve);
    request.send(file);
  });
  queue = queue.then(work).then(() => tell(null), tell).then(() => { line.remove(); return refresh(); });
}

// One card a video.
function makeCard(video) {
  const id = video.id;
  const remove = button('remove');
  const facts = element('p', { class: 'facts' });
  const list = element('dl');
  const details = element('details', {}, element('summary', {}, 'all that is known of the file'), list);
  const form = element('fieldset');
  const status = element('p', { class: 'status', 'aria-live': 'polite' });
  const bar = element('progress', { max: 1, 'aria-label': `progress of ${video.name}` });
  const [stop, resume, again] = [button('stop'), button('continue', 'main'), button('other settings')];
  const download = element('a', { class: 'button main download', href: `api/videos/${id}/result` }, 'download');
  const actions = element('div', { class: 'head actions' }, download, stop, resume, again);
  const parts = element('div', { class: 'parts', 'aria-label': 'finished parts' });
  const compare = element('section', { class: 'viewer', 'aria-label': 'comparison' });
  const problem = element('p', { class: 'problem' });
  const notes = element('ul', { class: 'notes' });
  const root = element('article', { id: `video-${id}`, 'aria-label': video.name },
    element('div', { class: 'head' }, element('h2', {}, video.name), remove),
    facts, details, form, status, bar, problem, actions, parts, compare, notes);

  const about = video.about;
  facts.textContent = `${about.size}, ${clock(about.seconds)}, ${about.frames_per_second} frames a second, ${about.codec}, ${bytes(about.bytes)}; ${about.compression}`;
  for (const [key, value] of Object.entries(about)) {
    if (value === null || value === '' || (Array.isArray(value) && !value.length)) continue;
    const text = Array.isArray(value) ? value.join('\n') : String(value);
    list.append(element('dt', {}, key.replaceAll('_', ' ')), element('dd', {}, text.length > 300 ? `${text.slice(0, 300)} ...` : text));
  }
  remove.addEventListener('click', () => {
    if (window.confirm(`Remove ${video.name} and its result from this page? The file that you chose stays where it is.`)) {
      doing(remove, () => send(`api/videos/${id}/remove`))();
    }
  });
  stop.addEventListener('click', doing(stop, () => send(`api/videos/${id}/stop`)));
  resume.addEventListener('click', doing(resume, () => send(`api/videos/${id}/continue`)));
  again.addEventListener('click', doing(again, () => send(`api/videos/${id}/again`)));
  makeForm(form, video);

  let viewer = null;
  let now = video;
  const total = () => now.parts.reduce((sum, [, count]) => sum + count, 0);
  const update = (next) => {
    now = next;
    const { state, settings, progress } = next;
    form.hidden = state !== 'ready';
    download.hidden = state !== 'done';
    stop.hidden = !['waiting', 'running'].includes(state);
    resume.hidden = !['stopped', 'failed'].includes(state);
    again.hidden = !['done', 'stopped', 'failed'].includes(state);
    problem.textContent = next.message;
    problem.hidden = !next.message;
    const frames = settings.frames ? (settings.frames[1] ?? about.frames) - settings.frames[0] : 0;
    const done = Math.max(progress.frame ?? 0, total());
    bar.hidden = !['waiting', 'running', 'stopping', 'stopped'].includes(state);
    if (state === 'running' && !done) bar.removeAttribute('value');
    else bar.value = frames ? done / frames : 0;
    const speed = progress.frames_per_second ? `, ${progress.frames_per_second.toFixed(1)} frames a second` : '';
    const left = progress.seconds_left ? `, ${clock(progress.seconds_left)} left` : '';
    const said = settings.shown ? `${settings.shown.name}${settings.strength < 1 ? `, strength ${Math.round(100 * settings.strength)} %` : ''}` : '';
    setText(status, {
      ready: '',
      waiting: `waits for its turn; ${done} of ${frames} frames are there`,
      running: done ? `frame ${done} of ${frames}${speed}${left}` : 'begins',
      stopping: 'stops after the part at hand',
      stopped: `stopped at ${done} of ${frames} frames; nothing is lost`,
      done: `restored with ${said}`,
      failed: `failed at ${done} of ${frames} frames`,
    }[state]);
    status.hidden = !status.textContent;
    for (const [k, [at]] of next.parts.entries()) {
      if (k < parts.childElementCount) continue;
      const seconds = clock((at + settings.frames[0]) / about.frames_per_second);
      const show = element('button', { type: 'button', title: `show ${seconds}`, 'aria-label': `show ${seconds}` },
        element('img', { src: `api/videos/${id}/output/${at}.jpg`, alt: '', loading: 'lazy' }));
      show.addEventListener('click', () => viewer.go('', at));
      parts.append(show);
    }
    parts.hidden = compare.hidden = !next.parts.length;
    if (next.parts.length && !viewer) viewer = makeViewer(compare, source());
    else if (viewer) viewer.show();
    if (notes.childElementCount !== next.notes.length) notes.replaceChildren(...next.notes.map((note) => element('li', {}, note)));
  };
  const source = () => ({
    clips: () => [''],
    names: () => ['input', 'output'],
    count: total,
    picture: (clip, i, name) => `api/videos/${id}/${name}/${i}.png`,
    about: (clip, i) => `frame ${i + now.settings.frames[0]}, ${((i + now.settings.frames[0]) / about.frames_per_second).toFixed(2)} s`,
    left: 'input',
    right: 'output',
  });
  return { root, update };
}
const setText = (node, text) => { if (node.textContent !== text) node.textContent = text; }; // else readers repeat it

function makeForm(form, video) {
  const choice = element('select', { class: 'weights', 'aria-label': 'weights' });
  const fill = () => choice.replaceChildren(...weights.map((w) => new Option(
    `${w.name}: ${w.network}, ${w.scale > 1 ? `${w.scale} times the size` : 'same size'}, ${(w.parameters / 1e6).toFixed(1)} million parameters`, w.key)));
  fill();
  const name = `part-${video.id}`;
  const [whole, some] = ['whole', 'some'].map((value) => element('input', { type: 'radio', name, value }));
  whole.checked = true;
  const length = Math.min(3, video.about.seconds);
  const number = (label, value) => element('input', {
    type: 'number', min: 0, max: video.about.seconds, step: 'any', value: value.toFixed(1).replace(/\.0$/, ''), 'aria-label': label,
  });
  const [from, to] = [number('from second', 0), number('to second', length)];
  for (const input of [from, to]) input.addEventListener('input', () => { some.checked = true; });
  const strength = element('input', { class: 'strength', type: 'range', min: 5, max: 100, step: 5, value: 100, 'aria-label': 'strength' });
  const percent = element('output', {}, '100 %');
  strength.addEventListener('input', () => { percent.textContent = `${strength.value} %`; });
  const start = button('restore', 'main start');
  start.addEventListener('click', doing(start, () => {
    if (!choice.value) throw new Error('There are no weights to restore with: start `votes app --weights FOLDER`.');
    const part = some.checked ? { from: Number(from.value), to: Number(to.value) } : {};
    return send(`api/videos/${video.id}/start`, { weights: choice.value, strength: strength.value / 100, ...part });
  }));
  const row = (text, ...inputs) => element('div', {}, element('span', {}, text), ...inputs);
  form.append(
    row('weights', choice),
    row('part', element('label', {}, whole, ' the whole video, with its sound'), element('label', {}, some, ' seconds'), from, 'to', to),
    row('strength', strength, percent),
    element('div', {}, start));
}

async function refresh() {
  clearTimeout(timer);
  let busy = false;
  try {
    const state = await ask('api/state');
    limit = state.limit;
    find('limit').textContent = `at most ${bytes(limit)}`;
    for (const [id, card] of cards) {
      if (!state.videos.some((video) => video.id === id)) { card.root.remove(); cards.delete(id); }
    }
    for (const video of [...state.videos].reverse()) {
      if (!cards.has(video.id)) {
        cards.set(video.id, makeCard(video));
        find('videos').prepend(cards.get(video.id).root);
      }
      cards.get(video.id).update(video);
      busy = busy || ['waiting', 'running', 'stopping'].includes(video.state);
    }
    if (find('problem').dataset.lost) { tell(null); delete find('problem').dataset.lost; }
  } catch (error) {
    tell(error);
    find('problem').dataset.lost = 'yes';
  }
  clearTimeout(timer);
  timer = setTimeout(refresh, busy ? 1000 : 4000);
}

function listen() {
  const drop = find('drop');
  find('file').addEventListener('change', (event) => { [...event.target.files].forEach((file) => upload(file)); event.target.value = ''; });
  for (const [event, over] of [['dragenter', true], ['dragover', true], ['dragleave', false], ['drop', false]]) {
    document.addEventListener(event, (e) => {
      e.preventDefault();
      drop.classList.toggle('over', over);
      if (event === 'drop') [...e.dataTransfer.files].forEach((file) => upload(file));
    });
  }
}

async function begin() {
  try {
    weights = await ask('api/weights');
    find('empty').hidden = weights.length > 0;
    find('empty').textContent = 'There are no weights yet: start `votes app --weights FOLDER` with a folder of checkpoints.';
  } catch (error) {
    tell(error);
  }
  await refresh();
}
listen();
const begun = begin();
