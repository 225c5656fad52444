"use strict";
// Sorting of tables, and what charts say under the pointer or the arrow keys. Without this script every table and chart
// stands as written, and "Data of this chart" opens all the same.

// -- tables: each column header becomes a button; rows are read once and moved, never rebuilt --------------------------
for (const table of document.querySelectorAll("main table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (!head.textContent) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("num");
      const first = numeric ? "descending" : "ascending";
      const now = head.getAttribute("aria-sort");
      const order = now === "descending" ? "ascending" : now === "ascending" ? "descending" : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => {
        const cell = row.cells[column];
        return cell.dataset.sort ?? cell.textContent;
      };
      const rows = [...body.rows].map((row) => [key(row), row]);
      rows.sort(([a], [b]) => {
        if (a === "" || b === "") return (a === "") - (b === "");
        return sign * (numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true }));
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}

// -- charts: marks are the cells of the chart's table that say where they are drawn -------------------------------------
const REACH = 48; // pixels from which a mark is taken for meant

for (const figure of document.querySelectorAll("figure")) {
  const plot = figure.querySelector(".plot");
  const svg = plot.querySelector("svg");
  nameSeries(figure, svg);
  const marks = marksOf(figure);
  if (marks.length) readMarks(figure, plot, svg, marks);
}

function nameSeries(figure, svg) {
  const legend = figure.querySelector(".legend");
  if (!legend || !svg.querySelector("[data-series]")) return;
  legend.removeAttribute("aria-hidden");
  [...legend.children].forEach((item, series) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...item.childNodes);
    item.append(button);
    button.setAttribute("aria-pressed", "true");
    button.title = "show or hide";
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") === "true";
      button.setAttribute("aria-pressed", String(!shown));
      svg.querySelectorAll(`[data-series="${series}"]`).forEach((part) => part.classList.toggle("off", shown));
    });
  });
}

function marksOf(figure) {
  const table = figure.querySelector(".data table");
  if (!table) return [];
  const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent.trim());
  const wide = figure.dataset.form === "wide";
  const text = (cell) => cell.textContent.trim();
  return [...table.querySelectorAll("[data-at]")].map((cell) => {
    const row = cell.parentElement;
    const others = [...row.cells].slice(1).map((other, i) => `${heads[i + 1]} ${text(other)}`);
    const words = wide ? [`${heads[cell.cellIndex]} ${text(cell)}`] : others;
    const [x, y] = cell.dataset.at.split(" ").map(Number);
    return { x, y, row: row.rowIndex, column: cell.cellIndex, name: text(row.cells[0]), words };
  });
}

function readMarks(figure, plot, svg, marks) {
  const box = svg.viewBox.baseVal;
  const dot = document.createElementNS(svg.namespaceURI, "circle");
  dot.setAttribute("r", "5.5");
  dot.setAttribute("class", "dot");
  const tip = Object.assign(document.createElement("div"), { className: "tip", hidden: true });
  tip.setAttribute("aria-hidden", "true");
  const spoken = Object.assign(document.createElement("p"), { className: "sr" });
  spoken.setAttribute("role", "status");
  plot.append(tip, spoken);
  plot.tabIndex = 0;
  plot.setAttribute("role", "group");
  plot.setAttribute("aria-label", `${figure.querySelector("figcaption").textContent}; arrow keys read its points`);
  let current = null;

  function show(mark, speak) {
    current = mark;
    dot.setAttribute("cx", mark.x);
    dot.setAttribute("cy", mark.y);
    svg.append(dot);
    const name = Object.assign(document.createElement("b"), { textContent: mark.name });
    tip.replaceChildren(name, ...mark.words.map((line) => Object.assign(document.createElement("span"), { textContent: line })));
    tip.hidden = false;
    const scale = svg.clientWidth / box.width;
    const left = mark.x * scale - tip.offsetWidth / 2;
    tip.style.left = `${Math.max(0, Math.min(left, plot.clientWidth - tip.offsetWidth))}px`;
    const above = mark.y * scale - tip.offsetHeight - 12;
    tip.style.top = `${above < 0 ? mark.y * scale + 14 : above}px`;
    if (speak) spoken.textContent = `${mark.name}: ${mark.words.join(", ")}`;
  }

  function hide() {
    current = null;
    dot.remove();
    tip.hidden = true;
  }

  plot.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect();
    const scale = frame.width / box.width;
    const far = (mark) => Math.hypot(frame.left + mark.x * scale - event.clientX, frame.top + mark.y * scale - event.clientY);
    const nearest = marks.reduce((best, mark) => (far(mark) < far(best) ? mark : best));
    if (far(nearest) > REACH) hide();
    else if (nearest !== current) show(nearest, false);
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const next = current ? step(marks, current, event.key) : event.key.startsWith("Arrow") ? marks[0] : null;
    if (!next) return;
    event.preventDefault();
    show(next, true);
  });
}

// Left and right go along a series, up and down to the other series at the same place.
function step(marks, current, key) {
  const series = marks.filter((mark) => mark.column === current.column).sort((a, b) => a.row - b.row);
  const across = marks.filter((mark) => mark.row === current.row).sort((a, b) => a.column - b.column);
  const near = (list, by) => list[(list.indexOf(current) + by + list.length) % list.length];
  const along = across.length > 1 ? across : series;
  return {
    ArrowRight: () => near(series, 1), ArrowLeft: () => near(series, -1),
    ArrowDown: () => near(along, 1), ArrowUp: () => near(along, -1),
    Home: () => series[0], End: () => series[series.length - 1],
  }[key]?.();
}
