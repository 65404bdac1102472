// The page of a running scan: asks the service for what has changed, and draws it.
const askEvery = 200, lostAfter = 1500;  // ms
let version = -1;       // of what is known
let scan = null;        // what the service said last of it
let scores = null, excluded = null;
let worst = [], energy = null;
let selected = null;    // pixel whose spectrum is shown; null: the first of the list
let limits = [0, 1];
let heard = performance.now();
let dirty = true;       // whether the map is to be drawn again

const rowsOf = () => scan.shape[0], columnsOf = () => scan.shape[1];
const place = (pixel) => `y ${Math.floor(pixel / columnsOf())}, x ${pixel % columnsOf()}`;
const milliseconds = (value) => `${numberText(value)} ms`;

// ---- what the service says ----

function take(answer) {
  byId('service').textContent = `eelsvae ${answer.service}`;
  version = answer.version ?? -1;
  scan = answer.scan;
  if (!scan) {
    if (scores) forget();
    return;
  }
  if (answer.all) {
    scores = new Float32Array(rowsOf() * columnsOf()).fill(NaN);
    excluded = answer.excluded ? bytesOf(answer.excluded) : null;
    worst = [];
    selected = null;
    dirty = true;
  }
  if (answer.rows) {
    const told = floatsOf(answer.scores);
    let done = 0;
    for (const [first, last] of answer.rows) {
      const size = (last - first) * columnsOf();
      scores.set(told.subarray(done, done + size), first * columnsOf());
      done += size;
    }
    dirty = true;
  }
  if (answer.worst) {
    energy = answer.energy;
    worst = answer.worst.map(
        (each) => ({...each, observed: floatsOf(each.observed), expected: floatsOf(each.expected)}));
    if (!worst.some((each) => each.pixel === selected)) selected = null;
    dirty = true;
    showWorst();
  }
}

// Nothing is left of a scan that the service does not know any more.
function forget() {
  scores = excluded = selected = null;
  worst = [];
  map.width = map.height = 1;
  byId('colours').replaceChildren();
  showWorst();
}

const isExcluded = (pixel) => excluded !== null && (excluded[pixel >> 3] >> (pixel & 7) & 1) === 1;

async function ask() {
  let more = false;  // whether the service has more to tell than one answer takes
  const stop = new AbortController(), timer = setTimeout(() => stop.abort(), lostAfter);
  try {
    const response = await fetch(`/changes?since=${version}`, {signal: stop.signal, cache: 'no-store'});
    if (!response.ok) throw new Error(response.statusText);
    const answer = await response.json();
    more = answer.more ?? false;
    take(answer);
    show(!more);
    heard = performance.now();
  } catch (error) {
    if (!(error instanceof TypeError) && error.name !== 'AbortError') console.error(error);
  }
  clearTimeout(timer);
  showTrouble();
  setTimeout(ask, more ? 0 : askEvery);
}

// ---- words ----

function showTrouble() {
  const silent = performance.now() - heard, lost = silent > lostAfter;
  document.body.classList.toggle('lost', lost);
  byId('trouble').textContent = lost ?
      `The service has not answered for ${Math.round(silent / 1000)} s; below is what it said last.` :
      scan?.state === 'producer lost' ? 'Nobody sends: the scan waits for its sender to resume it.' :
      scan?.state === 'failed'        ? `The scan cannot be scored any further: ${scan.failure}` :
                                        '';
}

function show(whole) {
  byId('name').textContent = scan ? scan.title || scan.series : '';
  byId('geometry').textContent =
      scan ? `${countText(rowsOf())} x ${countText(columnsOf())} spectra of ${countText(scan.channels)} channels` : '';
  byId('scored-by').textContent = scan ? `scored by ${scan.scored_by}` : '';
  byId('capacity').textContent = scan?.capacity ? `${numberText(scan.capacity)} spectra/s can be scored` : '';
  byId('doubts').textContent = scan?.doubts.join(' ') ?? '';
  byId('headline').textContent = headline();
  document.title = scan ? `${scan.state}: row ${scan.complete_rows} of ${rowsOf()}` : report.title;
  showStream();
  if (dirty && scores && whole) {
    dirty = false;
    findLimits();
    drawMap();
    drawColours();
  }
}

function headline() {
  if (!scan) return 'No scan yet';
  const found = `${countText(scan.anomalous)} spectra do not fit`;
  return scan.state === 'ended'  ? `The scan has ended; ${found}` :
         scan.state === 'failed' ? `The scan has failed; ${found} so far` :
                                   `Row ${countText(scan.complete_rows)} of ${countText(rowsOf())}; ${found} so far`;
}

