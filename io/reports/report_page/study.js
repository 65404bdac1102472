// The figures of a study.
const colours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#8a949e', '#b0a000', '#7b4fa3'];
const distinct = (list) => [...new Set(list)];
const percent = (share) => `${numberText(100 * share)} %`;
const amountText = (amount) => amount < 1 ? percent(amount) : `${numberText(amount)} anomalies`;
const sourceText = (row) => row.footing === 'contaminated' ? `${row.source} (contaminated)` : row.source;
const thresholdOf = (row, method, rate) =>
    row.thresholds.find((t) => t.method === method && (t.rate === 0 || t.rate === rate));

// Fills a menu with [value, text] and draws anew when another entry is chosen.
function fillMenu(id, entries, draw) {
  const menu = byId(id);
  menu.replaceChildren(...entries.map(([value, text]) => element('option', {value, textContent: text})));
  menu.addEventListener('change', draw);
}

// Vertical lines through the points of datasets that carry [low, high] as `range`.
const whiskers = {
  id: 'whiskers',
  afterDatasetsDraw(chart) {
    const {ctx, scales} = chart;
    chart.data.datasets.forEach((dataset, k) => {
      if (!chart.isDatasetVisible(k)) return;
      chart.getDatasetMeta(k).data.forEach((element, i) => {
        const range = dataset.data[i]?.range;
        if (!range) return;
        const [a, b] = range.map((v) => scales.y.getPixelForValue(v));
        ctx.strokeStyle = dataset.type === 'line' || chart.config.type === 'line' ? dataset.borderColor : css('--text');
        ctx.lineWidth = 1.2;
        ctx.beginPath();
        ctx.moveTo(element.x, a);
        ctx.lineTo(element.x, b);
        ctx.stroke();
      });
    });
  }
};

function draw(id, type, datasets, x, y) {
  charts[id]?.destroy();
  charts[id] = new Chart(byId(id), {
    type,
    data: {datasets},
    plugins: [whiskers],
    options: {
      animation: false,
      maintainAspectRatio: false,
      interaction: {mode: 'nearest', intersect: false},
      scales: {x, y},
      plugins: {legend: {...legend(), labels: {...legend().labels, boxHeight: 8}}, tooltip: {callbacks: valueTip}}
    }
  });
}
const categories = (title, labels) =>
    axis(title, {type: 'category', labels, ticks: {autoSkip: false, maxRotation: 40}});
const shareAxis = (title) => axis(title, {min: 0, max: 1});
const line = (label, data, colour, more = {}) =>
    ({label, data, borderColor: colour, backgroundColor: colour, borderWidth: 2, pointRadius: 3, ...more});

// ---- F1 against shift ----

const injections = report.summary.filter((row) => row.part === 'published');
const injectionOf = (row) => `${row.subject.split(' ')[0]}|${row.amount}`;
function drawShifts() {
  const chosen = byId('injection').value, rows = injections.filter((row) => injectionOf(row) === chosen);
  const shifts = distinct(rows.map((row) => Number(row.subject.split(' ')[1])));
  const lines = [];
  if (chosen.startsWith('roll')) {
    const printed = (key) => report.published.filter((row) => shifts.includes(row.shift))
                                 .map((row) => ({x: row.shift, y: row[key]}));
    lines.push(line('3D-CVAE, printed', printed('f1'), colours[0], {borderDash: [6, 4]}));
    lines.push(line('PCA 3, printed', printed('f1_pca3'), colours[1], {borderDash: [6, 4]}));
  }
  const add = (label, source, footing, score, method, colour) => {
    const data = rows.filter((row) => row.source === source && row.footing === footing && row.score === score)
                     .map((row) => [row, thresholdOf(row, method, report.rate)?.f1])
                     .filter(([, f1]) => f1)
                     .map(([row, f1]) => ({
                            x: Number(row.subject.split(' ')[1]),
                            y: f1.mean,
                            range: [f1.mean - f1.deviation, f1.mean + f1.deviation]
                          }));
    if (data.length) lines.push(line(label, data, colour));
  };
  const fdr = `fdr ${percent(report.rate)}`, window = 'pearson, published window';
  add('model, pearson, otsu', 'model', 'clean', window, 'otsu', colours[0]);
  add('PCA 3 contaminated, pearson, otsu', 'pca:3', 'contaminated', window, 'otsu', colours[1]);
  add(`model, pearson, ${fdr}`, 'model', 'clean', window, 'fdr', colours[5]);
  add(`model, whitened, ${fdr}`, 'model', 'clean', 'whitened', 'fdr', colours[2]);
  add(`model, combined, ${fdr}`, 'model', 'clean', 'combined', 'fdr', colours[3]);
  add('mean spectrum, pearson, otsu', 'mean', 'clean', window, 'otsu', colours[6]);
  add(`mean spectrum, whitened, ${fdr}`, 'mean', 'clean', 'whitened', 'fdr', colours[4]);
  draw('shifts', 'line', lines, axis('shift (channels)', {ticks: {stepSize: 5}}), shareAxis('F1'));
}

// ---- average precision ----

