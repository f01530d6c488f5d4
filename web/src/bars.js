/** The 52 blendshape weights as bars, in the groups that ARKit's names make. */

const GROUPS = {
  Brows: /^brow/,
  Eyes: /^eye(?!Look)/,
  "Cheeks and nose": /^(cheek|nose)/,
  Jaw: /^jaw/,
  Mouth: /^mouth/,
  "Not read, always 0": /^(eyeLook|tongue)/,
};

export class Bars {
  #rows = new Map();

  /** Fills `parent` with a list of bars a group, all at 0. */
  constructor(parent, names) {
    for (const [title, pattern] of Object.entries(GROUPS)) {
      const group = element("section", "group", parent);
      element("h3", "", group).textContent = title;
      const list = element("ul", "", group);
      for (const name of names.filter((name) => pattern.test(name))) {
        const row = element("li", "", list);
        element("span", "name", row).textContent = name;
        const bar = element("span", "bar", row);
        bar.setAttribute("aria-hidden", "true");
        this.#rows.set(name, { bar, row, value: element("span", "value", row) });
      }
    }
    this.show(Object.fromEntries(names.map((name) => [name, 0])));
  }

  show(weights) {
    for (const [name, weight] of Object.entries(weights)) {
      const { bar, row, value } = this.#rows.get(name);
      bar.style.setProperty("--weight", weight.toFixed(3));
      value.textContent = weight.toFixed(2);
      row.classList.toggle("zero", weight < 0.005);
    }
  }
}

/** The strongest weights as words, for screen readers and for the line above the bars. */
export function strongest(weights, count = 4) {
  const sorted = Object.entries(weights).filter(([, weight]) => weight >= 0.1).sort((a, b) => b[1] - a[1]);
  if (!sorted.length) return "a neutral face";
  return sorted.slice(0, count).map(([name, weight]) => `${name} ${weight.toFixed(2)}`).join(", ");
}

function element(tag, className, parent) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  return parent.appendChild(made);
}