function showStream() {
  const {counts, delay_ms: delays, rate} = scan ?? {};
  const middle = (delay) => delay ? milliseconds(delay.p50) : 'n/a';
  const most = (delay) => delay ? `p99 ${milliseconds(delay.p99)}, most ${milliseconds(delay.max)}` : '';
  const entries = !scan ? [] : [
    ['spectra/s', numberText(rate), ''],
    ['received', countText(counts.received), ''],
    ['missing', countText(counts.missing), ''],
    ['too late', countText(counts.late), ''],
    ['repeated', countText(counts.repeated), ''],
    ['provisional score after', middle(delays.provisional), most(delays.provisional)],
    ['final score after', middle(delays.final), most(delays.final)],
    ['final rows', `${countText(scan.final_rows)}`, `${countText(scan.reach)} rows behind`],
    [scan.threshold_final ? 'threshold' : 'threshold, provisional', numberText(scan.threshold ?? NaN), ''],
  ];
  byId('stream').replaceChildren(...entries.map(([name, value, note]) => {
    const box = element('div');
    box.append(element('dt', {textContent: name}), element('dd', {textContent: value}),
               element('dd', {textContent: note, className: 'note'}));
    return box;
  }));
}

// ---- the map ----

const map = byId('map');
let cell = 1;  // of one pixel of the map, in CSS pixels

// Where to cut the colours: robust percentiles of what there is, and room for the threshold.
function findLimits() {
  const step = Math.max(1, Math.floor(scores.length / 100000)), finite = [];
  for (let i = 0; i < scores.length; i += step)
    if (Number.isFinite(scores[i])) finite.push(scores[i]);
  if (!finite.length) return;
  finite.sort((a, b) => a - b);
  let low = finite[Math.floor(0.005 * (finite.length - 1))], high = finite[Math.ceil(0.995 * (finite.length - 1))];
  const threshold = scan.threshold;
  if (Number.isFinite(threshold) && threshold < 3 * high - 2 * low) high = Math.max(high, threshold);
  limits = low < high ? [low, high] : [low - 0.5, high + 0.5];
}

function hatchOf(context) {
  const tile = element('canvas', {width: 8, height: 8}), lines = tile.getContext('2d');
  lines.strokeStyle = 'rgba(255, 255, 255, 0.75)';
  lines.lineWidth = 1.5;
  for (const shift of [-8, 0, 8]) {
    lines.moveTo(shift, 8);
    lines.lineTo(shift + 8, 0);
  }
  lines.stroke();
  return context.createPattern(tile, 'repeat');
}

function drawMap() {
  const rows = rowsOf(), columns = columnsOf(), density = window.devicePixelRatio || 1;
  const width = map.parentElement.clientWidth - 36;
  cell = Math.min(width / columns, 620 / rows, 56);
  if (cell * density >= 1) cell = Math.floor(cell * density) / density;
  map.width = Math.max(1, Math.round(columns * cell * density));
  map.height = Math.max(1, Math.round(rows * cell * density));
  map.style.width = `${columns * cell}px`;
  document.querySelector('.legend').style.width = `${Math.min(width, Math.max(columns * cell, 320))}px`;
  const context = map.getContext('2d'), side = cell * density;
  const known = scan.scored_rows * columns;
  const small = colouredCanvas(
      columns, rows, (i) => (scores[i] - limits[0]) / (limits[1] - limits[0]),
      (i) => isExcluded(i) ? 245 : i < known ? 160 : 215);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, map.width, map.height);
  const first = scan.final_rows * side, last = scan.scored_rows * side;
  if (last > first) {
    context.fillStyle = hatchOf(context);
    context.fillRect(0, first, map.width, last - first);
  }
  if (!byId('show-worst').checked) return;
  for (const {pixel} of worst) {
    const far = 2 * density, x = pixel % columns * side - far, y = Math.floor(pixel / columns) * side - far;
    const chosen = pixel === shownPixel();
    for (const [thick, colour] of [[3, '#fff'], [1.5, chosen ? '#d0021b' : '#111']]) {
      context.lineWidth = thick * density;
      context.strokeStyle = colour;
      context.strokeRect(x, y, side + 2 * far, side + 2 * far);
    }
  }
}

function drawColours() {
  const [low, high] = limits, add = drawColourScale(byId('colours'), low, high);
  const share = (scan.threshold - low) / (high - low);
  if (scan.threshold === null || share < 0 || share > 1) return;
  const mark = element('span', {className: 'mark'});
  mark.style.left = `calc(${100 * share}% - 1px)`;
  byId('colours').append(mark);
  const kind = share < 0.3 ? 'below first' : share > 0.7 ? 'below last' : 'below';
  add(share, `threshold ${numberText(scan.threshold)}${scan.threshold_final ? '' : ', provisional'}`, kind);
}

function pixelAt(event) {
  if (!scan) return -1;
  const box = map.getBoundingClientRect();
  const x = Math.floor((event.clientX - box.left) / box.width * columnsOf());
  const y = Math.floor((event.clientY - box.top) / box.height * rowsOf());
  return x >= 0 && y >= 0 && x < columnsOf() && y < rowsOf() ? y * columnsOf() + x : -1;
}

