// The charts, the table of variants and the buttons of the pages. Without it all tables are there.
"use strict";
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const $ = (selector, within = document) => within.querySelector(selector);
const percent = value => `${(100 * value).toFixed(2)} %`;
const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "cross", "wye"];
const COLOURS = d3.range(7).map(i => `var(--c${i})`);
const ticks = { tickFormat: v => `${+(100 * v).toFixed(1)}`, ticks: 6 };

// Charts: each takes data and a width, and returns options for Plot.

/** Scales that give each of the names a symbol and a colour, in a legend. */
const looks = (names, order = d3.range(7)) => ({
  color: { domain: names, range: names.map((_, i) => COLOURS[order[i % 7]]) },
  symbol: { domain: names, range: names.map((_, i) => SYMBOLS[i % 7]), legend: true },
});
/** Labels of rows, in lines that fit into the room at the left. */
const rowLabels = (left, options) => Plot.axisY({ label: null, lineWidth: (left - 12) / 12.5, ...options });
const interval = d => ` (${percent(d.low)} to ${percent(d.high)})`;

function cost(rows, width) {
  const data = rows.filter(d => d.flops && d.seeds.length).map(d => ({ ...d, flops: d.flops / 1e6, url: `variants/${d.name}.html` }));
  const at = { x: "flops", y: "accuracy" };
  return {
    height: Math.min(420, 0.75 * width), inset: 6, ...looks($$("#filters [name=dataset] option:not([value=''])").map(o => o.value)),
    x: { type: "log", label: "million operations for one image →", ticks: 5, tickFormat: "," },
    y: { ...ticks, label: `↑ ${[...new Set(data.map(d => d.metric))].join(" or ")}, %`, nice: true },
    marks: [
      Plot.ruleX(data, { x: "flops", y1: "low", y2: "high", stroke: "dataset", strokeOpacity: 0.35 }),
      Plot.dot(data, { ...at, fill: "dataset", symbol: "dataset", r: 4.5 }),
      Plot.tip(data, Plot.pointer({ ...at, maxRadius: 30, title: d => [
        d.name, ...(d.label === d.name ? [] : [d.label]), `${d.metric} ${percent(d.accuracy)}${interval(d)}`,
        `${d.flops.toLocaleString("en", { maximumFractionDigits: 2 })} MFLOPs, ${d.parameters.toLocaleString("en")} parameters`, d.studies.join(", "),
      ].join("\n") })),
    ],
  };
}

function published(data, width) {
  const side = Math.min(width, 760), at = { x: "published", y: "reproduced" };
  return {
    width: side, height: 0.7 * side, inset: 6, ...looks(["within seed noise", "outside", "too much scatter to say", "too few seeds to say"], [2, 1, 0, 4]),
    x: { ...ticks, label: "published accuracy, % →", domain: d3.extent(data, d => d.published) },
    y: { ...ticks, label: "↑ ours, %", domain: d3.extent(data.flatMap(d => [d.published, d.reproduced, d.low, d.high])) },
    marks: [
      Plot.line([[0, 0], [1, 1]], { stroke: "currentColor", strokeOpacity: 0.5, clip: true }),
      Plot.ruleX(data.filter(d => d.low !== null), { x: "published", y1: "low", y2: "high", stroke: "verdict", strokeOpacity: 0.45, clip: true }),
      Plot.dot(data, { ...at, fill: "verdict", symbol: "verdict", r: 4.5 }),
      Plot.tip(data, Plot.pointer({ ...at, maxRadius: 30, title: d =>
        `${d.variant}\n${d.label}\npublished ${percent(d.published)}\nours ${percent(d.reproduced)}${d.low === null ? "" : interval(d)}\n${d.verdict}` })),
    ],
  };
}

