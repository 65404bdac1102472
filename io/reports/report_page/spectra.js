// The spectra behind a detection report's map.
const ranked = flags.reduce((count, _, pixel) => count + (isExcluded(pixel) ? 0 : 1), 0);
const tables = report.spectra.map((table) => {
  const values = (base64) => {
    const bytes = bytesOf(base64);
    return table.bits === 16 ? new Uint16Array(bytes.buffer) : bytes;
  };
  return {
    ...table,
    slots: table.pixels && new Map(table.pixels.map((pixel, slot) => [pixel, slot])),
    observed: values(table.observed),
    observedRange: floatsOf(table.observedRange),
    model: values(table.reconstruction),
    modelRange: floatsOf(table.reconstructionRange)
  };
});

// The stored spectrum for a pixel: its own, or else its nearest neighbour's on the stored grid.
function spectrumOf(pixel) {
  for (const table of tables) {
    let slot = table.slots?.get(pixel), owner = pixel;
    if (table.slots === null) {
      const across = Math.ceil(columns / table.step), down = Math.ceil(rows / table.step);
      const gx = Math.min(Math.round(pixel % columns / table.step), across - 1);
      const gy = Math.min(Math.round(Math.floor(pixel / columns) / table.step), down - 1);
      slot = gy * across + gx;
      owner = gy * table.step * columns + gx * table.step;
    }
    if (slot === undefined) continue;
    const size = report.energy.size, full = table.bits === 16 ? 65535 : 255;
    const points = (values, range) => Array.from({length: table.channels}, (_, k) => {
      const first = k * table.bin, last = Math.min(first + table.bin, size) - 1;
      return {
        x: report.energy.offset + report.energy.scale * (first + last) / 2,
        y: range[2 * slot] +
            (range[2 * slot + 1] - range[2 * slot]) * values[slot * table.channels + k] / full
      };
    });
    const observed = points(table.observed, table.observedRange);
    const model = points(table.model, table.modelRange);
    return {
      owner,
      bin: table.bin,
      observed,
      model,
      residual: observed.map((point, k) => ({x: point.x, y: point.y - model[k].y}))
    };
  }
  return null;
}
const normalMean = report.normalMean &&
    Array.from(
        floatsOf(report.normalMean), (y, k) => ({x: report.energy.offset + report.energy.scale * k, y}));
// The mean at the resolution at which a spectrum is shown, so that the two compare.
function binned(points, bin) {
  const result = [];
  for (let k = 0; k < points.length; k += bin) {
    const part = points.slice(k, k + bin),
          mean = (f) => part.reduce((sum, p) => sum + f(p), 0) / part.length;
    result.push({x: mean((p) => p.x), y: mean((p) => p.y)});
  }
  return result;
}

const ends = [
  report.energy.offset, report.energy.offset + report.energy.scale * (report.energy.size - 1)
].sort((a, b) => a - b);
if (ends[0] === ends[1]) ends[1] += Math.abs(report.energy.scale) || 1;
let range = ends;  // of energies shown
let drag = null;   // energies between which the pointer is held down

// ---- what a pixel's spectrum deviates in ----

const energyOf = (channel) => report.energy.offset + report.energy.scale * channel;
const deviations = {
  slots: report.deviations.pixels &&
      new Map(Array.from(
          new Uint32Array(bytesOf(report.deviations.pixels).buffer), (pixel, slot) => [pixel, slot])),
  ranges: new Uint16Array(bytesOf(report.deviations.ranges).buffer),
  sizes: new Int16Array(bytesOf(report.deviations.sizes).buffer)
};

// [first channel, past the last, significance, share]; null where there is nothing to tell, undefined where
// the report does not hold it.
function deviationOf(pixel) {
  const slot = deviations.slots ? deviations.slots.get(pixel) : pixel;
  if (slot === undefined) return undefined;
  const [first, last] = deviations.ranges.subarray(2 * slot, 2 * slot + 2);
  if (first >= last) return null;
  return [first, last, deviations.sizes[2 * slot] / 10, deviations.sizes[2 * slot + 1] / 1000];
}

