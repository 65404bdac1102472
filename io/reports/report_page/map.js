// The map of a detection report, to click on.
const {rows, columns} = report;
const scores = floatsOf(report.scores);
const flags = bytesOf(report.flags);  // bit 0: anomalous, bit 1: anomalous in truth, bit 2: excluded, bit 3: of these, set aside
const layers = report.layers.map((layer) => ({...layer, values: bytesOf(layer.values)}));
const regionRanks = report.regions && bytesOf(report.regions.ranks);  // from 1; 0: in no region listed
let selected = report.ranking.length ? report.ranking[0] : 0;
let layer = null;         // instead of the score
let selectedTile = null;  // its upper left corner, [y, x]

const position = (axis, index) => numberText(axis.offset + axis.scale * index);
const place = (pixel) => {
  const y = Math.floor(pixel / columns), x = pixel % columns;
  const calibrated = report.y.units && report.x.units;
  return {
    y,
    x,
    text: calibrated ?
        `${position(report.y, y)} ${report.y.units}, ${position(report.x, x)} ${report.x.units}` :
        ''
  };
};
const isAnomalous = (pixel) => (flags[pixel] & 1) !== 0;
const isTrue = (pixel) => (flags[pixel] & 2) !== 0;
const isExcluded = (pixel) => (flags[pixel] & 4) !== 0;
const isSetAside = (pixel) => (flags[pixel] & 8) !== 0;
const scoreText = (pixel) => isSetAside(pixel) ? 'set aside' : isExcluded(pixel) ? 'excluded' : `score ${numberText(scores[pixel])}`;
const regionOf = (pixel) => regionRanks?.[pixel] || 0;
const scoreShare = (score) => (score - report.limits[0]) / (report.limits[1] - report.limits[0]);
const layerShare = (pixel) => layer.values[pixel] ? (layer.values[pixel] - 1) / 254 : NaN;

const map = byId('map');
let cell = {width: 1, height: 1};  // of one map pixel, in canvas pixels
let shown = 1;                     // CSS pixels per canvas pixel

function layoutMap() {
  const density = window.devicePixelRatio || 1;
  const width = map.parentElement.clientWidth - 36, height = 620;
  const fit = Math.min(width / columns, height / (rows * report.aspect), 56) * density;
  // Whole cells are crisp; where they would waste more than a tenth of the room, larger ones are shrunk.
  cell.width = Math.max(1, Math.floor(fit) < 0.9 * fit ? Math.ceil(fit) : Math.floor(fit));
  cell.height = Math.max(1, Math.round(cell.width * report.aspect), Math.ceil(40 * density / rows));
  map.width = columns * cell.width;
  map.height = rows * cell.height;
  shown = Math.min(1 / density, width / map.width, Math.max(height, 40) / map.height);
  map.style.width = `${map.width * shown}px`;
  const legend = document.querySelector('.legend');
  legend.style.width = `${Math.min(width, Math.max(map.width * shown, 320))}px`;
  byId('scale-bar').style.width = `${report.scaleBar * cell.width * shown}px`;
}

// Lines along the border of the pixels that are `inside`, each as large as `cell`: a light one just outside of it, a dark one just
// inside. Small cells keep their colour whole: there the lines inside are left out, or a lone one is drawn
// outside.
function drawOutline(context, inside, light, dark, cell, bold = 1) {
  const at = (y, x) => y >= 0 && x >= 0 && y < rows && x < columns && inside(y * columns + x);
  const {width: w, height: h} = cell, thick = bold * Math.max(1, Math.round(window.devicePixelRatio || 1));
  const small = Math.min(w, h) < 4 * thick;
  const lines = light ? [[light, thick]] : [];
  if (!small || !light) lines.push([dark, small ? thick : 0]);
  for (const [colour, out] of lines) {
    context.fillStyle = colour;
    for (let y = 0; y < rows; ++y) {
      for (let x = 0; x < columns; ++x) {
        if (!at(y, x)) continue;
        const left = x * w - out, top = y * h - out, wide = w + 2 * out, tall = h + 2 * out;
        if (!at(y - 1, x)) context.fillRect(left, top, wide, thick);
        if (!at(y + 1, x)) context.fillRect(left, top + tall - thick, wide, thick);
        if (!at(y, x - 1)) context.fillRect(left, top, thick, tall);
        if (!at(y, x + 1)) context.fillRect(left + wide - thick, top, thick, tall);
      }
    }
  }
}