function accuracy(data, width) {
  const seeds = data.flatMap(d => d.seeds.map((value, i) => ({ label: d.label, value, collapsed: d.collapsed[i] })));
  const labels = data.map(d => d.label), left = Math.min(0.4 * width, 20 + 6.4 * Math.max(...labels.map(l => l.length)));
  return {
    height: 56 + 26 * data.length, marginLeft: left,
    x: { ...ticks, label: `${data[0].metric}, % →`, nice: true },
    y: { domain: labels },
    marks: [
      rowLabels(left),
      Plot.dot(seeds.filter(d => !d.collapsed), { x: "value", y: "label", fill: COLOURS[data[0].metric === "test accuracy" ? 2 : 3], fillOpacity: 0.6, r: 4 }),
      Plot.dot(seeds.filter(d => d.collapsed), { x: "value", y: "label", stroke: COLOURS[1], symbol: "times", r: 4 }),
      Plot.ruleY(data, { y: "label", x1: "low", x2: "high", stroke: "currentColor", strokeWidth: 1.6 }),
      Plot.tickX(data, { x: "accuracy", y: "label", stroke: "currentColor", strokeWidth: 2.5, inset: 3 }),
      Plot.tip(data, Plot.pointerY({ x: "accuracy", y: "label", title: d => `${d.label}\nmedian ${percent(d.accuracy)}${interval(d)}\n${d.seeds.length} seed${d.seeds.length > 1 ? "s" : ""}` })),
    ],
  };
}

function curves(data, width) {
  const labels = [...new Set(data.map(d => d.label))], splits = [...new Set(data.map(d => d.split))];
  const columns = Math.max(1, Math.min(labels.length, 4, Math.floor(width / 165))), rows = Math.ceil(labels.length / columns);
  const place = d => labels.indexOf(d.label), fx = d => place(d) % columns, fy = d => Math.floor(place(d) / columns);
  const others = labels.flatMap(label => data.filter(d => d.split === "validation" && d.label !== label)
    .map(d => ({ ...d, of: d.label, label })));
  const lines = { x: "epoch", y: "value", fx, fy };
  return {
    height: 60 + 190 * rows, marginTop: 44,
    fx: { axis: null }, fy: { axis: null, paddingInner: rows > 1 ? 0.2 : 0, paddingOuter: 0 },
    color: { domain: splits, range: COLOURS, legend: true },
    x: { label: "epoch →", ticks: 5, tickFormat: d => Number.isInteger(d) ? `${d}` : "" }, y: { ...ticks, label: "↑ accuracy, %", ticks: 4, nice: true },
    marks: [
      Plot.line(others, { ...lines, z: "of", stroke: "var(--context)", strokeWidth: 0.9 }),
      ...splits.map(split => Plot.line(data.filter(d => d.split === split), {
        ...lines, stroke: "split", strokeDasharray: split === "validation" ? "6,3" : undefined, strokeWidth: 2,
      })),
      Plot.text(labels.map(label => ({ label })), { fx, fy, text: "label", frameAnchor: "top-left", lineAnchor: "bottom", dy: -4, fontWeight: 600, lineWidth: 0.8 * (width - 60) / columns / 12 }),
      Plot.tip(data, Plot.pointer({ ...lines, maxRadius: 40, title: d => `${d.label}\n${d.split}, epoch ${d.epoch}\n${percent(d.value)}` })),
    ],
  };
}

function rates(data, width) {
  const measures = [...new Set(data.map(d => d.measure))], errs = !measures.includes("found");
  const row = d => `${d.decision}: ${d.situation}`, decisions = [...new Set(data.map(d => d.decision))];
  const rows = decisions.flatMap(name => [name, ...new Set(data.filter(d => d.decision === name).map(row))]);
  const side = Math.min(width, 760), left = Math.min(0.45 * side, 225);
  return {
    width: side, height: 56 + (side < 500 ? 26 : 21) * rows.length, marginLeft: left, ...looks(measures),
    x: { ...ticks, label: "simulated studies, % →", domain: [0, errs ? d3.max(data, d => d.high) : 1], nice: true },
    y: { domain: rows },
    marks: [
      rowLabels(left, { tickSize: 0, tickFormat: r => r.split(": ")[1] ?? "" }),
      errs ? Plot.ruleX([0.05], { stroke: "currentColor", strokeWidth: 1.6 }) : null,
      Plot.text(decisions, { y: d => d, text: d => d, frameAnchor: "left", textAnchor: "start", dx: 4 - left, fontWeight: 600 }),
      ...measures.flatMap((measure, i) => {
        const of = data.filter(d => d.measure === measure), look = { y: row, dy: 5 * (i - (measures.length - 1) / 2) };
        return [
          Plot.ruleY(of, { ...look, x1: "low", x2: "high", stroke: "measure", strokeOpacity: 0.6 }),
          Plot.dot(of, { ...look, x: "rate", fill: "measure", symbol: "measure", r: 4 }),
        ];
      }),
      Plot.tip(data, Plot.pointer({ x: "rate", y: row, maxRadius: 30, title: d =>
        `${d.decision}: ${d.situation}\n${d.measure}: ${percent(d.rate)}${interval(d)}\n${d.studies.toLocaleString("en")} studies` })),
    ],
  };
}

