// The lists and the charts of a detection report, and what selecting a pixel does.

// A table whose rows, one for each of `items`, are to be clicked on or reached with the keyboard.
function makeTable(id, columns, items, cellsOf, action) {
  const rows = fillTable(byId(id), columns, items.map(cellsOf));
  rows.forEach((row, index) => {
    const act = () => action(items[index]);
    row.tabIndex = 0;
    row.addEventListener('click', act);
    row.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' || event.key === ' ') {
        event.preventDefault();
        act();
      }
      const other = {ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling}[event.key];
      if (other) {
        event.preventDefault();
        other.focus();
        other.click();
      }
    });
  });
  return rows;
}

const rankingRows = makeTable(
    'ranking', ['rank', 'y', 'x', 'score', ...(report.hasTruth ? ['truth'] : [])], report.ranking,
    (pixel, rank) => {
      const where = place(pixel), cells = [rank + 1, where.y, where.x, numberText(scores[pixel])];
      if (report.hasTruth) cells.push(isTrue(pixel) ? 'anomalous' : 'normal');
      return cells;
    },
    (pixel) => select(pixel));

let regionRows = [];
if (report.regions) {
  const {table, count} = report.regions, units = [report.y.units, report.x.units];
  const withArea = units[0] && units[0] === units[1];
  regionRows = makeTable(
      'regions',
      [
        'rank', 'pixels', ...(withArea ? [`area (${units[0]}\u00b2)`] : []), `y (${units[0] || 'px'})`,
        `x (${units[1] || 'px'})`, 'highest score', 'largest deviation',
        'near edges (eV)', 'what changed'
      ],
      table, (region, index) => [
        index + 1, countText(region.pixels), ...(withArea ? [numberText(region.area)] : []),
        numberText(region.y), numberText(region.x), numberText(region.score),
        region.deviation ? deviationText(region.deviation) : '', region.edges, region.explanation
      ], (region) => select(region.strongest));
  const explained = table.filter((region) => region.explanation).length;
  const notes = [
    count > table.length ? `The ${table.length} regions of the highest scores, of ${countText(count)}.` : '',
    0 < explained && explained < table.length ? `What changed is said of ${explained} regions.` : '',
    'Click a region for its strongest pixel.'
  ];
  byId('region-note').textContent = notes.filter(Boolean).join(' ');
}

for (const [name, value] of report.metrics ?? []) {
  const tile = element('div');
  tile.append(element('dt', {textContent: name}), element('dd', {textContent: numberText(value)}));
  byId('metrics').append(tile);
}

function makeHistogram() {
  const {low, high, counts, beyond} = report.histogram, width = (high - low) / counts.length;
  const data = counts.map((count, i) => ({x: low + (i + 0.5) * width, y: count || null}));
  const anomalous = (point) => report.threshold !== null && point.x > report.threshold;
  const datasets = [{
    label: 'spectra',
    data,
    grouped: false,
    barPercentage: 1,
    categoryPercentage: 1,
    order: 1,
    backgroundColor: data.map((point) => css(anomalous(point) ? '--model' : '--observed'))
  }];
  const expected = report.histogram.null.filter(([, count]) => count > 0).map(([x, y]) => ({x, y}));
  if (expected.length)
    datasets.push(chartLine('expected of normal spectra', expected, '--null', {type: 'line', borderWidth: 2}));
  makeChart(
      'histogram', 'bar', datasets,
      axis('score', {min: low, max: high, offset: false, ticks: {includeBounds: false}}), axis('spectra', {
        type: 'logarithmic',
        min: 0.8,
        ticks:
            {callback: (value) => (Number.isInteger(Math.log10(value)) ? countText(value) : null)}
      }),
      {
        tooltip: {
          callbacks: {
            title: (items) => items.length ? `${numberText(items[0].parsed.x - width / 2)} to ${
                                                 numberText(items[0].parsed.x + width / 2)}` :
                                             '',
            label: (item) => ` ${item.dataset.label}: ${numberText(item.parsed.y)}`
          }
        }
      },
      {line: report.threshold ?? NaN, label: `threshold ${numberText(report.threshold)}`});
  const notes = [`Counts on a logarithmic axis${
      beyond ? `; the last bar includes ${countText(beyond)} higher scores` : ''}.`];
  if (expected.length) notes.push('Line: what is expected of normal spectra.');
  if (report.thresholdMethod) notes.push(`Threshold: ${report.thresholdMethod}.`);
  byId('counts').textContent = notes.join(' ');
}

