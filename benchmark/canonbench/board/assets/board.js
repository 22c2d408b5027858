// The page: filters, what they leave over, and the addresses of rows (#row=...&league=...).
function summary(entries) {
  const { entries: all, rankedBy } = tableOf(field(), chosen.league);
  const rows = all.length === 1 ? "row" : "rows";
  const count = entries.length === all.length ? `${all.length} ${rows}.` : `${entries.length} of ${all.length} ${rows}.`;
  return [count, rankedBy, allTasks() ? null : "Ranks and averages are over all six tasks."].filter(Boolean).join(" ");
}

function show({ rebuild = false } = {}) {
  const entries = tableOf(field(), chosen.league).entries.filter(matches);
  if (rebuild) buildTable([]);
  fillTable(entries);
  byId("shown").textContent = `${field().name}; ${field().track}; league ${chosen.league}`;
  byId("summary").textContent = summary(entries);
  const ofLeague = ({ league, entries: own }) => own.filter(matches).map((entry) => ({ entry, league }));
  drawSoon(field().tables.flatMap(ofLeague));
}

let painted = false;
let draw = null;

/** The first plots wait until the table stands. */
function drawSoon(entries) {
  draw = () => drawFigures(field(), entries, chosen.league, openRow);
  if (painted) draw();
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
  const made = labels.map(([key, label]) => element("option", { value: key, selected: key === value }, label));
  byId(id).replaceChildren(...made);
}

function toggle(set, label, on) {
  if (on) set.add(label);
  else set.delete(label);
}

function chooseLeague(label) {
  chosen.league = label;
  show();
}

function chooseState(label, on) {
  toggle(chosen.states, label, on);
  show();
}

function chooseTask(label, on) {
  toggle(chosen.tasks, label, on);
  show({ rebuild: true });
}

/** Choose a field; what can be filtered by follows from its rows. */
function chooseField(index) {
  chosen.field = index;
  const leagues = field().tables.map((each) => each.league);
  chosen.league = leagues.includes(chosen.league) ? chosen.league : leagues[0];
  const rows = field().tables.flatMap((each) => each.entries.map(rowOf));
  const bases = [...new Set(rows.map((row) => row.base))].sort();
  const states = [...new Set(rows.map((row) => row.state))].sort();
  chosen.base = "";
  chosen.states = new Set(states);
  options("group", data.fields.map((each, at) => [String(at), `${each.name}; ${each.track}`]), String(index));
  options("base", [["", `all ${bases.length}`], ...bases.map((base) => [base, base])], "");
  choices("league", "radio", leagues, (label) => label === chosen.league, chooseLeague);
  choices("state", "checkbox", states, () => true, chooseState);
  choices("tasks", "checkbox", data.tasks, (label) => chosen.tasks.has(label), chooseTask);
  show({ rebuild: true });
}

// --- details of a row, and its address

let opener = null;

function openRow(id, asked) {
  const isIn = (one) => one.entries.some((entry) => entry.row === id);
  const own = data.fields.find((each) => each.tables.some(isIn));
  if (!own) return;
  const leagues = own.tables.filter(isIn).map((each) => each.league);
  const league = leagues.includes(asked) ? asked : leagues[0];
  const entry = tableOf(own, league).entries.find((each) => each.row === id);
  if (!dialog.open) opener = document.activeElement;
  history.replaceState(null, "", `#row=${id}&league=${league}`);
  showDetails(own, league, entry, leagues, (label) => openRow(id, label));
}

function openAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.has("row")) openRow(asked.get("row"), asked.get("league"));
}

function start() {
  dialog.addEventListener("close", () => {
    if (dialog.open) return; // the event comes a moment later, when another row may be open already
    history.replaceState(null, "", location.pathname + location.search);
    opener?.focus();
  });
  byId("board").addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-row]");
    if (row && !window.getSelection().toString()) openRow(row.dataset.row, chosen.league);
  });
  byId("group").addEventListener("change", (event) => chooseField(Number(event.target.value)));
  byId("base").addEventListener("change", (event) => {
    chosen.base = event.target.value;
    show();
  });
  byId("search").addEventListener("input", (event) => {
    chosen.search = event.target.value.trim();
    show();
  });
  byId("filters").querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").open = window.matchMedia("(min-width: 46rem)").matches;
  window.addEventListener("hashchange", openAddress);
  window.addEventListener("beforeprint", () => table.page.len(-1).draw());
  window.addEventListener("afterprint", () => table.page.len(PAGE_LENGTH).draw());
  chooseField(0);
  window.setTimeout(() => {
    painted = true;
    draw();
  });
  openAddress();
}

if (data.fields.length > 0) {
  start();
} else {
  byId("filters").hidden = true;
  byId("summary").textContent = "The board is empty.";
}
