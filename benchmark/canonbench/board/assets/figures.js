// The plots, fed with the rows that the filters leave over.
const PLOTS = ["ratio", "hard", "size"];
const GLYPHS = { circle: "●", square: "■", "triangle-up": "▲", diamond: "◆", "triangle-down": "▼", cross: "✚" };
const NOTHING = {
  ratio: "No row of this group gives loss ratios.",
  hard: "No row that is left over gives hard negatives in this league.",
  size: "The names of the base models that are left over do not say at least two sizes.",
};
const drawn = {};

/** Points of other leagues are left out where there are so many that they only cover each other. */
const MANY = 400;

function pointsOf(entries, league) {
  const own = entries.filter((each) => each.league === league);
  return (own.length > MANY ? own : entries).map(({ entry, league: label }) => {
    const row = data.rows[entry.row];
    const { delta, low, high, hard, excess } = entry;
    const known = { row: entry.row, method: row.method, base: row.base, size: row.size };
    return { ...known, league: label, aside: label !== league, delta, low, high, hard, excess };
  });
}

const DRAWABLE = {
  ratio: (points) => points.filter((point) => point.excess !== null),
  hard: (points) => points.filter((point) => !point.aside && point.hard !== null),
  size: (points) => {
    const sized = points.filter((point) => !point.aside && point.size);
    return new Set(sized.map((point) => point.size)).size > 1 ? sized : [];
  },
};

function drawKey(field, points) {
  const shown = new Set(points.map((point) => point.method));
  const looks = field.looks.filter((look) => shown.has(look.method));
  document.getElementById("key").replaceChildren(
    ...looks.map((look) => {
      const glyph = element("span", { "aria-hidden": "true" }, GLYPHS[look.shape]);
      glyph.style.color = look.colour;
      return element("li", {}, glyph, look.method);
    }),
  );
}

async function drawOne(name, field, points, open) {
  const place = document.getElementById(`plot-${name}`);
  drawn[name]?.finalize();
  drawn[name] = undefined;
  const values = DRAWABLE[name](points);
  if (values.length === 0) {
    place.replaceChildren(element("p", { class: "hint" }, NOTHING[name]));
    return;
  }
  const spec = { ...field.plots[name], data: { values }, width: "container", height: 300 };
  const made = await window.vegaEmbed(place, spec, { actions: false, renderer: "svg", ast: true, mode: "vega-lite" });
  drawn[name] = made;
  made.view.addEventListener("click", (_event, item) => item?.datum?.row && open(item.datum.row, item.datum.league));
}

/** When the browser has nothing more urgent to do. */
const idle = () =>
  new Promise((go) => (window.requestIdleCallback ? requestIdleCallback(go, { timeout: 500 }) : setTimeout(go)));

let queue = Promise.resolve();
let wanted = 0;

/** Draw all plots, one after the other and only for the latest choice. */
function drawFigures(field, entries, league, open) {
  const turn = ++wanted;
  const points = pointsOf(entries, league);
  drawKey(field, points);
  for (const name of PLOTS) {
    queue = queue.then(idle).then(() => (turn === wanted ? drawOne(name, field, points, open) : undefined));
  }
  return queue;
}