// "-38 % at 712.4 to 718.1 eV (8.3 \u03c3)"
function deviationText([first, last, significance, share]) {
  const digits = Math.min(3, Math.max(0, Math.ceil(-Math.log10(Math.abs(report.energy.scale)) - 1e-9)));
  const ends = [first, last - 1].map(energyOf).sort((a, b) => a - b).map((value) => value.toFixed(digits));
  const range = ends[0] === ends[1] ? ends[0] : ends.join(' to ');
  const units = report.energy.units ? ` ${report.energy.units}` : '';
  const sign = significance < 0 ? '\u2212' : '+';
  const percent = numberText(Math.abs(100 * share));
  return `${sign}${percent} % at ${range}${units} (${numberText(Math.abs(significance))} \u03c3)`;
}

function drawDeviation() {
  const deviation = deviationOf(selected), region = report.regions?.table[regionOf(selected) - 1];
  const most = deviation === undefined ? 'This report explains the highest scores only.' :
      deviation === null               ? 'No range stands out.' :
                                         `Deviates most by ${deviationText(deviation)}.`;
  byId('deviation').textContent =
      isExcluded(selected) ? '' : region?.explanation ? `${most} Its region: ${region.explanation}.` : most;
}

// Shaded behind the spectra.
const bands = () => {
  const shaded = report.window ? [[report.window, css('--band')]] : [];
  const deviation = isExcluded(selected) ? null : deviationOf(selected);
  if (deviation) {
    const [first, last] = deviation;
    shaded.push([[energyOf(first - 0.5), energyOf(last - 0.5)], css('--deviation')]);
  }
  if (drag) shaded.push([drag, 'rgba(128, 128, 128, 0.3)']);
  return shaded;
};

// ---- the mean deviation of regions ----

const regionSpectra = report.regions && {
  values: new Uint16Array(bytesOf(report.regions.spectra).buffer),
  ranges: floatsOf(report.regions.spectraRange)
};
const regionLabel = 'mean of its region';

function regionSpectrum(rank) {
  if (!rank) return [];
  const {bin, channels} = report.regions, {values, ranges} = regionSpectra;
  const low = ranges[2 * rank - 2], width = ranges[2 * rank - 1] - low;
  return Array.from({length: channels}, (_, k) => {
    const first = k * bin, last = Math.min(first + bin, report.energy.size) - 1;
    return {
      x: energyOf((first + last) / 2),
      y: low + width * values[(rank - 1) * channels + k] / 65535
    };
  });
}

// ---- charts ----

const meanLabel = 'mean of the normal spectra';
const showMean = () => byId('show-mean').checked;

function makeSpectrumCharts() {
  const units = report.energy.units ? ` (${report.energy.units})` : '';
  const sameWidth = (scale) => {
    scale.width = 64;
  };  // so that the two plots' energies stand above each other
  const tips = {
    callbacks: {
      ...valueTip,
      title: (items) => items.length ? `${items[0].parsed.x.toFixed(1)} ${report.energy.units}` : ''
    }
  };
  const line = (label, colour, more) => chartLine(label, [], colour, {pointRadius: report.energy.size < 30 ? 2 : 0, ...more});
  const datasets = [
    line('spectrum', '--observed', {borderWidth: 1.2}), line('reconstruction', '--model', {borderWidth: 2})
  ];
  if (normalMean) datasets.push(line(meanLabel, '--mean', {borderDash: [5, 4]}));
  const energy = {min: range[0], max: range[1], ticks: {includeBounds: false, maxTicksLimit: 10}};
  makeChart(
      'spectrum', 'line', datasets, axis('', {...energy, ticks: {display: false}}),
      axis('preprocessed intensity', {afterFit: sameWidth, ticks: {maxTicksLimit: 7}}),
      {legend: legend(), tooltip: tips}, {bands: bands});
  makeChart(
      'residual', 'line',
      [
        line('residual', '--residual', {borderWidth: 1.2}),
        line(regionLabel, '--region', {borderWidth: 2.5, order: -1})
      ],
      axis(`energy loss${units}`, energy), axis('residual', {afterFit: sameWidth, ticks: {maxTicksLimit: 5}}),
      {tooltip: tips, legend: regionSpectra ? legend() : {display: false}}, {bands: bands, zero: true});
}

