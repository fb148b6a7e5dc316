// The charts, the table of variants and the buttons of the pages. Without it all tables are there.
"use strict";
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const $ = (selector, within = document) => within.querySelector(selector);
const percent = (value, digits = 2) => `${(100 * value).toFixed(digits)} %`;
const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "cross", "wye"];
const LINES = { solid: "━━", dashed: "╍╍", interval: "─╂─" };
const colour = i => `var(--c${i % 7})`;
const ticks = { tickFormat: v => `${+(100 * v).toFixed(1)}`, ticks: 6 };

// Charts: each takes data and a width, and returns an SVG with its own legend, whole for slides.

/** A legend as marks above the frame, and the height that it takes. */
function legend(entries, width) {
  let x = 0, y = 0;
  const marks = entries.flatMap(({ name, line, symbol, fill }, i) => {
    const room = (line ? 42 : 32) + 6.4 * name.length;
    if (x + room > width - 10) [x, y] = [0, y + 19];
    const at = { frameAnchor: "top-left", lineAnchor: "middle", dx: x + 6, dy: y };
    x += room;
    const key = line
      ? Plot.text([LINES[line]], { ...at, dx: at.dx - 6, fill, textAnchor: "start" })
      : Plot.dot([0], { ...at, symbol, fill, stroke: fill, r: 4 });
    return [key, Plot.text([name], { ...at, dx: at.dx + (line ? 20 : 11), textAnchor: "start", fill: "currentColor" })];
  });
  return { height: entries.length ? y + 30 : 0, marks };
}

function withLegend(entries, width, options) {
  const key = legend(entries, width - (options.marginLeft ?? 50) - (options.marginRight ?? 20));
  const chart = Plot.plot({
    width, marginBottom: 42, grid: true, ...options,
    marginTop: (options.marginTop ?? 12) + key.height, height: options.height + key.height,
  });
  if (!entries.length) return chart;
  // The legend's own plot has the same margins, so that its marks stand above the frame.
  const own = Plot.plot({ width, height: key.height + 50, margin: 0, marginLeft: options.marginLeft ?? 50, marginTop: 30, axis: null, marks: key.marks });
  own.querySelectorAll(":scope > g").forEach(g => chart.append(g));
  return chart;
}

/** 1, 2, 5, 10, 20, ... between the least and the greatest. */
const steps = values => d3.range(-6, 12).flatMap(power => [1, 2, 5].map(m => m * 10 ** power))
  .filter(v => v >= d3.min(values) && v <= d3.max(values));
/** Labels of rows, in lines that fit into the room at the left. */
const rowLabels = (left, options) => Plot.axisY({ label: null, lineWidth: (left - 12) / 12.5, ...options });
const interval = d => d.low === null ? "" : ` (${percent(d.low)} to ${percent(d.high)})`;

function cost(rows, width) {
  const all = $$("#all tbody tr").map(r => r.dataset.dataset);
  const datasets = [...new Set(all)];
  const data = rows.filter(r => r.dataset.accuracy && r.dataset.flops).map(({ dataset: d }) => ({
    ...d, accuracy: +d.accuracy, flops: d.flops / 1e6, low: d.low ? +d.low : null, high: d.high ? +d.high : null,
    url: `variants/${d.name}.html`,
  }));
  const shown = datasets.filter(name => data.some(d => d.dataset === name));
  const look = { x: "flops", y: "accuracy", stroke: "dataset" };
  const chart = withLegend(shown.map(name => ({ name, symbol: SYMBOLS[datasets.indexOf(name)], fill: colour(datasets.indexOf(name)) })), width, {
    height: Math.min(420, 0.75 * width), inset: 6,
    x: { type: "log", label: "million operations for one image →", grid: false },
    y: { ...ticks, label: "↑ test accuracy, %", nice: true },
    color: { domain: datasets, range: datasets.map((_, i) => colour(i)) },
    symbol: { domain: datasets, range: datasets.map((_, i) => SYMBOLS[i % 7]) },
    marks: [
      Plot.gridX(steps(data.map(d => d.flops))),
      Plot.axisX(steps(data.map(d => d.flops)), { text: d => d.toLocaleString("en") }),
      Plot.ruleX(data.filter(d => d.low !== null), { ...look, y: undefined, y1: "low", y2: "high", strokeOpacity: 0.35 }),
      Plot.dot(data, { ...look, stroke: undefined, fill: "dataset", symbol: "dataset", r: 4.5 }),
      Plot.tip(data, Plot.pointer({ x: "flops", y: "accuracy", maxRadius: 30, title: d => [
        d.name, d.label === d.name ? "" : d.label, `${d.metric} ${percent(d.accuracy)}${interval(d)}`,
        `${d.flops.toLocaleString("en", { maximumFractionDigits: 2 })} MFLOPs, ${(+d.parameters).toLocaleString("en")} parameters`, d.study.replaceAll("|", ", "),
      ].filter(Boolean).join("\n") })),
    ],
  });
  chart.classList.add("points");
  chart.addEventListener("click", () => { if (chart.value) location.href = chart.value.url; });
  return chart;
}

