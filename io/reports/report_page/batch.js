// The page of many images: a table, and charts that show which are unlike the others.
const rows = report.rows;
const shareOf = (row) => row.spectra > 0 ? row.found / row.spectra : NaN;
const reportOf = (row) => `${encodeURIComponent(row.name)}/report.html`;
const number = (value) => value === null ? '' : numberText(value);

const orders = [
  ['in the list', () => 0],
  ['most found', (row) => -(row.found ?? -1)],
  ['largest share', (row) => -(Number.isFinite(shareOf(row)) ? shareOf(row) : -1)],
  ['not to be trusted first', (row) => row.trusted === false ? 0 : 1],
  ['failed first', (row) => row.state === 'failed' ? 0 : 1],
  ['largest deviance', (row) => -(row.deviance_model ?? row.deviance_mean ?? -1)],
];

function showImages() {
  const by = orders[Number(byId('order').value)][1], table = byId('images');
  const sorted = rows.map((row, i) => [by(row), i, row]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((each) => each[2]);
  const known = rows.some((row) => row.f1 !== null);
  table.replaceChildren();
  const lines = fillTable(
      table,
      ['image', 'state', 'spectra', 'do not fit', 'share', 'regions', 'trusted', 'deviance', ...(known ? ['F1'] : []), 's', ''],
      sorted.map((row) => [
        '', row.state, row.spectra === null ? '' : countText(row.spectra), row.found === null ? '' : countText(row.found),
        Number.isFinite(shareOf(row)) ? `${numberText(100 * shareOf(row))} %` : '', row.regions ?? '',
        row.trusted === null ? '' : row.trusted ? 'yes' : 'no', number(row.deviance_model ?? row.deviance_mean),
        ...(known ? [number(row.f1)] : []), number(row.seconds), row.message ?? row.doubts ?? ''
      ]));
  lines.forEach((line, i) => {
    const row = sorted[i], cell = line.cells[0];
    if (row.state === 'done')
      cell.append(element('a', {href: reportOf(row), textContent: row.name, title: row.path}));
    else
      Object.assign(cell, {textContent: row.name, title: row.path});
    if (row.trusted === false || row.state === 'failed') line.classList.add('doubt');
  });
}

// A point for each image that has a number; a click opens its report.
function drawPoints(id, title, valuesOf) {
  const done = rows.map((row, i) => ({row, i})).filter(({row}) => row.state === 'done');
  const datasets = valuesOf.map(([label, valueOf, colour]) => {
    const points = done.map(({row, i}) => ({x: i + 1, y: valueOf(row) ?? NaN, row})).filter(({y}) => Number.isFinite(y));
    return {
      label,
      data: points,
      pointRadius: 3,
      hitRadius: 6,
      backgroundColor: points.map(({row}) => css(row.trusted === false ? '--wrong' : colour)),
      borderWidth: 0
    };
  });
  const several = datasets.filter((dataset) => dataset.data.length > 0).length > 1;
  makeChart(
      id, 'scatter', datasets, axis('image', {min: 0, max: rows.length + 1, ticks: {precision: 0}}),
      axis(title, {ticks: {callback: (value) => String(Number(value.toPrecision(5)))}}), {
        legend: several ? legend() : {display: false},
        tooltip: {callbacks: {label: (item) => ` ${item.raw.row.name}, ${item.dataset.label}: ${numberText(item.parsed.y)}`}}
      },
      {}, {
        interaction: {mode: 'nearest', intersect: true},
        onClick: (event, items, chart) => {
          if (items.length) location.href = reportOf(chart.data.datasets[items[0].datasetIndex].data[items[0].index].row);
        }
      });
}

byId('order').replaceChildren(...orders.map(([text], i) => element('option', {value: i, textContent: text})));
byId('order').addEventListener('change', showImages);
showImages();
drawPoints('shares', '%', [['do not fit', (row) => 100 * shareOf(row), '--observed']]);
drawPoints('deviances', '', [
  ['model', (row) => row.deviance_model, '--model'], ['mean spectrum', (row) => row.deviance_mean, '--mean'],
  ['PCA', (row) => row.deviance_pca, '--observed']
]);
