// Small maps of what other expectations find, beside the report's own.
const sharp = Math.max(1, Math.min(3, Math.floor(4096 / Math.max(rows, columns))));
const small = {width: sharp, height: Math.max(1, Math.round(sharp * report.aspect))};  // of one map pixel, in canvas pixels

const besideMaps = report.beside.map((each, index) => ({
  ...each,
  limits: each.limits ?? report.limits,
  scores: index === 0 ? scores : floatsOf(each.scores),
  mask: index === 0 ? flags.map((flag) => flag & 1) : bytesOf(each.mask)
})).map((each, index) => {
  const figure = element('figure'), caption = element('figcaption');
  const canvas = element('canvas', {id: `beside-${index}`, width: columns * small.width, height: rows * small.height});
  caption.append(element('strong', {textContent: each.name}),
                 ...each.lines.map((textContent) => element('div', {textContent})));
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', `Map of the scores by ${each.name}`);
  canvas.addEventListener('pointerdown', (event) => {
    const pixel = pixelAt(event);
    if (pixel >= 0) select(pixel);
  });
  figure.append(canvas, caption);
  byId('beside').append(figure);
  return {...each, canvas};
});

function drawBeside() {
  for (const {canvas, scores: values, mask, limits: [low, high]} of besideMaps) {
    const context = canvas.getContext('2d');
    context.imageSmoothingEnabled = false;
    context.drawImage(
        colouredCanvas(columns, rows, (i) => isExcluded(i) ? NaN : (values[i] - low) / (high - low),
                       (i) => isSetAside(i) ? 245 : 160),
        0, 0, canvas.width, canvas.height);
    if (byId('show-found').checked) drawOutline(context, (pixel) => mask[pixel] !== 0, '#fff', '#111', small);
    if (byId('show-truth')?.checked) drawOutline(context, isTrue, null, '#ff3ea5', small);
  }
}