function makeLatent() {
  if (!byId('latent')) return;
  const {units, variances, tiles, points} = report.latent;
  const ordered = [...points].sort((a, b) => a[2] - b[2]);  // the highest scores on top
  const name = (k) => `latent unit ${units[k] + 1} (variance ${numberText(variances[k])})`;
  const [horizontal, vertical] = [0, 1].map((k) => axis(name(k), {grace: '5%', ticks: {maxTicksLimit: 7}}));
  makeChart(
      'latent', 'scatter', [{
        data: ordered.map(([x, y]) => ({x, y})),
        pointRadius: 5,
        pointHoverRadius: 7,
        pointHitRadius: 4,
        borderWidth: 1,
        borderColor: css('--faint'),
        pointBackgroundColor: ordered.map((point) => colourOf(scoreShare(point[2])))
      }],
      horizontal, vertical, {
        tooltip: {
          callbacks: {
            label: (item) => {
              const [, , score, , y, x] = ordered[item.dataIndex];
              return ` tile at y ${y}, x ${x}: highest score ${numberText(score)}`;
            }
          }
        }
      },
      {}, {
        normalized: false,
        interaction: {mode: 'nearest', axis: 'xy', intersect: true},
        onClick: (_, elements) => {
          if (!elements.length) return;
          const [, , , pixel, y, x] = ordered[elements[0].index];
          select(pixel, [y, x]);
        }
      });
  const shown = points.length < tiles ? `${countText(points.length)} of ` : '';
  byId('latent-note').textContent = `${shown}${countText(tiles)} tiles by the mean of their ` +
      'posterior, coloured by their highest score. Click one for the pixel that has it.';
}

function makeTraining() {
  if (!report.history) return;
  const points = (key) =>
      report.history.filter((entry) => entry[key] !== null).map((entry) => ({x: entry.epoch, y: entry[key]}));
  makeEpochChart('training', 'loss per tile', [
    ['training', points('train'), '--observed'], ['validation', points('validation'), '--model']
  ]);
}

// Marks the row of a table, if it is there, and scrolls the table to it.
function markRow(rows, index) {
  for (const row of rows) row.classList.remove('selected');
  const row = rows[index];
  if (!row) return;
  row.classList.add('selected');
  const box = row.closest('.scroll');
  if (row.offsetTop < box.scrollTop + 30 ||
      row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight)
    box.scrollTop = row.offsetTop - box.clientHeight / 2;
}

function select(pixel, tile = null) {
  selected = pixel;
  selectedTile = tile;
  markRow(rankingRows, report.ranking.indexOf(pixel));
  markRow(regionRows, regionOf(pixel) - 1);
  drawMap();
  drawSpectra();
}

function drawMaps() {
  drawMap();
  drawBeside();
}

function drawAll() {
  layoutMap();
  drawBeside();
  drawColours();
  makeSpectrumCharts();
  makeHistogram();
  makeLatent();
  makeTraining();
  select(selected, selectedTile);
}

// No line begins with a per cent sign.
const headline = document.querySelector('.headline');
headline.textContent = headline.textContent.replaceAll(' %', '\u00a0%');
for (const id of ['show-found', 'show-truth']) byId(id)?.addEventListener('change', drawMaps);
makeLayerButtons();
drawAll();
window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
window.addEventListener('resize', () => {
  layoutMap();
  drawMap();
});
