// The charts of a training report.
const epochPoints = (valueOf) => report.history.map((r) => ({x: r.epoch, y: valueOf(r)}))
                                     .filter((point) => Number.isFinite(point.y));
// A term of the loss: 0 the whole, 1 reconstruction, 2 KL divergence.
const terms = (part, k) => epochPoints((r) => r[part]?.[k] ?? NaN);

function makeCurves() {
  makeEpochChart('loss', 'per spectrum', [
    ['training', terms('training', 0), '--observed'], ['validation', terms('validation', 0), '--model']
  ]);
  makeEpochChart('reconstruction', 'per spectrum', [
    ['training', terms('training', 1), '--observed'], ['validation', terms('validation', 1), '--model']
  ]);
  makeEpochChart('kl', 'per spectrum', [
    ['training', terms('training', 2), '--observed'], ['validation', terms('validation', 2), '--model']
  ]);
  if (report.comparison) {
    const beyondNoise = (deviance) => Math.max(deviance - 1, 1e-4), {mean, pca} = report.comparison;
    const constant = (deviance) =>
        deviance === null ? [] : epochPoints(() => beyondNoise(deviance));
    makeEpochChart('deviance', 'deviance - 1', [
      ['model', epochPoints((r) => r.deviance === null ? NaN : beyondNoise(r.deviance)), '--model'],
      ['mean spectrum', constant(mean), '--mean', {pointRadius: 0}],
      ['PCA', constant(pca), '--observed', {pointRadius: 0}]
    ]);
  }
  makeEpochChart('rate', '', [['learning rate', epochPoints((r) => r.rate), '--observed']]);
  makeEpochChart('norm', '', [['gradient norm', epochPoints((r) => r.norm), '--observed']]);
  makeEpochChart('active', `of ${report.latent}`, [
    ['active units', epochPoints((r) => r.active), '--observed', {stepped: 'middle'}]
  ], 0);
}

function makeSamples() {
  const {pixels, observed, observedRange, model, modelRange} = report.samples;
  const channels = report.energy.size;
  const unpack = (values, ranges) => {
    const steps = new Uint16Array(bytesOf(values).buffer), range = floatsOf(ranges);
    return pixels.map((_, k) => Array.from({length: channels}, (_, e) => ({
      x: report.energy.offset + report.energy.scale * e,
      y: range[2 * k] + (range[2 * k + 1] - range[2 * k]) * steps[k * channels + e] / 65535
    })));
  };
  const spectra = unpack(observed, observedRange), models = unpack(model, modelRange);
  const units = report.energy.units ? ` (${report.energy.units})` : '';
  const ends = [spectra[0][0].x, spectra[0][channels - 1].x].sort((a, b) => a - b);
  const tips = {
    callbacks: {
      ...valueTip,
      title: (items) => items.length ? `${items[0].parsed.x.toFixed(1)} ${report.energy.units}` : ''
    }
  };
  pixels.forEach((_, k) => {
    makeChart(
        `sample-${k}`, 'line',
        [
          chartLine('reconstruction', models[k], '--model', {borderWidth: 2}),
          chartLine('observed', spectra[k], '--observed', {borderWidth: 1.2})
        ],
        axis(`energy loss${units}`, {
          min: ends[0],
          max: ends[1] > ends[0] ? ends[1] : ends[0] + 1,
          ticks: {includeBounds: false, maxTicksLimit: 6}
        }),
        axis('', {ticks: {maxTicksLimit: 4}}), {legend: k === 0 ? legend() : {display: false}, tooltip: tips});
  });
}

function drawTileMaps() {
  const {size, limits: [low, high], observedMap, modelMap} = report.samples;
  for (const [id, map] of [['map-observed', observedMap], ['map-model', modelMap]]) {
    const values = floatsOf(map), canvas = byId(id), cell = Math.max(1, Math.round(192 / size));
    canvas.width = canvas.height = size * cell;
    const context = canvas.getContext('2d');
    context.imageSmoothingEnabled = false;
    context.drawImage(
        colouredCanvas(size, size, (i) => (values[i] - low) / (high - low)), 0, 0, canvas.width, canvas.height);
  }
  drawColourScale(byId('tile-colours'), low, high);
}

function drawAll() {
  makeCurves();
  if (!report.samples) return;
  if (report.samples.pixels.length) makeSamples();
  drawTileMaps();
}

report.samples?.pixels.forEach(([y, x], k) => {
  const figure = element('figure', {className: 'sample'}), plot = element('div', {className: 'plot small'});
  plot.append(element('canvas', {id: `sample-${k}`}));
  figure.append(element('figcaption', {textContent: `y ${y}, x ${x}`}), plot);
  document.querySelector('.samples').append(figure);
});
const written = new Date(1000 * report.written);
document.querySelector('.origin').append(
    element('span', {id: 'written', textContent: `Written ${written.toLocaleString()}`}));
if (report.next !== null)  // the run goes on
  document.head.append(element('meta', {httpEquiv: 'refresh', content: '10'}));
// Nothing tells a file that the program which wrote it was killed.
if (report.next !== null && Date.now() - written > 1000 * (3 * report.next + 60))
  byId('stale').textContent = 'There has been no news for longer than expected: the run may have ended. ' +
      'Continue it with --resume.';
drawAll();
window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