map.addEventListener('pointermove', (event) => {
  const pixel = pixelAt(event);
  if (pixel < 0) return;
  const row = Math.floor(pixel / columnsOf());
  const kind = row < scan.final_rows ? 'final' : row < scan.scored_rows ? 'provisional' : 'not there yet';
  byId('hover').textContent = `${place(pixel)}: ` +
      (isExcluded(pixel) ? 'excluded' : Number.isFinite(scores[pixel]) ? `score ${numberText(scores[pixel])}, ${kind}` :
           row < scan.scored_rows ? 'missing' : kind);
});
map.addEventListener('pointerleave', () => {
  byId('hover').textContent = hint;
});
const hint = 'Framed: the spectra of the list. Click one for its spectrum.';
byId('hover').textContent = hint;
map.addEventListener('pointerdown', (event) => {
  const pixel = pixelAt(event);
  if (pixel < 0) return;
  // The nearest of the list, within a few pixels of the screen.
  const far = (other) => Math.hypot(pixel % columnsOf() - other % columnsOf(),
                                    Math.floor(pixel / columnsOf()) - Math.floor(other / columnsOf()));
  const nearest = worst.map((each) => each.pixel).sort((a, b) => far(a) - far(b))[0];
  if (nearest !== undefined && far(nearest) * cell < 12) select(nearest);
});
byId('show-worst').addEventListener('change', () => scores && drawMap());
window.addEventListener('resize', () => scores && drawMap());

// ---- what fits worst ----

const table = byId('worst');
fillTable(table, ['y', 'x', 'score', '', 'departs most at'], []);
for (const kind of ['click', 'keydown'])
  table.addEventListener(kind, (event) => {
    const row = event.target.closest('tbody tr');
    if (row && (kind === 'click' || event.key === 'Enter')) select(Number(row.dataset.pixel));
  });

// Rows come one after the other: what is further down came later.
const inOrder = () => byId('by-place').checked ? [...worst].sort((a, b) => b.pixel - a.pixel) : worst;
const shownPixel = () => selected ?? inOrder()[0]?.pixel;

function deviationText({deviation}) {
  if (!deviation) return '';
  const [low, high] = deviation.range.map(numberText);
  const share = 100 * deviation.share;
  return `${low} to ${high} ${energy.units}: ${share > 0 ? '+' : ''}${numberText(share)} %`;
}

function select(pixel) {
  if (!scan) return;
  selected = pixel;
  showWorst();
  drawMap();
}

// Rows stay the same elements: who is about to click one, or has the focus there, keeps it.
function showWorst() {
  const list = inOrder(), body = table.tBodies[0];
  while (body.rows.length > list.length) body.deleteRow(-1);
  list.forEach((each, index) => {
    const texts = [Math.floor(each.pixel / columnsOf()), each.pixel % columnsOf(), numberText(each.score),
                   each.final ? 'final' : 'provisional', deviationText(each)];
    const row = body.rows[index] ?? body.insertRow();
    row.tabIndex = 0;
    row.dataset.pixel = each.pixel;
    row.classList.toggle('selected', each.pixel === shownPixel());
    texts.forEach((text, column) => {
      const place = row.cells[column] ?? row.insertCell();
      if (place.textContent !== `${text}`) place.textContent = text;
    });
  });
  const spectrum = list.find(({pixel}) => pixel === shownPixel());
  byId('pixel').textContent = spectrum ?
      `${place(spectrum.pixel)}: score ${numberText(spectrum.score)}${spectrum.final ? '' : ', provisional'}` :
      'No spectrum above the threshold yet';
  byId('deviation').textContent = spectrum ? deviationText(spectrum) : '';
  drawSpectrum(spectrum);
}

function drawSpectrum(spectrum) {
  const points = (values) => Array.from(values, (y, i) => ({x: energy.offset + energy.scale * i, y}));
  const observed = spectrum?.observed ?? [], expected = spectrum?.expected ?? [];
  const bands = () => spectrum?.deviation ? [[spectrum.deviation.range, css('--deviation')]] : [];
  const ends = observed.length ?
      {min: energy.offset, max: energy.offset + energy.scale * (observed.length - 1)} : {};
  const tips = {tooltip: {callbacks: {...valueTip, title: (items) => items.length ? `${numberText(items[0].parsed.x)} eV` : ''}}};
  const wide = (scale) => { scale.width = 64; };
  makeChart(
      'spectrum', 'line',
      [chartLine('observed', points(observed), '--observed'), chartLine('expected', points(expected), '--model')],
      axis('', ends), axis('as scored', {afterFit: wide}), {legend: legend(), ...tips}, {bands});
  makeChart(
      'residual', 'line',
      [chartLine('observed - expected', points(Array.from(observed, (value, i) => value - expected[i])), '--residual')],
      axis('energy loss (eV)', ends), axis('difference', {afterFit: wide, ticks: {maxTicksLimit: 5}}), tips,
      {bands, zero: true});
}

for (const id of ['by-score', 'by-place'])
  byId(id).addEventListener('change', () => {
    selected = null;
    if (scan) showWorst();
    if (scores) drawMap();
  });

window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => scan && showWorst());

ask();
