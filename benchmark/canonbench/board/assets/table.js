// The table: its columns, and what stands in their cells.
const PAGE_LENGTH = 50;
let table = null;
let scale = [0, 1];

/** Intervals are drawn on a scale that all entries share. */
function fitScale(entries) {
  const ends = entries.flatMap((entry) => [entry.delta, entry.low ?? entry.delta, entry.high ?? entry.delta]);
  scale = [Math.min(0, ...ends), Math.max(0.1, ...ends)];
}

function whisker(entry) {
  const at = (value) => `${((100 * (value - scale[0])) / (scale[1] - scale[0])).toFixed(2)}%`;
  const [line, dot, zero] = ["i", "u", "s"].map((name) => element(name));
  if (entry.low !== null) Object.assign(line.style, { left: at(entry.low), right: `calc(100% - ${at(entry.high)})` });
  dot.style.left = at(entry.delta);
  zero.style.left = at(0);
  return element("span", { class: "whisker", "aria-hidden": "true" }, zero, line, dot);
}

function methodCell(entry) {
  const row = rowOf(entry);
  const button = element("button", { type: "button", class: "open", "aria-haspopup": "dialog" }, row.method);
  const marked = entry.unreliable ? { class: "tag warn" } : { class: "tag" };
  const note = element("span", { ...marked, title: entry.note }, entry.unreliable ? "unreliable" : "note");
  const under = element("span", { class: "under" }, row.base, " ", stateTag(row.state));
  return [button, " ", entry.note ? note : null, under];
}

/** A model's name, which may be broken after its owner's. */
function modelName(name) {
  const [owner, ...rest] = name.split("/");
  if (rest.length === 0) return [name];
  const own = element("span", { class: "whole" }, rest.join("/"));
  return [element("span", { class: "lead" }, `${owner}/`), element("wbr"), own];
}

function rankCell(entry) {
  if (entry.rank === null) return element("span", { class: "unranked" }, NONE);
  return `${entry.tied ? "=" : ""}${entry.rank}`;
}

function deltaCell(entry) {
  const ends = element("small", {}, interval(entry.low === null ? null : [entry.low, entry.high], 1));
  return [element("b", {}, signed(entry.delta, 2)), " ", ends, whisker(entry)];
}

const UP = { first: "asc", last: Infinity };
const TEXT = { first: "asc", text: true };

/** A column: ``value`` sorts it (``last`` where there is none), ``show`` makes what stands in a cell. */
function column(title, name, value, show, { first = "desc", last = -Infinity, text = false } = {}) {
  return {
    title,
    name,
    data: null,
    className: text ? `${name} text` : name,
    type: text ? "string" : "num",
    orderSequence: first === "asc" ? ["asc", "desc"] : ["desc", "asc"],
    render: (entry, kind) => (kind === "display" ? "" : (value(entry) ?? last)),
    createdCell: (td, _value, entry) => td.replaceChildren(...[show(entry)].flat().filter((each) => each !== null)),
  };
}

function taskColumn(name) {
  const delta = (entry) => taskValues(entry.tasks[name]).delta;
  return column(name, "task", delta, (entry) => signed(delta(entry), 1));
}

const isGiven = (name) => field().tables.some((each) => each.entries.some((entry) => entry[name] !== null));

function columns() {
  const wanted = [
    column("Rank", "rank", (e) => e.rank, rankCell, UP),
    column("Method", "method", (e) => rowOf(e).method, methodCell, TEXT),
    column("Base model", "base", (e) => rowOf(e).base, (e) => modelName(rowOf(e).base), TEXT),
    column("Δ success, average", "delta", (e) => e.delta, deltaCell),
    !allTasks() && column("Δ of chosen tasks", "picked", meanOfChosen, (e) => signed(meanOfChosen(e), 2)),
    ...data.tasks.filter((name) => chosen.tasks.has(name)).map(taskColumn),
    isGiven("hard") && column("Hard Δ, nats", "hard", (e) => e.hard, (e) => signed(e.hard, 3), UP),
    isGiven("excess") && column("Ratio − 1", "ratio", (e) => e.excess, (e) => excess(e.excess), UP),
    column("State", "state", (e) => rowOf(e).state, (e) => stateTag(rowOf(e).state), TEXT),
  ];
  return wanted.filter(Boolean);
}

const LANGUAGE = {
  emptyTable: "No row is left over: widen the filters.",
  info: "_START_–_END_ of _TOTAL_ rows",
  infoEmpty: "",
  aria: { orderable: ": sort", orderableReverse: ": sort the other way", orderableRemove: "" },
};

function buildTable(entries) {
  table?.destroy();
  byId("board").replaceChildren(element("thead"), element("tbody"));
  byId("board").classList.toggle("part", !allTasks());
  table = new window.DataTable("#board", {
    data: entries,
    columns: columns(),
    order: [[0, "asc"], [3, "desc"]],
    orderMulti: false,
    pageLength: PAGE_LENGTH,
    autoWidth: false,
    searching: false,
    layout: { topStart: null, topEnd: null, bottomStart: "info", bottomEnd: "paging" },
    language: LANGUAGE,
    createdRow: (tr, entry) => {
      tr.dataset.row = entry.row;
    },
    drawCallback() {
      const paging = this.api().table().container().querySelector(".dt-paging");
      paging?.toggleAttribute("hidden", this.api().page.info().pages < 2);
    },
  });
}

function fillTable(entries) {
  fitScale(entries);
  table.clear().rows.add(entries).draw();
}