const defects = report.summary.filter((row) => row.part === 'defects');
function drawPrecision() {
  const preset = byId('preset').value, score = byId('score').value, footing = byId('footing').value;
  const rows = defects.filter(
      (row) => row.preset === preset && (row.score === score || row.score === 'own') &&
          (row.footing === footing || row.source === 'model'));
  const labels = distinct(rows.map((row) => `${row.subject}, ${amountText(row.amount)}`));
  const datasets = distinct(rows.map((row) => row.source)).map((source, k) => ({
    label: source,
    backgroundColor: colours[k % colours.length],
    data: labels.map((label) => {
      const ap = rows.find((row) => row.source === source && `${row.subject}, ${amountText(row.amount)}` === label)
                     ?.average_precision;
      return ap ? {x: label, y: ap.mean, range: [ap.mean - ap.deviation, ap.mean + ap.deviation]} : {x: label, y: null};
    })
  }));
  draw('precision', 'bar', datasets, categories('', labels), shareAxis('average precision'));
}

// ---- false-discovery rates ----

function drawRates() {
  const preset = byId('rate-preset').value, [method, footing] = byId('rate-method').value.split('|');
  const rows = report.pooled.filter((row) => row.preset === preset &&
                                        (row.footing === footing || (footing === 'clean' && row.source === 'model')) &&
                                        ['whitened', 'combined', 'own'].includes(row.score));
  const datasets = [];
  const rates = distinct(rows.flatMap((row) => row.thresholds.filter((t) => t.method === method).map((t) => t.rate)));
  const most = Math.max(...rates) * 1.15;
  datasets.push(line('as requested', [{x: 0, y: 0}, {x: most, y: most}], css('--faint'), {
    borderDash: [6, 4],
    pointRadius: 0
  }));
  let highest = most;
  rows.forEach((row, k) => {
    const data = row.thresholds.filter((t) => t.method === method && t.delivered !== null).map((t) => ({
      x: t.rate + most * 0.012 * (k - rows.length / 2) / Math.max(1, rows.length / 4),
      y: t.delivered,
      range: t.interval
    }));
    highest = Math.min(1, Math.max(highest, ...data.map((point) => point.range[1])));
    if (data.length)
      datasets.push(line(`${row.source}, ${row.score}`, data, colours[k % colours.length], {showLine: false}));
  });
  draw('rates', 'line', datasets, axis('requested', {min: 0, max: most, ticks: {callback: percent}}),
       axis('delivered', {min: 0, max: highest, ticks: {callback: percent}}));
}

// ---- models made otherwise ----

function drawSweep() {
  const rows = report.summary.filter((row) => row.part === 'sweep' && ['whitened', 'pearson'].includes(row.score));
  const labels = distinct(rows.map((row) => row.subject));
  const datasets = distinct(rows.map((row) => row.score)).map((score, k) => ({
    label: score,
    backgroundColor: colours[k],
    data: labels.map((label) => {
      const values = rows.filter((row) => row.score === score && row.subject === label && row.average_precision)
                         .map((row) => row.average_precision.mean);
      return {x: label, y: values.length ? values.reduce((a, b) => a + b, 0) / values.length : null};
    })
  }));
  draw('sweep', 'bar', datasets, categories('', labels), axis('average precision', {min: 0}));
}

const figures = [];
if (byId('shifts')) {
  fillMenu('injection', distinct(injections.map(injectionOf)).map((value) => {
    const [method, amount] = value.split('|');
    return [value, `${method === 'roll' ? 'rolled as published' : 'moved without wrap'}, ${amountText(Number(amount))}`];
  }), drawShifts);
  figures.push(drawShifts);
}
if (byId('precision')) {
  const named = (list) => distinct(list).map((value) => [value, value]);
  fillMenu('preset', named(defects.map((row) => row.preset)), drawPrecision);
  fillMenu('score', named(defects.map((row) => row.score).filter((score) => score !== 'own')), drawPrecision);
  fillMenu('footing', named(defects.map((row) => row.footing)), drawPrecision);
  fillMenu('rate-preset', named(report.pooled.map((row) => row.preset)), drawRates);
  const methods = report.pooled.flatMap(
      (row) => row.thresholds.filter((t) => t.verdict !== null).map((t) => `${t.method}|${row.footing}`));
  fillMenu('rate-method', distinct(methods).map((value) => [value, value.replace('|', ', ') + ' fit']), drawRates);
  figures.push(drawPrecision, drawRates);
}
if (byId('sweep')) figures.push(drawSweep);
for (const {heading, note, columns, rows} of report.tables) {
  const card = element('section', {className: 'card wide'}), bar = element('div', {className: 'bar'});
  const scroll = element('div', {className: 'scroll', style: 'max-height: none'}), table = element('table');
  bar.append(element('h2', {textContent: heading}));
  scroll.append(table);
  card.append(bar, scroll);
  if (note) card.append(element('p', {className: 'note', textContent: note}));
  fillTable(table, columns, rows);
  byId('tables').append(card);
}
const drawAll = () => figures.forEach((figure) => figure());
drawAll();
window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
