"use strict";
// Names of files and classes are untrusted: they are only set as text.
const data = JSON.parse(document.getElementById("data").textContent);
const tip = document.getElementById("tip");
const [tipImage, tipText] = tip.children;

function show(text, thumbnail, x, y) {
  tipText.textContent = text;
  tipImage.hidden = !thumbnail;
  if (thumbnail) tipImage.src = thumbnail;
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - width - 4)) + "px";
  tip.style.top = Math.max(4, y + 14 + height > innerHeight ? y - height - 14 : y + 14) + "px";
}

function hide() {
  tip.hidden = true;
  document.querySelector("#points .at")?.classList.remove("at");
}

for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => header.querySelector("button")?.addEventListener("click", () => {
    const down = header.getAttribute("aria-sort") === "ascending";
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => {
      const cell = row.cells[column];
      if (!cell || cell.colSpan > 1) return null; // a row of a head that failed
      return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
    };
    const order = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b));
    const rows = [...table.tBodies[0].rows].map((row) => [value(row), row]);
    rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : down ? order(b, a) : order(a, b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }));
}

const matrix = document.getElementById("matrix");
const [left, top_, right, bottom] = matrix.dataset.box.split(",").map(Number);
matrix.addEventListener("pointermove", (event) => {
  const area = matrix.getBoundingClientRect(), classes = data.classes.length;
  const column = Math.floor(classes * ((event.clientX - area.left) / area.width - left) / (right - left));
  const row = Math.floor(classes * ((event.clientY - area.top) / area.height - top_) / (bottom - top_));
  if (column < 0 || row < 0 || column >= classes || row >= classes) return hide();
  show(`${data.counts[row][column]} labelled ${data.classes[row]}\npredicted ${data.classes[column]}`, null, event.clientX, event.clientY);
});
matrix.addEventListener("pointerleave", hide);

const map = document.getElementById("points");
if (map) {
  const points = [...map.querySelectorAll("use[data-i]")].sort((a, b) => a.dataset.i - b.dataset.i);
  const center = (point) => {
    const { left, top, width, height } = point.getBoundingClientRect();
    return [left + width / 2, top + height / 2];
  };
  let at = null;
  const go = (point) => {
    hide();
    at = point;
    point.classList.add("at");
    const [path, label, predicted, confidence] = data.points[point.dataset.i];
    const said = label === predicted ? "" : `, predicted ${data.classes[predicted]}`;
    show(`${data.classes[label]}${said} (${(100 * confidence).toFixed(0)} %)\n${path}`, data.thumbnails[point.dataset.i], ...center(point));
    if (!data.thumbnails[point.dataset.i]) tipText.textContent += "\nno image: the file is missing or has changed";
  };
  const only = document.getElementById("only");
  const visible = () => points.filter((point) => !point.classList.contains("dim"));
  only.addEventListener("change", () => {
    for (const point of points) point.classList.toggle("dim", only.value !== "" && point.dataset.class !== only.value);
  });
  // the nearest point within the width of a finger, so that small points can be reached
  map.addEventListener("pointermove", (event) => {
    let nearest = null, least = 18;
    for (const point of visible()) {
      const [x, y] = center(point), distance = Math.hypot(x - event.clientX, y - event.clientY);
      if (distance < least) [nearest, least] = [point, distance];
    }
    if (nearest) go(nearest); else hide();
  });
  map.addEventListener("pointerleave", hide);
  map.addEventListener("blur", hide);
  map.addEventListener("keydown", (event) => {
    const directions = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    if (event.key === "Escape") return hide();
    const [dx, dy] = directions[event.key] ?? [0, 0];
    if (!dx && !dy) return;
    event.preventDefault();
    if (!at || at.classList.contains("dim")) return visible()[0] && go(visible()[0]);
    const [x, y] = center(at);
    let nearest = null, least = Infinity;
    for (const point of visible()) {
      const [px, py] = center(point), along = (px - x) * dx + (py - y) * dy;
      const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx), cost = along + 2 * aside;
      if (point !== at && along > 0 && cost < least) [nearest, least] = [point, cost];
    }
    if (nearest) go(nearest);
  });
}
document.addEventListener("scroll", hide, { passive: true });