function published(data, width) {
  const kinds = ["within seed noise", "outside", "too much scatter to say", "too few seeds to say"];
  const colours = [2, 1, 0, 4].map(colour);
  const shown = kinds.filter(kind => data.some(d => d.verdict === kind));
  const side = Math.min(width, 760);
  return withLegend(shown.map(name => ({ name, symbol: SYMBOLS[kinds.indexOf(name)], fill: colours[kinds.indexOf(name)] })), side, {
    height: 0.7 * side, inset: 6,
    x: { ...ticks, label: "published accuracy, % →", domain: d3.extent(data, d => d.published) },
    y: { ...ticks, label: "↑ ours, %", domain: d3.extent(data.flatMap(d => [d.published, d.reproduced, d.low, d.high])) },
    color: { domain: kinds, range: colours }, symbol: { domain: kinds, range: SYMBOLS.slice(0, 4) },
    marks: [
      Plot.line([[0, 0], [1, 1]], { stroke: "currentColor", strokeOpacity: 0.5, clip: true }),
      Plot.ruleX(data.filter(d => d.low !== null), { x: "published", y1: "low", y2: "high", stroke: "verdict", strokeOpacity: 0.45, clip: true }),
      Plot.dot(data, { x: "published", y: "reproduced", fill: "verdict", symbol: "verdict", r: 4.5 }),
      Plot.tip(data, Plot.pointer({ x: "published", y: "reproduced", maxRadius: 30, title: d =>
        `${d.variant}\n${d.label}\npublished ${percent(d.published)}\nours ${percent(d.reproduced)}${interval(d)}\n${d.verdict}` })),
    ],
  });
}

function accuracy(data, width) {
  const seeds = data.flatMap(d => d.seeds.map((value, i) => ({ label: d.label, value, collapsed: d.collapsed[i] })));
  const labels = data.map(d => d.label), left = Math.min(0.4 * width, 20 + 6.4 * Math.max(...labels.map(l => l.length)));
  const entries = [{ name: "a seed", symbol: "circle", fill: colour(2) }, { name: "median, 95 % interval", line: "interval", fill: "currentColor" }];
  if (seeds.some(d => d.collapsed)) entries.push({ name: "collapsed", symbol: "times", fill: colour(1) });
  return withLegend(entries, width, {
    height: 56 + 26 * data.length, marginLeft: left,
    x: { ...ticks, label: `${data[0].metric}, % →`, nice: true },
    y: { domain: labels },
    marks: [
      rowLabels(left),
      Plot.dot(seeds.filter(d => !d.collapsed), { x: "value", y: "label", fill: colour(2), fillOpacity: 0.6, r: 4 }),
      Plot.dot(seeds.filter(d => d.collapsed), { x: "value", y: "label", stroke: colour(1), symbol: "times", r: 4 }),
      Plot.ruleY(data.filter(d => d.low !== null), { y: "label", x1: "low", x2: "high", stroke: "currentColor", strokeWidth: 1.6 }),
      Plot.tickX(data, { x: "median", y: "label", stroke: "currentColor", strokeWidth: 2.5, inset: 3 }),
      Plot.tip(data, Plot.pointerY({ x: "median", y: "label", title: d => `${d.label}\nmedian ${percent(d.median)}${interval(d)}\n${d.seeds.length} seed${d.seeds.length > 1 ? "s" : ""}` })),
    ],
  });
}

