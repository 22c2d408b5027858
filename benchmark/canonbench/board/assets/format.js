// Elements and numbers. Text always enters as text, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);

/** An element with attributes and children (elements or text). */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const NONE = "–";

/** A number with a sign, − for minus. */
function signed(value, digits) {
  if (value === null || value === undefined) return NONE;
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value < 0 ? "−" : "+") + text;
}

function plain(value, digits) {
  return value === null || value === undefined ? NONE : value.toFixed(digits).replace("-", "−");
}

/** Loss ratio − 1: a small number, in powers of ten. */
function excess(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  return (value < 0 ? "−" : "+") + Math.abs(value).toExponential(1).replace("e-", "e−").replace("e+0", "");
}

function interval(pair, digits) {
  return pair ? `[${signed(pair[0], digits)}, ${signed(pair[1], digits)}]` : "";
}

/** A task's values by name. */
function taskValues(values) {
  return Object.fromEntries(data.columns.map((column, index) => [column, values[index]]));
}