const KINDS = { cost, published, accuracy, curves, rates };

function draw(figure) {
  const data = figure.data ??= JSON.parse($("script", figure).textContent);
  const drawing = $(".drawing", figure), width = Math.floor(drawing.clientWidth);
  const chart = Plot.plot({ width, marginLeft: 50, marginBottom: 42, grid: true, figure: true, ...KINDS[figure.dataset.kind](data, width) });
  const svg = $(":scope > svg", chart);
  // Plot names its groups, where HTML forbids it; the whole is one picture with one description.
  $$("g[aria-label]", svg).forEach(g => { g.classList.add(g.ariaLabel.replaceAll(" ", "-")); g.ariaLabel = null; });
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", $("figcaption", figure).textContent.trim());
  svg.addEventListener("click", () => { if (chart.value?.url) location.href = chart.value.url; });
  drawing.replaceChildren(chart);
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

function copyButton(form, table, asText) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: `Copy as ${form}` });
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(asText(table));
    button.textContent = "copied ✓";
    setTimeout(() => { button.textContent = `Copy as ${form}`; }, 1500);
  });
  return button;
}

/** The table of all variants: filters, search and order. The chart above it shows the same rows. */
function allVariants(table, chart) {
  const form = $("#filters"), body = table.tBodies[0], listed = ["studies", "dataset", "factors", "verdicts"];
  const rows = JSON.parse($("script", chart).textContent)
    .map((row, i) => ({ ...row, tr: body.rows[i], words: body.rows[i].textContent.toLowerCase() }));
  for (const key of listed)
    form[key].append(...d3.sort(new Set(rows.flatMap(row => row[key]))).map(value => new Option(value.replaceAll("_", " "), value)));

  function filter() {
    const wanted = form.search.value.toLowerCase().split(/\s+/);
    for (const row of rows)
      row.tr.hidden = !(wanted.every(word => row.words.includes(word))
        && listed.every(key => !form[key].value || [row[key]].flat().includes(form[key].value)));
    chart.data = rows.filter(row => !row.tr.hidden);
    $("#shown").textContent = `${chart.data.length} of ${rows.length} variants`;
    draw(chart);
  }

  function sort(head) {
    const { key } = head.dataset, numeric = head.classList.contains("n");
    const down = head.ariaSort ? head.ariaSort === "ascending" : numeric;
    $$("th", table.tHead).forEach(th => { th.ariaSort = null; });
    head.ariaSort = down ? "descending" : "ascending";
    const value = row => row[key]?.length === 0 ? null : key === "seeds" ? row.seeds.length : row[key];
    const compare = down ? d3.descending : d3.ascending;
    // d3 puts what is missing last.
    body.append(...d3.sort(rows, (a, b) => compare(value(a), value(b))).map(row => row.tr));
  }

  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", event => event.preventDefault());
  $$("th", table.tHead).forEach(head => $("button", head).addEventListener("click", () => sort(head)));
  filter();
}

for (const frame of $$("main > .table:has(thead th:not(:empty))")) {
  const bar = Object.assign(document.createElement("div"), { className: "tools" }), table = $("table", frame);
  bar.append(copyButton("Markdown", table, asMarkdown), copyButton("CSV", table, asCsv));
  frame.after(bar);
}
if ($("#all")) allVariants($("#all"), $("[data-kind=cost]"));
const drawAll = () => $$("figure.chart").forEach(draw);
addEventListener("resize", drawAll);
drawAll();