function curves(data, width) {
  const labels = [...new Set(data.map(d => d.label))], splits = [...new Set(data.map(d => d.split))];
  const columns = Math.max(1, Math.min(labels.length, 4, Math.floor(width / 165))), rows = Math.ceil(labels.length / columns);
  const place = d => labels.indexOf(d.label), fx = d => place(d) % columns, fy = d => Math.floor(place(d) / columns);
  const others = labels.flatMap(label => data.filter(d => d.split === "validation" && d.label !== label)
    .map(d => ({ ...d, of: d.label, label })));
  const entries = splits.map(name => ({ name, line: name === "validation" ? "dashed" : "solid", fill: colour(name === "validation" ? 1 : 0) }));
  if (others.length) entries.push({ name: "validation, the others", line: "solid", fill: "var(--context)" });
  const lines = { x: "epoch", y: "value", fx, fy };
  return withLegend(entries, width, {
    height: 40 + (190 * rows), marginTop: 30,
    fx: { axis: null }, fy: { axis: null, paddingInner: rows > 1 ? 0.2 : 0, paddingOuter: 0 },
    x: { label: "epoch →", ticks: 5, tickFormat: d => Number.isInteger(d) ? `${d}` : "" }, y: { ...ticks, label: "↑ accuracy, %", ticks: 4, nice: true },
    marks: [
      Plot.line(others, { ...lines, z: "of", stroke: "var(--context)", strokeWidth: 0.9 }),
      ...splits.map(split => Plot.line(data.filter(d => d.split === split), {
        ...lines, stroke: colour(split === "validation" ? 1 : 0), strokeDasharray: split === "validation" ? "6,3" : undefined, strokeWidth: 2,
      })),
      Plot.text(labels.map(label => ({ label })), { fx, fy, text: "label", frameAnchor: "top-left", lineAnchor: "bottom", dy: -4, fontWeight: 600, lineWidth: 0.8 * (width - 60) / columns / 12 }),
      Plot.tip(data, Plot.pointer({ ...lines, maxRadius: 40, title: d => `${d.label}\n${d.split}, epoch ${d.epoch}\n${percent(d.value)}` })),
    ],
  });
}

function rates(data, width) {
  const looks = {
    "false alarm": ["false alarm", "circle", 0], missed: ["interval misses the truth", "square", 1], found: ["found", "triangle", 2],
  };
  const shown = Object.keys(looks).filter(measure => data.some(d => d.measure === measure)), errs = !shown.includes("found");
  const row = d => `${d.decision}: ${d.situation}`, decisions = [...new Set(data.map(d => d.decision))];
  const rows = decisions.flatMap(name => [name, ...new Set(data.filter(d => d.decision === name).map(row))]);
  const side = Math.min(width, 760), left = Math.min(0.45 * side, 225);
  return withLegend(shown.map(m => ({ name: looks[m][0], symbol: looks[m][1], fill: colour(looks[m][2]) })), side, {
    height: 56 + (side < 500 ? 26 : 21) * rows.length, marginLeft: left,
    x: { ...ticks, label: "simulated studies, % →", domain: [0, errs ? d3.max(data, d => d.high) : 1], nice: true },
    y: { domain: rows },
    marks: [
      rowLabels(left, { tickSize: 0, tickFormat: r => r.split(": ")[1] ?? "" }),
      errs ? Plot.ruleX([0.05], { stroke: "currentColor", strokeWidth: 1.6 }) : null,
      Plot.text(decisions, { y: d => d, text: d => d, frameAnchor: "left", textAnchor: "start", dx: 4 - left, fontWeight: 600 }),
      ...shown.flatMap((measure, i) => {
        const of = data.filter(d => d.measure === measure), look = { y: row, dy: 5 * (i - (shown.length - 1) / 2) };
        return [
          Plot.ruleY(of, { ...look, x1: "low", x2: "high", stroke: colour(looks[measure][2]), strokeOpacity: 0.6 }),
          Plot.dot(of, { ...look, x: "rate", fill: colour(looks[measure][2]), symbol: looks[measure][1], r: 4 }),
        ];
      }),
      Plot.tip(data, Plot.pointer({ x: "rate", y: row, maxRadius: 30, title: d =>
        `${d.decision}: ${d.situation}\n${looks[d.measure][0]}: ${percent(d.rate)}${interval(d)}\n${d.studies.toLocaleString("en")} studies` })),
    ],
  });
}

const KINDS = { cost, published, accuracy, curves, rates };

function draw(figure) {
  const drawing = $(".drawing", figure), script = $("script", figure);
  const data = script ? figure.data ??= JSON.parse(script.textContent) : $$("#all tbody tr:not([hidden])");
  const width = Math.floor(drawing.clientWidth);
  const chart = KINDS[figure.dataset.kind](data, width);
  // Plot names its groups, where HTML forbids it; the whole is one picture with one description.
  $$("g[aria-label]", chart).forEach(g => { g.classList.add(g.ariaLabel.replaceAll(" ", "-")); g.ariaLabel = null; });
  chart.setAttribute("role", "img");
  chart.setAttribute("aria-label", $("figcaption", figure).textContent.trim());
  drawing.replaceChildren(chart);
}

