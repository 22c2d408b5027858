// What is chosen, and which entries that leaves over. A field is a comparable group and a track.
const byId = (id) => document.getElementById(id);
const chosen = { field: 0, league: null, base: "", states: new Set(), tasks: new Set(data.tasks), search: "" };

const field = () => data.fields[chosen.field];
const tableOf = (own, league) => own.tables.find((each) => each.league === league);
const rowOf = (entry) => data.rows[entry.row];
const allTasks = () => chosen.tasks.size === data.tasks.length;

function matches(entry) {
  const row = rowOf(entry);
  const text = `${row.method} ${row.base} ${row.source} ${row.state} ${entry.note ?? ""}`.toLowerCase();
  return (
    (chosen.base === "" || row.base === chosen.base) &&
    chosen.states.has(row.state) &&
    chosen.search.toLowerCase().split(/\s+/).every((word) => text.includes(word))
  );
}

/** The mean Δ over the chosen tasks; null if a task has none. */
function meanOfChosen(entry) {
  const deltas = [...chosen.tasks].map((name) => taskValues(entry.tasks[name]).delta);
  return deltas.length && !deltas.includes(null) ? deltas.reduce((sum, each) => sum + each, 0) / deltas.length : null;
}
