"use strict";
// Draws each chart of the page's JSON with uPlot into the figure that carries its number. All text goes in as text.
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const MOST_ROWS = 60; // of a table of numbers: more is for --csv
  const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
  const share = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const shown = (value) => (value === null || value === undefined ? "–" : number.format(value));
  const seconds = (value) => `${number.format(value)} s`;
  // A percentile stands as far to the right as it is rare: 1 / (1 - q), on a logarithmic axis.
  const rarity = (q) => 1 / (1 - q);
  const percentile = (place) => `p${share.format(100 * (1 - 1 / place))}`;

  function placeText(chart, place) {
    if (place === null || place === undefined) return "–";
    if (chart.axis === "time") return seconds(place);
    if (chart.axis === "quantile") return percentile(place);
    if (chart.axis === "labels") return chart.labels[place] ?? "";
    return `${number.format(place)}/s`;
  }

  function values(chart) {
    const drawable = (value) => (value === null || (chart.logarithmic && value <= 0) ? null : value);
    const own = chart.lines.map((line) => line.values.map(drawable));
    if (chart.kind !== "stack") return own;
    // The topmost layer is drawn first, so that each below it covers its lower part.
    const sums = new Array(chart.places.length).fill(0);
    return own
      .map((layer) => layer.map((value, i) => (value === null ? null : (sums[i] += Math.max(value, 0)))))
      .reverse();
  }

  function background(chart) {
    return (u) => {
      const { left, top, width, height } = u.bbox;
      u.ctx.save();
      u.ctx.beginPath();
      u.ctx.rect(left, top, width, height);
      u.ctx.clip();
      for (const shade of chart.shades) {
        const from = u.valToPos(shade.start, "x", true);
        const to = u.valToPos(shade.end, "x", true);
        u.ctx.fillStyle = color("--grid");
        u.ctx.fillRect(from, top, to - from, height);
      }
      u.ctx.restore();
    };
  }

  function foreground(chart) {
    return (u) => {
      const { left, top, width, height } = u.bbox;
      const ratio = uPlot.pxRatio;
      u.ctx.save();
      u.ctx.beginPath();
      u.ctx.rect(left, top, width, height);
      u.ctx.clip();
      u.ctx.font = `${11 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
      u.ctx.textAlign = "left";
      u.ctx.textBaseline = "top";
      u.ctx.lineWidth = ratio;
      let free = left;
      const texts = [];
      const write = (text, at) => {
        const long = u.ctx.measureText(text).width;
        // Where there is no room on the right of a line, there may be some on its left.
        if (at + long > left + width) at -= long + 8 * ratio;
        if (at < free) return;
        texts.push({ text, at, long });
        free = at + long + 6 * ratio;
      };
      const named = [
        ...chart.shades.map((shade) => ({ at: shade.start, text: shade.text, until: shade.end })),
        ...chart.marks.map((mark) => ({ at: mark.at, text: mark.text })),
      ].sort((a, b) => a.at - b.at);
      for (const each of named) {
        const at = u.valToPos(each.at, "x", true);
        if (each.until === undefined) {
          u.ctx.strokeStyle = color("--quiet");
          u.ctx.setLineDash([4 * ratio, 3 * ratio]);
          u.ctx.beginPath();
          u.ctx.moveTo(at, top);
          u.ctx.lineTo(at, top + height);
          u.ctx.stroke();
          write(each.text, at + 4 * ratio);
        } else {
          const room = u.valToPos(each.until, "x", true) - Math.max(at, left);
          if (u.ctx.measureText(each.text).width + 8 * ratio < room) write(each.text, Math.max(at, left) + 4 * ratio);
        }
      }
      // After all lines, so that none of them strikes a text through.
      for (const { text, at, long } of texts) {
        u.ctx.fillStyle = color("--surface");
        u.ctx.fillRect(at - 2 * ratio, top + ratio, long + 4 * ratio, 14 * ratio);
        u.ctx.fillStyle = color("--quiet");
        u.ctx.fillText(text, at, top + 3 * ratio);
      }
      u.ctx.restore();
    };
  }

  function seriesOf(chart, own) {
    const order = chart.lines.map((line, i) => ({ line, raw: line.values, i }));
    if (chart.kind === "stack") order.reverse();
    return order.map(({ line, raw }) => {
      const stroke = color(`--c${line.color}`);
      const base = {
        label: line.label,
        stroke,
        width: line.color === 0 ? 1.25 : 2,
        value: (u, value, seriesIndex, index) => (index === null || index === undefined ? "" : shown(raw[index])),
        points: { show: line.style === "points", size: 8, fill: stroke },
        spanGaps: false,
      };
      if (line.style === "dashed") base.dash = [6, 4];
      if (line.style === "points") base.paths = () => null;
      if (chart.kind === "stack") Object.assign(base, { fill: stroke, width: 0.5 });
      if (chart.kind === "bars") Object.assign(base, { fill: stroke, width: 0, paths: uPlot.paths.bars({ size: [0.7, 90] }) });
      return base;
    });
  }

  // Round values in a range, denser where it is narrow.
  function rounds(least, most) {
    const found = [];
    const span = most / least;
    const heads = span > 1e4 ? [1] : span > 20 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 7];
    for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most); power++)
      for (const head of heads) {
        const value = head * 10 ** power;
        if (value >= least && value <= most) found.push(value);
      }
    return found;
  }

  function axes(chart, width) {
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const line = { stroke: color("--grid"), width: 1 };
    const common = { stroke: color("--quiet"), font, grid: line, ticks: { stroke: color("--line"), width: 1, size: 5 } };
    const x = { ...common, size: 32, space: chart.axis === "time" ? 70 : 46 };
    x.values = (u, splits) => splits.map((place) => placeText(chart, place));
    if (chart.axis === "quantile") {
      x.splits = () => [1, 2, 10, 20, 100, 1000];
      x.filter = (u, splits) => splits;
      x.values = (u, splits) => splits.map((place) => (place > u.scales.x.max * 1.001 ? null : place === 1 ? "p0" : percentile(place)));
    }
    if (chart.axis === "rate") {
      x.splits = (u) => rounds(u.scales.x.min, u.scales.x.max);
      x.filter = (u, splits) => splits;
      // Rounds lie closer together than their labels are wide: those that do not fit have none.
      x.values = (u, splits) => {
        u.ctx.font = `${12 * uPlot.pxRatio}px ${getComputedStyle(document.body).fontFamily}`;
        let free = -Infinity;
        return splits.map((place) => {
          const text = placeText(chart, place);
          const half = u.ctx.measureText(text).width / uPlot.pxRatio / 2;
          const at = u.valToPos(place, "x");
          if (at - half < free) return null;
          free = at + half + 8;
          return text;
        });
      };
    }
    if (chart.axis === "labels") {
      const each = Math.ceil((chart.labels.length * 44) / width);
      x.splits = () => chart.places;
      x.values = (u, splits) => splits.map((place, i) => (i % each ? "" : chart.labels[place]));
      x.grid = { show: false };
    }
    const y = {
      ...common,
      ...(chart.logarithmic ? { splits: (u) => rounds(u.scales.y.min, u.scales.y.max), filter: (u, splits) => splits } : {}),
      space: 34,
      values: (u, splits) => splits.map((value) => (value === null ? null : shown(value))),
      size: (u, texts) => {
        if (!texts) return 40;
        u.ctx.font = `${12 * uPlot.pxRatio}px ${getComputedStyle(document.body).fontFamily}`;
        return Math.ceil(Math.max(...texts.map((text) => u.ctx.measureText(text ?? "").width)) / uPlot.pxRatio) + 16;
      },
    };
    return [x, y];
  }

  function scales(chart, drawn) {
    const x = { time: false };
    if (chart.axis === "quantile") Object.assign(x, { distr: 3, log: 10 });
    if (chart.axis === "rate") Object.assign(x, { distr: 3, log: 10, range: [chart.places[0] / 1.15, chart.places[chart.places.length - 1] * 1.15] });
    if (chart.axis === "labels") x.range = [-0.6, chart.places.length - 0.4];
    const known = drawn.flat().filter((value) => value !== null);
    const y = chart.logarithmic
      ? { distr: 3, log: 10, range: [Math.min(...known) / 1.3, Math.max(...known) * 1.6] }
      : { range: (u, least, most) => [0, Math.max(most * 1.15, Number.MIN_VALUE) || 1] };
    if (!chart.logarithmic && known.some((value) => value < 0)) delete y.range;
    return { x, y };
  }

  function draw(figure) {
    const chart = charts[Number(figure.dataset.chart)];
    const place = figure.querySelector(".plot");
    const drawn = values(chart);
    const places = chart.axis === "quantile" ? chart.places.map(rarity) : chart.places;
    const width = place.clientWidth;
    const options = {
      width,
      height: width < 500 ? 220 : 260,
      scales: scales(chart, drawn),
      axes: axes(chart, width),
      series: [{ label: chart.place, value: (u, value) => placeText(chart, value) }, ...seriesOf(chart)],
      cursor: { drag: { x: chart.axis === "time", y: false }, sync: chart.axis === "time" ? { key: "time" } : undefined, points: { show: chart.kind !== "bars" } },
      legend: { live: true, markers: { width: 0, fill: (u, i) => u.series[i].stroke() } },
      hooks: { drawClear: [background(chart)], draw: [foreground(chart)] },
    };
    place.replaceChildren();
    return new uPlot(options, [places, ...drawn], place);
  }

  function table(chart) {
    const step = Math.ceil(chart.places.length / MOST_ROWS);
    const made = document.createElement("table");
    const row = (texts, tag) => {
      const line = document.createElement("tr");
      texts.forEach((text, i) => {
        const cell = document.createElement(i ? tag : "th");
        cell.textContent = text;
        cell.scope = i ? (tag === "th" ? "col" : "") : tag === "th" ? "col" : "row";
        line.append(cell);
      });
      return line;
    };
    if (step > 1) made.createCaption().textContent = `Every ${step}th place; --csv writes them all.`;
    made.createTHead().append(row([chart.place, ...chart.lines.map((line) => line.label)], "th"));
    const body = made.createTBody();
    chart.places.forEach((at, i) => {
      if (i % step) return;
      const name = chart.axis === "quantile" ? percentile(rarity(at)) : placeText(chart, at);
      body.append(row([name, ...chart.lines.map((line) => shown(line.values[i]))], "td"));
    });
    return made;
  }

  const figures = [...document.querySelectorAll("figure[data-chart]")];
  let plots = [];
  function drawAll() {
    plots.forEach((plot) => plot.destroy());
    plots = figures.map(draw);
    // For whoever looks at the page by program.
    document.documentElement.dataset.drawn = String(plots.length);
    document.documentElement.dataset.height = String(document.documentElement.scrollHeight);
  }
  const rooms = [...document.querySelectorAll(".scroll")];
  const more = (room) => room.classList.toggle("more", room.scrollWidth - room.clientWidth - room.scrollLeft > 1);
  for (const room of rooms) room.addEventListener("scroll", () => more(room), { passive: true });
  drawAll();
  rooms.forEach(more);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let width = document.documentElement.clientWidth;
  addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    drawAll();
    rooms.forEach(more);
  });
  for (const figure of figures) {
    const details = figure.querySelector("details.numbers");
    details.addEventListener("toggle", () => {
      const room = details.querySelector(".scroll");
      if (details.open && !room.firstChild) room.append(table(charts[Number(figure.dataset.chart)]));
    });
  }
})();