function drawSpectra() {
  const where = place(selected);
  const higher = scores.reduce((count, score) => count + (score > scores[selected] ? 1 : 0), 0);
  const state = [];
  if (where.text) state.push(where.text);
  if (Number.isFinite(scores[selected]))
    state.push(`rank ${countText(higher + 1)} of ${countText(ranked)}`);
  if (!isExcluded(selected)) state.push(isAnomalous(selected) ? 'anomalous' : 'fits');
  if (regionOf(selected)) state.push(`region ${regionOf(selected)}`);
  if (report.hasTruth) state.push(isTrue(selected) ? 'truth: anomalous' : 'truth: normal');
  byId('pixel').textContent = `Pixel y ${where.y}, x ${where.x}: ${scoreText(selected)} `;
  byId('pixel').append(element('small', {textContent: state.join(' · ')}));
  drawDeviation();

  const found = spectrumOf(selected);
  const excluded = isExcluded(selected) || isExcluded(found.owner);
  if (excluded) found.observed = found.model = found.residual = [];
  const lines = charts.spectrum.data.datasets;
  lines[0].data = found.observed;
  lines[1].data = found.model;
  if (normalMean) lines[2].data = showMean() ? binned(normalMean, found.bin) : [];
  charts.spectrum.update('none');
  charts.residual.data.datasets[0].data = found.residual;
  charts.residual.data.datasets[1].data = regionSpectrum(regionOf(selected));
  charts.residual.update('none');
  const notes = [];
  if (found.owner !== selected && !excluded) {
    const owner = place(found.owner);
    notes.push(`Shown is the nearest spectrum kept in this report, at y ${owner.y}, x ${owner.x}.`);
  }
  if (excluded)
    notes.push('Excluded pixels have no spectrum in this report.');
  else if (found.bin > 1)
    notes.push(`Averaged over ${found.bin} channels (${
        numberText(Math.abs(found.bin * report.energy.scale))} ${report.energy.units}).`);
  else
    notes.push('Full energy resolution.');
  byId('resolution').textContent = notes.join(' ');
}

function showRange(next) {
  range = next;
  for (const id of ['spectrum', 'residual']) {
    Object.assign(charts[id].options.scales.x, {min: range[0], max: range[1]});
    charts[id].update('none');
  }
}

// Drag along the energy axis to magnify, double-click for everything.
for (const id of ['spectrum', 'residual']) {
  const canvas = byId(id);
  const redraw = () => {
    charts.spectrum.draw();
    charts.residual.draw();
  };
  const energyAt = (event) =>
      charts[id].scales.x.getValueForPixel(event.clientX - canvas.getBoundingClientRect().left);
  canvas.addEventListener('pointerdown', (event) => {
    const {left, right, top, bottom} = charts[id].chartArea, box = canvas.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    if (event.button !== 0 || x < left || x > right || y < top || y > bottom) return;
    drag = [energyAt(event), energyAt(event)];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!drag) return;
    drag[1] = energyAt(event);
    redraw();
  });
  canvas.addEventListener('pointerup', () => {
    if (!drag) return;
    const [low, high] = drag.map((v) => Math.min(ends[1], Math.max(ends[0], v))).sort((a, b) => a - b);
    drag = null;
    if (high - low > 4 * Math.abs(report.energy.scale))
      showRange([low, high]);
    else
      redraw();
  });
  canvas.addEventListener('pointercancel', () => {
    drag = null;
  });
  canvas.addEventListener('dblclick', () => showRange(ends));
}
byId('show-mean').addEventListener('change', drawSpectra);
byId('whole-range').addEventListener('click', () => showRange(ends));
byId('window-range')?.addEventListener('click', () => {
  const [a, b] = [...report.window].sort((p, q) => p - q),
            margin = Math.max(b - a, 5 * Math.abs(report.energy.scale));
  showRange([Math.max(ends[0], a - margin), Math.min(ends[1], b + margin)]);
});
