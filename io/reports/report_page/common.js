// What the pages of reports share: reading their data, writing numbers, charts, coloured maps. All text that
// comes from files is set as text, never as markup. The scripts of a page run in one scope.
const report = JSON.parse(document.getElementById('report-data').textContent);
const byId = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; ++i) bytes[i] = text.charCodeAt(i);
  return bytes;
}
const floatsOf = (base64) => new Float32Array(bytesOf(base64).buffer);
const countText = (count) => count.toLocaleString('en-US');

// Three significant digits; whole numbers with separators.
function numberText(value) {
  if (!Number.isFinite(value)) return 'n/a';
  const size = Math.abs(value);
  if (size >= 999.5 && size < 1e9) return countText(Math.round(value));
  if (size !== 0 && (size < 1e-3 || size >= 1e9))
    return value.toExponential(2).replace(/\.?0+e/, 'e').replace('e+', 'e');
  return String(Number(value.toPrecision(3)));
}

// ---- the page's parts ----

const element = (tag, properties) => Object.assign(document.createElement(tag), properties);

// Parts with data-if are there where the report has such data, those with data-each once for each of its texts.
for (const part of document.querySelectorAll('[data-if]')) {
  const data = report[part.dataset.if];
  if (!data || data.length === 0) part.remove();
}
for (const part of document.querySelectorAll('[data-each]'))
  part.replaceWith(...[report[part.dataset.each] ?? []].flat().map(
      (text) => Object.assign(part.cloneNode(), {textContent: text})));

// Fills a table with text; gives its rows.
function fillTable(table, columns, rows) {
  table.createTHead().insertRow().append(...columns.map((text) => element('th', {textContent: text})));
  const body = table.createTBody();
  return rows.map((cells) => {
    const row = body.insertRow();
    for (const text of cells) row.insertCell().textContent = text;
    return row;
  });
}

for (const [name, text] of report.versions ?? [])
  byId('versions').insertRow().append(
      element('th', {scope: 'row', textContent: name}), element('td', {textContent: text}));

// ---- maps ----

const palette = bytesOf(report.palette);

// A canvas with a pixel for every value: shares from 0 to 1 as colours, what is not a number grey.
function colouredCanvas(columns, rows, shareOf, greyOf = () => 160) {
  const image = new ImageData(columns, rows);
  for (let i = 0; i < rows * columns; ++i) {
    const share = shareOf(i), entry = 3 * Math.round(255 * Math.min(1, Math.max(0, share)));
    for (let c = 0; c < 3; ++c) image.data[4 * i + c] = Number.isFinite(share) ? palette[entry + c] : greyOf(i);
    image.data[4 * i + 3] = 255;
  }
  const canvas = element('canvas', {width: columns, height: rows});
  canvas.getContext('2d').putImageData(image, 0, 0);
  return canvas;
}

function colourOf(share) {
  if (!Number.isFinite(share)) return 'rgb(160 160 160)';
  const entry = 3 * Math.round(255 * Math.min(1, Math.max(0, share)));
  return `rgb(${palette[entry]} ${palette[entry + 1]} ${palette[entry + 2]})`;
}

// A box with the colours from `low` to `high`; gives a function that adds a label at a share of its width.
function drawColourScale(box, low, high) {
  const stops = Array.from({length: 18}, (_, i) => colourOf(i / 17)), ramp = element('div', {className: 'ramp'});
  ramp.style.background = `linear-gradient(to right, ${stops.join(',')})`;
  box.replaceChildren(ramp);
  const add = (share, text, kind) => {
    const tick = element('span', {className: `tick ${kind}`, textContent: text});
    tick.style.left = `${100 * share}%`;
    box.append(tick);
  };
  add(0, numberText(low), 'first');
  add(1, numberText(high), 'last');
  return add;
}

// ---- charts ----

const charts = {};
Chart.defaults.font.family = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

