// The moving parts of a detection report: a map to click on, the spectra behind it, and the charts. All text
// that comes from files is set as text, never as markup.
(() => {
  'use strict';
  const report = JSON.parse(document.getElementById('report-data').textContent);
  const byId = (id) => document.getElementById(id);

  function bytesOf(base64) {
    const text = atob(base64), bytes = new Uint8Array(text.length);
    for (let i = 0; i < bytes.length; ++i) bytes[i] = text.charCodeAt(i);
    return bytes;
  }
  const floatsOf = (base64) => new Float32Array(bytesOf(base64).buffer);

  const {rows, columns} = report;
  const scores = floatsOf(report.scores);
  const flags = bytesOf(report.flags);  // bit 0: anomalous, bit 1: anomalous in truth, bit 2: excluded
  const palette = bytesOf(report.palette);
  const intensity = report.intensity ? bytesOf(report.intensity) : null;
  let selected = report.ranking.length ? report.ranking[0] : 0;
  let layer = 'score';

  // Three significant digits; whole numbers with separators.
  function numberText(value) {
    if (!Number.isFinite(value)) return 'n/a';
    const size = Math.abs(value);
    if (size >= 999.5 && size < 1e9) return Math.round(value).toLocaleString('en-US');
    if (size !== 0 && (size < 1e-3 || size >= 1e9))
      return value.toExponential(2).replace(/\.?0+e/, 'e').replace('e+', 'e');
    return String(Number(value.toPrecision(3)));
  }
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
  const scoreText = (pixel) => isExcluded(pixel) ? 'excluded' : `score ${numberText(scores[pixel])}`;
  const isTrue = (pixel) => (flags[pixel] & 2) !== 0;
  const isExcluded = (pixel) => (flags[pixel] & 4) !== 0;
  const ranked = flags.reduce((count, _, pixel) => count + (isExcluded(pixel) ? 0 : 1), 0);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // ---- map ----

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
    byId('scale-bar').style.width = `${report.scaleBar.pixels * cell.width * shown}px`;
  }

  // Lines along the border of the pixels that are `inside`: a light one just outside of it, a dark one just
  // inside. Small cells keep their colour whole: there the lines inside are left out, or a lone one is drawn
  // outside.
  function drawOutline(context, inside, light, dark) {
    const at = (y, x) => y >= 0 && x >= 0 && y < rows && x < columns && inside(y * columns + x);
    const {width: w, height: h} = cell, thick = Math.max(1, Math.round(window.devicePixelRatio || 1));
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
    const [low, high] = report.limits;
    const image = new ImageData(columns, rows);
    for (let i = 0; i < rows * columns; ++i) {
      const share = isExcluded(i) ? NaN :
          layer === 'intensity'   ? intensity[i] / 255 :
                                    (scores[i] - low) / (high - low);
      const entry = 3 * Math.round(255 * Math.min(1, Math.max(0, share)));
      for (let c = 0; c < 3; ++c) image.data[4 * i + c] = Number.isFinite(share) ? palette[entry + c] : 160;
      image.data[4 * i + 3] = 255;
    }
    const small = document.createElement('canvas');
    small.width = columns;
    small.height = rows;
    small.getContext('2d').putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, map.width, map.height);
    if (byId('show-found').checked) drawOutline(context, isAnomalous, '#fff', '#111');
    if (byId('show-truth')?.checked) drawOutline(context, isTrue, null, '#ff3ea5');

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
    const box = byId('colours'), stops = [];
    for (let i = 0; i < 256; i += 15)
      stops.push(`rgb(${palette[3 * i]} ${palette[3 * i + 1]} ${palette[3 * i + 2]})`);
    const ramp = document.createElement('div');
    ramp.className = 'ramp';
    ramp.style.background = `linear-gradient(to right, ${stops.join(',')})`;
    box.replaceChildren(ramp);
    const add = (share, text, kind) => {
      const tick = document.createElement('span');
      tick.className = `tick ${kind}`;
      tick.style.left = `${100 * share}%`;
      tick.textContent = text;
      box.append(tick);
    };
    if (layer === 'intensity') {
      add(0, 'low', 'first');
      add(1, 'high mean intensity', 'last');
      return;
    }
    const [low, high] = report.limits;
    add(0, numberText(low), 'first');
    add(1, numberText(high), 'last');
    const share = (report.threshold - low) / (high - low);
    if (report.threshold === null || share < 0 || share > 1) return;
    const mark = document.createElement('span');
    mark.className = 'mark';
    mark.style.left = `calc(${100 * share}% - 1px)`;
    box.append(mark);
    const kind = share < 0.2 ? 'below first' : share > 0.8 ? 'below last' : 'below';
    add(share, `threshold ${numberText(report.threshold)}`, kind);
  }

  function pixelAt(event) {
    const box = map.getBoundingClientRect();
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
    byId('hover').textContent = pixel < 0 ? hint : `y ${where.y}, x ${where.x}: ${scoreText(pixel)}`;
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

  // ---- spectra ----

  const tables = report.spectra.map((table) => {
    const values = (base64) => {
      if (!base64) return null;
      const bytes = bytesOf(base64);
      return table.bits === 16 ? new Uint16Array(bytes.buffer) : bytes;
    };
    return {
      ...table,
      slots: table.pixels && new Map(table.pixels.map((pixel, slot) => [pixel, slot])),
      observed: values(table.observed),
      observedRange: floatsOf(table.observedRange),
      model: values(table.reconstruction),
      modelRange: table.reconstruction && floatsOf(table.reconstructionRange)
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
      const model = table.model && points(table.model, table.modelRange);
      return {
        owner,
        bin: table.bin,
        observed,
        model,
        residual: model && observed.map((point, k) => ({x: point.x, y: point.y - model[k].y}))
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

  const charts = {};
  const ends = [
    report.energy.offset, report.energy.offset + report.energy.scale * (report.energy.size - 1)
  ].sort((a, b) => a - b);
  if (ends[0] === ends[1]) ends[1] += Math.abs(report.energy.scale) || 1;
  let range = ends;  // of energies shown
  let drag = null;   // energies between which the pointer is held down

  // Shades a chart's band and the range being dragged, and draws its vertical or zero line.
  const marks = {
    id: 'marks',
    beforeDatasetsDraw(chart, _, options) {
      const {ctx, chartArea: area, scales} = chart;
      const shade = (span, colour) => {
        if (!span) return;
        const [a, b] =
            span.map((v) => Math.min(area.right, Math.max(area.left, scales.x.getPixelForValue(v))));
        ctx.fillStyle = colour;
        ctx.fillRect(Math.min(a, b), area.top, Math.abs(b - a), area.bottom - area.top);
      };
      shade(options.band, css('--band'));
      if (options.draggable) shade(drag, 'rgba(128, 128, 128, 0.3)');
      ctx.lineWidth = 1.5;
      ctx.strokeStyle = css('--faint');
      ctx.beginPath();
      if (options.zero) {
        const y = scales.y.getPixelForValue(0);
        if (y > area.top && y < area.bottom) {
          ctx.moveTo(area.left, y);
          ctx.lineTo(area.right, y);
        }
      }
      if (Number.isFinite(options.line)) {
        const x = scales.x.getPixelForValue(options.line);
        if (x >= area.left && x <= area.right) {
          ctx.moveTo(x, area.top);
          ctx.lineTo(x, area.bottom);
          const toLeft = x > (area.left + area.right) / 2;
          ctx.fillStyle = css('--text');
          ctx.font = '12px system-ui, sans-serif';
          ctx.textAlign = toLeft ? 'right' : 'left';
          ctx.fillText(options.label, x + (toLeft ? -6 : 6), area.top + 11);
        }
      }
      ctx.stroke();
    },
  };

  function axis(title, more = {}) {
    return {
      type: 'linear',
      title: {display: Boolean(title), text: title, color: css('--faint')},
      ...more,
      grid: {color: css('--grid'), borderColor: css('--line'), offset: false},
      ticks: {color: css('--faint'), maxRotation: 0, ...more.ticks}
    };
  }

  function makeChart(id, type, datasets, x, y, plugins = {}) {
    charts[id]?.destroy();
    charts[id] = new Chart(byId(id), {
      type,
      data: {datasets},
      plugins: [marks],
      options: {
        animation: false,
        maintainAspectRatio: false,
        parsing: false,
        normalized: true,
        elements: {
          point: {radius: report.energy.size < 30 ? 2 : 0, hitRadius: 0},
          line: {borderWidth: 1.5, tension: 0}
        },
        interaction: {mode: 'nearest', axis: 'x', intersect: false},
        scales: {x, y},
        plugins: {legend: {display: false}, ...plugins},
      },
    });
    return charts[id];
  }

  const legend = () => ({
    display: true,
    align: 'end',
    labels: {
      color: css('--text'),
      boxWidth: 22,
      boxHeight: 1,
      padding: 12,
      filter: (item) => item.text !== meanLabel || showMean()
    }
  });
  const valueTip = {label: (item) => ` ${item.dataset.label}: ${numberText(item.parsed.y)}`};
  const meanLabel = 'mean of the normal spectra';
  const showMean = () => byId('show-mean').checked;

  function makeSpectrumCharts() {
    if (!tables.length) return;
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
    const line = (label, colour, more = {}) =>
        ({label, data: [], borderColor: css(colour), backgroundColor: css(colour), ...more});
    const datasets = [line('spectrum', '--observed', {borderWidth: 1.2})];
    if (tables[0].model) datasets.push(line('reconstruction', '--model', {borderWidth: 2}));
    if (normalMean) datasets.push(line(meanLabel, '--mean', {borderDash: [5, 4]}));
    const energy = {min: range[0], max: range[1], ticks: {includeBounds: false, maxTicksLimit: 10}};
    const below = Boolean(byId('residual'));
    const above =
        below ? axis('', {...energy, ticks: {display: false}}) : axis(`energy loss${units}`, energy);
    makeChart(
        'spectrum', 'line', datasets, above,
        axis(report.intensityLabel, {afterFit: sameWidth, ticks: {maxTicksLimit: 7}}),
        {legend: legend(), tooltip: tips, marks: {band: report.window, draggable: true}});
    if (below) {
      makeChart(
          'residual', 'line', [line('residual', '--residual', {borderWidth: 1.2})],
          axis(`energy loss${units}`, energy),
          axis('residual', {afterFit: sameWidth, ticks: {maxTicksLimit: 5}}),
          {tooltip: tips, marks: {band: report.window, zero: true, draggable: true}});
    }
  }

  function drawSpectra() {
    const where = place(selected);
    const higher = scores.reduce((count, score) => count + (score > scores[selected] ? 1 : 0), 0);
    const state = [];
    if (where.text) state.push(where.text);
    if (Number.isFinite(scores[selected]))
      state.push(`rank ${(higher + 1).toLocaleString('en-US')} of ${ranked.toLocaleString('en-US')}`);
    if (!isExcluded(selected)) state.push(isAnomalous(selected) ? 'anomalous' : 'fits');
    if (report.hasTruth) state.push(isTrue(selected) ? 'truth: anomalous' : 'truth: normal');
    byId('pixel').textContent = `Pixel y ${where.y}, x ${where.x}: ${scoreText(selected)} `;
    const small = document.createElement('small');
    small.textContent = state.join(' · ');
    byId('pixel').append(small);
    if (!charts.spectrum) return;

    const found = spectrumOf(selected);
    const excluded = isExcluded(selected) || isExcluded(found.owner);
    if (excluded) {
      found.observed = [];
      found.model &&= [];
      found.residual &&= [];
    }
    const lines = charts.spectrum.data.datasets;
    lines[0].data = found.observed;
    if (found.model) lines[1].data = found.model;
    if (normalMean) lines[lines.length - 1].data = showMean() ? binned(normalMean, found.bin) : [];
    charts.spectrum.update('none');
    if (charts.residual) {
      charts.residual.data.datasets[0].data = found.residual;
      charts.residual.update('none');
    }
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
      if (!charts[id]) continue;
      Object.assign(charts[id].options.scales.x, {min: range[0], max: range[1]});
      charts[id].update('none');
    }
  }

  // Drag along the energy axis to magnify, double-click for everything.
  for (const id of ['spectrum', 'residual']) {
    const canvas = byId(id);
    if (!canvas) continue;
    const redraw = () => {
      charts.spectrum.draw();
      charts.residual?.draw();
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
  byId('show-mean')?.addEventListener('change', drawSpectra);
  byId('whole-range')?.addEventListener('click', () => showRange(ends));
  byId('window-range')?.addEventListener('click', () => {
    const [a, b] = [...report.window].sort((p, q) => p - q),
              margin = Math.max(b - a, 5 * Math.abs(report.energy.scale));
    showRange([Math.max(ends[0], a - margin), Math.min(ends[1], b + margin)]);
  });

  // ---- ranking, histogram, training ----

  const lines = new Map();
  function makeRanking() {
    const body = document.querySelector('#ranking tbody');
    report.ranking.forEach((pixel, rank) => {
      const row = body.insertRow(), where = place(pixel);
      const cells = [rank + 1, where.y, where.x, numberText(scores[pixel])];
      if (report.hasTruth) cells.push(isTrue(pixel) ? 'anomalous' : 'normal');
      for (const text of cells) row.insertCell().textContent = text;
      row.tabIndex = 0;
      row.addEventListener('click', () => select(pixel));
      row.addEventListener('keydown', (event) => {
        if (event.key === 'Enter' || event.key === ' ') {
          event.preventDefault();
          select(pixel);
        }
        const other = {ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling}[event.key];
        if (other) {
          event.preventDefault();
          other.focus();
          other.click();
        }
      });
      lines.set(pixel, row);
    });
  }

  function makeHistogram() {
    const {low, high, counts, beyond} = report.histogram, width = (high - low) / counts.length;
    const data = counts.map((count, i) => ({x: low + (i + 0.5) * width, y: count || null}));
    const anomalous = (point) => report.threshold !== null && point.x > report.threshold;
    makeChart(
        'histogram', 'bar', [{
          label: 'spectra',
          data,
          grouped: false,
          barPercentage: 1,
          categoryPercentage: 1,
          backgroundColor: data.map((point) => css(anomalous(point) ? '--model' : '--observed'))
        }],
        axis('score', {min: low, max: high, offset: false, ticks: {includeBounds: false}}), axis('spectra', {
          type: 'logarithmic',
          min: 0.8,
          ticks: {
            callback: (value) => (Number.isInteger(Math.log10(value)) ? value.toLocaleString('en-US') : null)
          }
        }),
        {
          marks: {line: report.threshold ?? NaN, label: `threshold ${numberText(report.threshold)}`},
          tooltip: {
            callbacks: {
              title: (items) => items.length ? `${numberText(items[0].parsed.x - width / 2)} to ${
                                                   numberText(items[0].parsed.x + width / 2)}` :
                                               '',
              label: (item) => ` ${item.parsed.y.toLocaleString('en-US')} spectra`
            }
          }
        });
    byId('counts').textContent = `Counts on a logarithmic axis${
        beyond ? `; the last bar includes ${beyond.toLocaleString('en-US')} higher scores` : ''}.`;
  }

  function makeTraining() {
    if (!report.history.length) return;
    const points = (key) => report.history.filter((entry) => entry[key] !== null)
                                .map((entry) => ({x: entry.epoch, y: entry[key]}));
    const line = (label, data, colour) => ({
      label,
      data,
      borderColor: css(colour),
      backgroundColor: css(colour),
      borderWidth: 2,
      pointRadius: data.length < 40 ? 2 : 0
    });
    const datasets = [
      line('training', points('train'), '--observed'), line('validation', points('validation'), '--model')
    ].filter((dataset) => dataset.data.length);
    const values = datasets.flatMap((dataset) => dataset.data.map((point) => point.y));
    const wide =
        values.length > 0 && Math.min(...values) > 0 && Math.max(...values) > 30 * Math.min(...values);
    makeChart(
        'training', 'line', datasets, axis('epoch', {ticks: {precision: 0}}),
        axis(
            'loss per tile',
            {type: wide ? 'logarithmic' : 'linear', ticks: {maxTicksLimit: 7, callback: numberText}}),
        {
          legend: legend(),
          tooltip:
              {callbacks: {...valueTip, title: (items) => items.length ? `epoch ${items[0].parsed.x}` : ''}}
        });
  }

  function select(pixel) {
    lines.get(selected)?.classList.remove('selected');
    selected = pixel;
    const row = lines.get(pixel);
    row?.classList.add('selected');
    const box = document.querySelector('.scroll');
    if (row &&
        (row.offsetTop < box.scrollTop + 30 ||
         row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight)) {
      box.scrollTop = row.offsetTop - box.clientHeight / 2;
    }
    drawMap();
    drawSpectra();
  }

  function drawAll() {
    Chart.defaults.font.family = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
    layoutMap();
    drawColours();
    makeSpectrumCharts();
    makeHistogram();
    makeTraining();
    select(selected);
  }

  for (const input of map.parentElement.querySelectorAll('.tools input')) {
    input.addEventListener('change', () => {
      layer = document.querySelector('input[name=layer]:checked')?.value ?? 'score';
      drawColours();
      drawMap();
    });
  }
  makeRanking();
  drawAll();
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
  window.addEventListener('resize', () => {
    layoutMap();
    drawMap();
  });
})();
