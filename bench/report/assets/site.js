"use strict";
// Tables can be sorted once they are near the screen; the long one is made when it is unfolded.

function sortable(table) {
  new DataTable(table, {
    autoWidth: false, info: false, order: [], paging: false, searching: false,
    layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
  });
}

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) {
      seen.unobserve(target);
      sortable(target);
    }
  }
}, { rootMargin: "200px" });
document.querySelectorAll("table[data-sortable]").forEach((table) => seen.observe(table));

const FILTERS = { dataset: "Data set", ipc: "IPC", labels: "Labels", architecture: "Network",
  column: "Attack or column", metric: "Metric" };
const ROUNDED = new Set(["mean", "sd", "low", "high"]);

function shown(name, value) {
  if (value === null) return "–";
  if (name === "ipc" && value === 0) return "full set";
  return ROUNDED.has(name) ? String(Number(value.toPrecision(4))) : String(value);
}

function longTable(place, { columns, rows }) {
  const filters = document.createElement("div");
  filters.className = "filters";
  const table = document.createElement("table");
  place.append(filters, table);
  const data = new DataTable(table, {
    data: rows,
    columns: columns.map((title, i) => ({
      title,
      visible: !(title in FILTERS) || new Set(rows.map((row) => row[i])).size > 1,
      className: rows.some((row) => typeof row[i] === "number") ? "" : "left",
      // what is shown may hold any text: it is set as text, never as markup
      render: (value, type) => (type === "display" ? DataTable.util.escapeHtml(shown(title, value)) : value),
    })),
    autoWidth: false, deferRender: true, order: [], pageLength: 25,
  });
  columns.forEach((name, i) => {
    const values = [...new Set(rows.map((row) => row[i]))];
    if (!(name in FILTERS) || values.length < 2) return;
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.name = name;
    select.append(new Option("all", ""));
    values.forEach((value, at) => select.append(new Option(shown(name, value), String(at + 1))));
    select.addEventListener("change", () => {
      const wanted = values[Number(select.value) - 1];
      const keep = select.value ? (_, row) => row[i] === wanted : null;
      data.column(i).search.fixed("filter", keep).draw();
    });
    label.append(FILTERS[name], select);
    filters.append(label);
  });
}

const place = document.getElementById("figures-table");
place?.closest("details").addEventListener("toggle", () => {
  const script = document.createElement("script");
  script.src = place.dataset.source;
  script.onload = () => longTable(place, window.benchFigures);
  document.head.append(script);
}, { once: true });

// A link to a folded part unfolds it.
function unfold() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = target?.querySelector(":scope > details") ?? target?.closest("details");
  for (let one = folded; one; one = one.parentElement?.closest("details")) one.open = true;
  target?.scrollIntoView();
}
window.addEventListener("hashchange", unfold);
if (location.hash) unfold();
