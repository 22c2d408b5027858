// Filters, the table, and addresses of rows (#row=...&league=...).
const byId = (id) => document.getElementById(id);
const chosen = { field: 0, league: null, base: "", states: new Set(), tasks: new Set(data.tasks), search: "" };
let table = null;

const field = () => data.fields[chosen.field];
const entriesOf = (league) => field().tables.find((each) => each.league === league)?.entries ?? [];

function matches(entry) {
  const row = data.rows[entry.row];
  const text = `${row.method} ${row.base} ${row.source} ${row.state} ${entry.note ?? ""}`.toLowerCase();
  return (
    (chosen.base === "" || row.base === chosen.base) &&
    chosen.states.has(row.state) &&
    chosen.search.toLowerCase().split(/\s+/).every((word) => text.includes(word))
  );
}

// --- the table

/** The mean Δ over the chosen tasks; null if a task has none. */
function meanOfChosen(entry) {
  const deltas = [...chosen.tasks].map((name) => taskValues(entry.tasks[name]).delta);
  return deltas.length && !deltas.includes(null) ? deltas.reduce((sum, each) => sum + each, 0) / deltas.length : null;
}

let scale = [0, 1];

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
  const row = data.rows[entry.row];
  const button = element("button", { type: "button", class: "open", "aria-haspopup": "dialog" }, row.method);
  const note = entry.note ? element("span", { class: entry.unreliable ? "tag warn" : "tag", title: entry.note }, entry.unreliable ? "unreliable" : "note") : null;
  return [button, " ", note, element("span", { class: "under" }, row.base, " ", stateTag(row.state))];
}

/** A model's name, which may be broken after its owner's. */
function modelName(name) {
  const [owner, ...rest] = name.split("/");
  return rest.length ? [element("span", { class: "lead" }, `${owner}/`), element("wbr"), element("span", { class: "whole" }, rest.join("/"))] : [name];
}

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

const isGiven = (name) => field().tables.some((each) => each.entries.some((entry) => entry[name] !== null));

function columns() {
  const rowOf = (entry) => data.rows[entry.row];
  const part = chosen.tasks.size < data.tasks.length;
  return [
    column("Rank", "rank", (e) => e.rank, (e) => (e.rank === null ? element("span", { class: "unranked" }, NONE) : `${e.tied ? "=" : ""}${e.rank}`), { first: "asc", last: Infinity }),
    column("Method", "method", (e) => rowOf(e).method, methodCell, { first: "asc", text: true }),
    column("Base model", "base", (e) => rowOf(e).base, (e) => modelName(rowOf(e).base), { first: "asc", text: true }),
    column("Δ success, average", "delta", (e) => e.delta, (e) => [element("b", {}, signed(e.delta, 2)), " ", element("small", {}, interval(e.low === null ? null : [e.low, e.high], 1)), whisker(e)]),
    ...(part && chosen.tasks.size > 1 ? [column("Δ of chosen tasks", "picked", meanOfChosen, (e) => signed(meanOfChosen(e), 2))] : []),
    ...data.tasks
      .filter((name) => chosen.tasks.has(name))
      .map((name) => column(name, "task", (e) => taskValues(e.tasks[name]).delta, (e) => signed(taskValues(e.tasks[name]).delta, 1))),
    ...(isGiven("hard") ? [column("Hard Δ, nats", "hard", (e) => e.hard, (e) => signed(e.hard, 3), { first: "asc", last: Infinity })] : []),
    ...(isGiven("excess") ? [column("Ratio − 1", "ratio", (e) => e.excess, (e) => excess(e.excess), { first: "asc", last: Infinity })] : []),
    column("State", "state", (e) => rowOf(e).state, (e) => stateTag(rowOf(e).state), { first: "asc", text: true }),
  ];
}

function buildTable(entries) {
  table?.destroy();
  byId("board").replaceChildren(element("thead"), element("tbody"));
  byId("board").classList.toggle("part", chosen.tasks.size < data.tasks.length);
  table = new window.DataTable("#board", {
    data: entries,
    columns: columns(),
    order: [[0, "asc"], [3, "desc"]],
    orderMulti: false,
    pageLength: 50,
    autoWidth: false,
    searching: false,
    layout: { topStart: null, topEnd: null, bottomStart: "info", bottomEnd: "paging" },
    language: { emptyTable: "No row is left over: widen the filters.", info: "_START_–_END_ of _TOTAL_ rows", infoEmpty: "", aria: { orderable: ": sort", orderableReverse: ": sort the other way", orderableRemove: "" } },
    createdRow: (tr, entry) => {
      tr.dataset.row = entry.row;
    },
    drawCallback: function () {
      this.api().table().container().querySelector(".dt-paging")?.toggleAttribute("hidden", this.api().page.info().pages < 2);
    },
  });
}

// --- what is shown

