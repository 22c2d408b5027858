// Everything that is known of a row, in a dialog.
const dialog = document.getElementById("details");

function cell(content, attributes = {}) {
  return element("td", attributes, content);
}

function withInterval(value, pair, digits) {
  return [signed(value, digits), " ", element("small", {}, interval(pair, digits))];
}

function taskRow(name, values) {
  const task = taskValues(values);
  const isDoubtful = task.membership !== null && task.membership !== "in";
  const membership = isDoubtful ? element("span", { class: "tag warn" }, task.membership) : null;
  return element(
    "tr",
    {},
    element("th", { scope: "row", class: "text" }, name),
    cell(task.n),
    cell(plain(task.base, 1)),
    cell(plain(task.edited, 1)),
    cell(withInterval(task.delta, task.interval, 2)),
    cell(task.error === null ? NONE : task.error.toFixed(2)),
    cell(signed(task.clean, 2)),
    cell(withInterval(task.hard, task.hardInterval, 4)),
    cell([task.ratio === null ? NONE : excess(task.ratio - 1), " ", membership]),
    cell(task.taken ?? task.candidate ?? NONE),
  );
}

const HEADS = [
  ...["Task", "n", "Base, %", "Edited, %", "Δ success [95 %]", "SE", "Δ clean rows"],
  ...["Hard Δ, nats [95 %]", "Ratio − 1", "Candidate"],
];

function taskTable(entry) {
  const heads = HEADS.map((head, at) => element("th", { scope: "col", class: at ? null : "text" }, head));
  const total = element(
    "tr",
    { class: "total" },
    element("th", { scope: "row", class: "text" }, "average"),
    cell(""),
    cell(plain(entry.success[0], 1)),
    cell(plain(entry.success[1], 1)),
    cell(withInterval(entry.delta, entry.low === null ? null : [entry.low, entry.high], 2)),
    cell(""),
    cell(""),
    cell(withInterval(entry.hard, entry.hardInterval, 4)),
    cell(excess(entry.excess)),
    cell(""),
  );
  const rows = Object.entries(entry.tasks).map(([name, values]) => taskRow(name, values));
  const table = element("table", {}, element("thead", {}, element("tr", {}, heads)), element("tbody", {}, rows, total));
  return element("div", { class: "scroll" }, table);
}

function flip(kind, [index, before, after], examples) {
  const [subject, prefix, continuation] = examples?.[index] ?? [null, null, null];
  const text = prefix === null ? null : element("q", {}, prefix, element("b", {}, continuation));
  const line = `row ${index}${subject ? `, ${subject}` : ""}: ${before} → ${after}`;
  return element("div", { class: `flip ${kind}` }, element("div", { class: "hint" }, line), text);
}

function flippedTask(task, kinds, examples) {
  const counts = Object.entries(kinds).map(([kind, { n }]) => `${n} ${kind}`);
  const rows = Object.entries(kinds).flatMap(([kind, each]) => each.rows.map((row) => flip(kind, row, examples)));
  const left = Object.values(kinds).reduce((sum, each) => sum + each.n - each.rows.length, 0);
  const more = left > 0 ? element("p", { class: "hint" }, `${left} more in the file of per-example values`) : null;
  return element("details", {}, element("summary", {}, `${task}: ${counts.join(", ")}`), rows, more);
}

function flips(field, entry) {
  if (!entry.flips) return [];
  const parts = Object.entries(entry.flips).map(([task, kinds]) => flippedTask(task, kinds, field.examples[task]));
  const hint = element("p", { class: "hint" }, "With the first seed; the largest changes first.");
  return section("Rows that it fixed and broke", hint, ...parts);
}

function facts(pairs) {
  const lines = pairs.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]);
  return element("dl", { class: "facts" }, lines);
}

function section(title, ...content) {
  return [element("h3", {}, title), ...content];
}

function links(row) {
  const found = [
    row.submission ? element("a", { href: row.submission }, "how it was made (submission)") : null,
    row.hub ? element("a", { href: row.hub, rel: "noreferrer" }, "base model") : null,
  ].filter(Boolean);
  return found.length ? element("p", {}, found.flatMap((link, index) => (index ? [" · ", link] : [link]))) : null;
}

/** Show a row in one league; ``also`` are the leagues in which it stands. */
function showDetails(field, league, entry, also, choose) {
  const row = data.rows[entry.row];
  const rank = entry.rank === null ? "not ranked" : `rank ${entry.rank}${entry.tied ? ", shared" : ""}`;
  const close = element("button", { type: "button", class: "close" }, "Close");
  close.addEventListener("click", () => dialog.close());
  const leagues = also.map((label) => {
    const input = element("input", { type: "radio", name: "details-league", value: label, checked: label === league });
    input.addEventListener("change", () => choose(label));
    return element("label", {}, input, element("span", {}, label));
  });
  dialog.replaceChildren(
    element(
      "header",
      {},
      element(
        "div",
        {},
        element("h2", { id: "details-title" }, `${row.method} on ${row.base}`),
        element("div", { class: "hint" }, `${field.name}; ${field.track}`),
      ),
      close,
    ),
    element(
      "div",
      { class: "body" },
      element("fieldset", {}, element("legend", {}, "League"), element("div", { class: "choice" }, leagues)),
      element("p", {}, stateTag(row.state), ` ${rank} · ${row.source}`),
      entry.note ? element("p", { class: entry.unreliable ? "worse" : "lead" }, entry.note) : null,
      links(row),
      taskTable(entry),
      ...flips(field, entry),
      ...(row.hyperparameters.length ? section("Hyperparameters", facts(row.hyperparameters)) : []),
      ...section("What was measured, and with what", facts([...field.facts, ...row.facts])),
    ),
  );
  if (!dialog.open) dialog.showModal();
}

function stateTag(state) {
  const own = state === "measured" || state === "reproduced";
  return element("span", { class: own ? "tag strong" : "tag" }, state);
}

dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