// Behind a chart's lines: shaded bands [[from, to], colour], which may change between drawings, a line at zero
// and a vertical one with a label.
const marksBehind = ({bands = () => [], zero = false, line = NaN, label = ''}) => ({
  id: 'marks',
  beforeDatasetsDraw(chart) {
    const {ctx, chartArea: area, scales} = chart;
    for (const [span, colour] of bands()) {
      const [a, b] = span.map((v) => Math.min(area.right, Math.max(area.left, scales.x.getPixelForValue(v))));
      ctx.fillStyle = colour;
      ctx.fillRect(Math.min(a, b), area.top, Math.abs(b - a), area.bottom - area.top);
    }
    ctx.lineWidth = 1.5;
    ctx.strokeStyle = css('--faint');
    ctx.beginPath();
    if (zero) {
      const y = scales.y.getPixelForValue(0);
      if (y > area.top && y < area.bottom) {
        ctx.moveTo(area.left, y);
        ctx.lineTo(area.right, y);
      }
    }
    if (Number.isFinite(line)) {
      const x = scales.x.getPixelForValue(line);
      if (x >= area.left && x <= area.right) {
        ctx.moveTo(x, area.top);
        ctx.lineTo(x, area.bottom);
        const toLeft = x > (area.left + area.right) / 2;
        ctx.fillStyle = css('--text');
        ctx.font = '12px system-ui, sans-serif';
        ctx.textAlign = toLeft ? 'right' : 'left';
        ctx.fillText(label, x + (toLeft ? -6 : 6), area.top + 11);
      }
    }
    ctx.stroke();
  },
});

function axis(title, more = {}) {
  return {
    type: 'linear',
    title: {display: Boolean(title), text: title, color: css('--faint')},
    ...more,
    grid: {color: css('--grid'), borderColor: css('--line'), offset: false},
    ticks: {color: css('--faint'), maxRotation: 0, ...more.ticks}
  };
}

function makeChart(id, type, datasets, x, y, plugins = {}, marks = {}, more = {}) {
  charts[id]?.destroy();
  charts[id] = new Chart(byId(id), {
    type,
    data: {datasets},
    plugins: [marksBehind(marks)],
    options: {
      animation: false,
      maintainAspectRatio: false,
      // Room for half a label at the end of an axis, so that charts below each other keep the same width.
      layout: {padding: {right: 22}},
      parsing: false,
      normalized: true,
      elements: {point: {radius: 0, hitRadius: 0}, line: {borderWidth: 1.5, tension: 0}},
      interaction: {mode: 'nearest', axis: 'x', intersect: false},
      scales: {x, y},
      plugins: {legend: {display: false}, ...plugins},
      ...more,
    },
  });
  return charts[id];
}

// Names the lines that have points.
const legend = () => ({
  display: true,
  align: 'end',
  labels: {
    color: css('--text'),
    boxWidth: 22,
    boxHeight: 1,
    padding: 12,
    filter: (item, data) => data.datasets[item.datasetIndex].data.length > 0
  }
});
const valueTip = {label: (item) => ` ${item.dataset.label}: ${numberText(item.parsed.y)}`};

const chartLine = (label, data, colour, more = {}) =>
    ({label, data, borderColor: css(colour), backgroundColor: css(colour), ...more});

// Lines over epochs, [label, points, colour], on a logarithmic axis where the values span decades.
function makeEpochChart(id, title, lines, least) {
  const datasets = lines.filter(([, points]) => points.length)
                       .map(([label, points, colour, more]) => chartLine(label, points, colour, {
                              borderWidth: 2,
                              pointRadius: points.length < 40 ? 2 : 0,
                              ...more
                            }));
  const values = datasets.flatMap((dataset) => dataset.data.map((point) => point.y));
  const low = Math.min(...values), high = Math.max(...values), wide = low > 0 && high > 30 * low;
  // Chart.js would show one value alone as somewhere between -1 and 1 of it.
  const around = low === high && low !== 0 ? [low - Math.abs(low) / 2, high + Math.abs(low) / 2] : [];
  const tips = {
    callbacks: {...valueTip, title: (items) => items.length ? `epoch ${items[0].parsed.x}` : ''}
  };
  makeChart(
      id, 'line', datasets, axis('epoch', {ticks: {precision: 0}}), axis(title, {
        type: wide ? 'logarithmic' : 'linear',
        suggestedMin: least ?? around[0],
        suggestedMax: around[1],
        ticks: {
          maxTicksLimit: 7,
          // Between decades the labels of a logarithmic axis would run into each other.
          callback: (value) => (!wide || Number.isInteger(Math.log10(value)) ? numberText(value) : null)
        }
      }),
      {legend: datasets.length > 1 ? legend() : {display: false}, tooltip: tips});
}