function summary(entries) {
  const all = entriesOf(chosen.league);
  const { rankedBy } = field().tables.find((each) => each.league === chosen.league);
  const count = entries.length === all.length ? `${all.length} rows.` : `${entries.length} of ${all.length} rows.`;
  const part = chosen.tasks.size < data.tasks.length ? "Ranks and averages are over all six tasks." : null;
  return [count, rankedBy, part].filter(Boolean).join(" ");
}

function show({ rebuild = false } = {}) {
  const entries = entriesOf(chosen.league).filter(matches);
  fitScale(entries);
  if (rebuild || table === null) buildTable(entries);
  else table.clear().rows.add(entries).draw();
  byId("shown").textContent = `${field().name}; ${field().track}; league ${chosen.league}`;
  byId("summary").textContent = summary(entries);
  const everywhere = field().tables.flatMap((each) => each.entries.filter(matches).map((entry) => ({ entry, league: each.league })));
  return drawSoon(everywhere);
}

let painted = false;
let pending = null;

/** The first plots wait until the table stands. */
function drawSoon(entries) {
  pending = () => drawFigures(field(), entries, chosen.league, openRow);
  return painted ? pending() : undefined;
}

// --- filters

function choices(id, kind, labels, isOn, choose) {
  byId(id).hidden = labels.length < 2;
  byId(id).querySelector(".choice").replaceChildren(
    ...labels.map((label) => {
      const input = element("input", { type: kind, name: id, value: label, checked: isOn(label) });
      input.addEventListener("change", () => choose(label, input.checked));
      return element("label", {}, input, element("span", {}, label));
    }),
  );
}

function options(id, labels, value) {
  byId(id).replaceChildren(...labels.map(([key, label]) => element("option", { value: key, selected: key === value }, label)));
}

function toggle(set, label, on) {
  if (on) set.add(label);
  else set.delete(label);
}

/** Choose a group (and track); what can be filtered by follows from its rows. */
function chooseField(index, league = null) {
  chosen.field = index;
  const labels = field().tables.map((each) => each.league);
  chosen.league = labels.includes(league ?? chosen.league) ? (league ?? chosen.league) : labels[0];
  const rows = field().tables.flatMap((each) => each.entries.map((entry) => data.rows[entry.row]));
  const bases = [...new Set(rows.map((row) => row.base))].sort();
  const states = [...new Set(rows.map((row) => row.state))].sort();
  chosen.base = "";
  chosen.states = new Set(states);
  options("group", data.fields.map((each, number) => [String(number), `${each.name}; ${each.track}`]), String(index));
  options("base", [["", `all ${bases.length}`], ...bases.map((base) => [base, base])], "");
  choices("league", "radio", labels, (label) => label === chosen.league, (label) => chooseLeague(label));
  choices("state", "checkbox", states, () => true, (label, on) => (toggle(chosen.states, label, on), show()));
  choices("tasks", "checkbox", data.tasks, (label) => chosen.tasks.has(label), (label, on) => (toggle(chosen.tasks, label, on), show({ rebuild: true })));
  return show({ rebuild: true });
}

function chooseLeague(label) {
  chosen.league = label;
  return show();
}

// --- details of a row, and its address

let opener = null;

function openRow(id, league) {
  const at = data.fields.findIndex((each) => each.tables.some((one) => one.league === league && one.entries.some((entry) => entry.row === id)));
  if (at < 0) return;
  const own = data.fields[at];
  const leagues = own.tables.filter((each) => each.entries.some((entry) => entry.row === id)).map((each) => each.league);
  const entry = own.tables.find((each) => each.league === league).entries.find((each) => each.row === id);
  if (!dialog.open) opener = document.activeElement;
  history.replaceState(null, "", `#row=${id}&league=${league}`);
  showDetails(own, league, entry, leagues, (label) => openRow(id, label));
}

function openAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.has("row")) openRow(asked.get("row"), asked.get("league"));
}

dialog.addEventListener("close", () => {
  history.replaceState(null, "", location.pathname + location.search);
  opener?.focus();
});
byId("board").addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-row]");
  if (row && !window.getSelection().toString()) openRow(row.dataset.row, chosen.league);
});
byId("group").addEventListener("change", (event) => chooseField(Number(event.target.value)));
byId("base").addEventListener("change", (event) => ((chosen.base = event.target.value), show()));
byId("search").addEventListener("input", (event) => ((chosen.search = event.target.value.trim()), show()));
byId("filters").querySelector("form").addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("hashchange", openAddress);
window.addEventListener("beforeprint", () => table?.page.len(-1).draw());
window.addEventListener("afterprint", () => table?.page.len(50).draw());

if (data.fields.length > 0) {
  byId("filters").open = window.matchMedia("(min-width: 46rem)").matches;
  chooseField(0);
  window.setTimeout(() => {
    painted = true;
    pending();
  });
  openAddress();
} else {
  byId("filters").hidden = true;
  byId("summary").textContent = "The board is empty.";
}
document.documentElement.dataset.ready = "yes";