/** The chart as a file of its own, in the light colours, with all styles written into it. */
function saveSvg(figure) {
  document.documentElement.style.colorScheme = "light";
  const svg = $(".drawing svg", figure), copy = svg.cloneNode(true), from = $$("*", svg);
  $$("*", copy).forEach((node, i) => {
    const style = getComputedStyle(from[i]);
    for (const name of ["fill", "stroke"]) node.setAttribute(name, style[name]);
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("font-family", "DejaVu Sans, sans-serif");
  copy.style.background = "white";
  document.documentElement.style.colorScheme = "";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([copy.outerHTML], { type: "image/svg+xml" }));
  link.download = `${figure.dataset.title}.svg`;
  link.click();
  URL.revokeObjectURL(link.href);
}

// Tables as text: what is shown of them, as it is shown.
const texts = table => $$("tr:not([hidden])", table).map(row => $$("th, td", row).map(cell =>
  cell.innerText.replace(/[▲▼]/g, "").replace(/\s+/g, " ").trim()));
const asCsv = table => d3.csvFormatRows(texts(table));
function asMarkdown(table) {
  const [head, ...rows] = texts(table).map(row => `| ${row.map(t => t.replaceAll("|", "\\|")).join(" | ")} |`);
  const rule = $$("th, td", $("tr", table)).map(cell => getComputedStyle(cell).textAlign === "right" ? "--:" : ":--");
  return [head, `| ${rule.join(" | ")} |`, ...rows].join("\n");
}

function button(text, act) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  made.addEventListener("click", async () => {
    await act();
    made.textContent = "done ✓";
    setTimeout(() => { made.textContent = text; }, 1500);
  });
  return made;
}

function tools(...buttons) {
  const bar = Object.assign(document.createElement("div"), { className: "tools" });
  bar.append(...buttons);
  return bar;
}

// The table of all variants.
function allVariants(table) {
  const form = $("#filters"), body = table.tBodies[0], rows = [...body.rows], chart = $("[data-kind=cost]");
  const order = new Map(rows.map((row, i) => [row, i])), listed = ["study", "dataset", "factor", "verdict"];
  const values = (row, key) => (row.dataset[key] ?? "").split("|").filter(Boolean);
  for (const key of listed) {
    const found = [...new Set(rows.flatMap(row => values(row, key)))];
    form[key].append(...(key === "verdict" ? found : found.sort()).map(value => new Option(value.replaceAll("_", " "), value)));
  }
  const words = new Map(rows.map(row => [row, `${row.dataset.name} ${row.dataset.label} ${row.textContent}`.toLowerCase()]));

  function filter() {
    const wanted = form.search.value.toLowerCase().split(/\s+/);
    for (const row of rows)
      row.hidden = !(wanted.every(word => words.get(row).includes(word))
        && listed.every(key => !form[key].value || values(row, key).includes(form[key].value)));
    const shown = rows.filter(row => !row.hidden).length;
    $("#shown").textContent = `${shown} of ${rows.length} variants`;
    draw(chart);
  }

  function sort(head) {
    const { key } = head.dataset, up = head.ariaSort === "ascending" || (!head.ariaSort && head.classList.contains("n"));
    $$("th", table.tHead).forEach(th => { th.ariaSort = null; });
    head.ariaSort = up ? "descending" : "ascending";
    const value = row => head.classList.contains("n") ? +(row.dataset[key] ?? NaN) : row.dataset[key];
    const compare = up ? d3.descending : d3.ascending; // both put what is missing last
    body.append(...rows.sort((a, b) => {
      const by = compare(value(a), value(b));
      return (Number.isNaN(by) ? Number.isNaN(value(a)) - Number.isNaN(value(b)) : by) || order.get(a) - order.get(b);
    }));
  }

  let waiting;
  const soon = () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(filter); };
  form.addEventListener("input", soon);
  form.addEventListener("reset", () => setTimeout(soon));
  form.addEventListener("submit", event => event.preventDefault());
  $$("th[data-key]", table).forEach(head => $("button", head).addEventListener("click", () => sort(head)));
  filter();
}

for (const frame of $$("main > .table:has(thead th:not(:empty))")) {
  const table = $("table", frame), copy = text => () => navigator.clipboard.writeText(text(table));
  frame.after(tools(button("Copy as Markdown", copy(asMarkdown)), button("Copy as CSV", copy(asCsv))));
}
const table = $("#all"), resized = new Map();
if (table) allVariants(table);
const watch = new ResizeObserver(entries => entries.forEach(({ target, contentRect }) => {
  if (!contentRect.width || resized.get(target) === contentRect.width) return;
  resized.set(target, contentRect.width);
  draw(target.closest("figure"));
}));
for (const figure of $$("figure.chart")) {
  figure.append(tools(button("Save as SVG", () => saveSvg(figure))));
  watch.observe($(".drawing", figure));
}