function drawMap() {
  const context = map.getContext('2d');
  const small = colouredCanvas(
      columns, rows, (i) => isExcluded(i) ? NaN : layer ? layerShare(i) : scoreShare(scores[i]),
      (i) => isSetAside(i) ? 245 : 160);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, map.width, map.height);
  if (byId('show-found').checked) drawOutline(context, isAnomalous, '#fff', '#111', cell);
  if (byId('show-truth')?.checked) drawOutline(context, isTrue, null, '#ff3ea5', cell);

  const region = regionOf(selected);
  if (region) drawOutline(context, (pixel) => regionOf(pixel) === region, null, '#e8402a', cell, 2);
  if (selectedTile) {
    const [y, x] = selectedTile, size = report.latent.size;
    context.lineWidth = 2 / shown;
    for (const [colour, start] of [['#fff', 0], ['#111', 6 / shown]]) {
      context.setLineDash([6 / shown, 6 / shown]);
      context.lineDashOffset = start;
      context.strokeStyle = colour;
      context.strokeRect(x * cell.width, y * cell.height, size * cell.width, size * cell.height);
    }
    context.setLineDash([]);
  }

  // A frame around the selected pixel, kept inside of the map.
  const far = 4 / shown, line = 2 / shown;
  const span =
      (index, size,
       end) => [Math.max(index * size - far, line), Math.min((index + 1) * size + far, end - line)];
  const [left, right] = span(selected % columns, cell.width, map.width);
  const [top, bottom] = span(Math.floor(selected / columns), cell.height, map.height);
  for (const [width, colour] of [[2 * line, '#fff'], [line, '#d0021b']]) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.strokeRect(left, top, right - left, bottom - top);
  }
}

function drawColours() {
  const [low, high] = layer ? [layer.low, layer.high] : report.limits;
  const add = drawColourScale(byId('colours'), low, high), share = scoreShare(report.threshold);
  if (layer || report.threshold === null || share < 0 || share > 1) return;
  const mark = element('span', {className: 'mark'});
  mark.style.left = `calc(${100 * share}% - 1px)`;
  byId('colours').append(mark);
  const kind = share < 0.2 ? 'below first' : share > 0.8 ? 'below last' : 'below';
  add(share, `threshold ${numberText(report.threshold)}`, kind);
}

// The value of the layer shown, which the report holds in 255 steps.
function layerText(pixel) {
  if (!layer || isExcluded(pixel)) return '';
  const share = layerShare(pixel);
  return Number.isFinite(share) ?
      `, ${layer.name} about ${numberText(layer.low + share * (layer.high - layer.low))}` :
      `, no ${layer.name}`;
}

function makeLayerButtons() {
  [{name: 'score'}, ...layers].forEach((each, index) => {
    const label = element('label'), button = element('input', {type: 'radio', name: 'layer', checked: index === 0});
    button.addEventListener('change', () => {
      layer = index === 0 ? null : each;
      drawColours();
      drawMap();
    });
    label.append(button, each.name);
    byId('layers').append(label);
  });
}

function pixelAt(event) {
  const box = event.currentTarget.getBoundingClientRect();
  const x = Math.floor((event.clientX - box.left) / box.width * columns);
  const y = Math.floor((event.clientY - box.top) / box.height * rows);
  return x >= 0 && y >= 0 && x < columns && y < rows ? y * columns + x : -1;
}

map.addEventListener('pointerdown', (event) => {
  const pixel = pixelAt(event);
  if (pixel >= 0) select(pixel);
});
map.addEventListener('pointermove', (event) => {
  const pixel = pixelAt(event), where = place(Math.max(pixel, 0));
  byId('hover').textContent = pixel < 0 ? hint : `y ${where.y}, x ${where.x}: ${scoreText(pixel)}${layerText(pixel)}`;
});
const hint = 'Click a pixel, or move with the arrow keys.';
byId('hover').textContent = hint;
map.addEventListener('pointerleave', () => {
  byId('hover').textContent = hint;
});
map.addEventListener('keydown', (event) => {
  const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
  if (!step) return;
  event.preventDefault();
  const y = Math.floor(selected / columns) + step[0], x = selected % columns + step[1];
  if (x >= 0 && y >= 0 && x < columns && y < rows) select(y * columns + x);
});
