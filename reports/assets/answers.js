// The browser of answers. Everything shown is set as text, never as HTML.
"use strict";
{
  const page = 48; // questions shown at a time
  const few = 20; // other candidates of one question shown at a time
  let found = []; // places of the questions that pass the filters
  let shown = 0;
  let turn = 0; // how often it was filtered
  let data; // the questions, a list a field
  let images; // in one file: the images by name
  const answers = new Map(); // of the candidates compared: {answer, score}, a list each

  const kinds = { yes: "yes or no", number: "a number", other: "other words" }; // of a true answer

  let [form, list, more, summary] = []; // of the page, which may not be there at first

  function element(tag, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  const field = (name) => form.elements.namedItem(name);
  const right = (score) => score !== null && score >= 0.5;
  const kept = {
    all: () => true,
    fixed: (a, b) => !right(a) && right(b),
    broken: (a, b) => right(a) && !right(b),
    flipped: (a, b) => right(a) !== right(b),
    right: (a, b) => right(a) && right(b),
    wrong: (a, b) => !right(a) && !right(b),
  };

  // What kind of answer is true: the types by which VQA counts (Antol et al., 2015).
  function kind(truth) {
    const word = truth.trim().toLowerCase();
    if (word === "yes" || word === "no") return "yes";
    return numbers.has(word) || /^[-+$]?[\d.,]+\s*%?$/.test(word) ? "number" : "other";
  }

  const numbers = new Set(
    "zero one two three four five six seven eight nine ten eleven twelve".split(" "),
  );

  // Places of all tasks in turn, so that no task fills the first page; each task begins elsewhere in
  // its order, so that not all are about one image.
  function mixed(places) {
    const groups = new Map();
    for (const place of places) {
      if (!groups.has(data.task[place])) groups.set(data.task[place], []);
      groups.get(data.task[place]).push(place);
    }
    const ranked = [];
    for (const [number, group] of [...groups.values()].entries()) {
      const begin = Math.floor((number * group.length) / groups.size);
      const turned = [...group.slice(begin), ...group.slice(0, begin)];
      for (const [rank, place] of turned.entries()) (ranked[rank] ??= []).push(place);
    }
    return ranked.flat();
  }

  async function given(index) {
    if (!answers.has(index)) answers.set(index, await report.piece(`answers/${index + 1}`));
    return answers.get(index);
  }

  async function filter() {
    const mine = (turn += 1);
    const chosen = ["a", "b"].map((name) => Number(field(name).value));
    const [a, b] = await Promise.all(chosen.map(given));
    if (mine !== turn) return; // asked anew meanwhile
    const [task, type] = [field("task").value, field("kind").value];
    const keep = kept[field("show").value] ?? kept.all;
    const text = field("text").value.toLowerCase();
    let [fixed, broken] = [0, 0];
    const counted = [];
    found = [];
    for (let i = 0; i < data.id.length; i += 1) {
      if ((task && data.task[i] !== task) || (type && data.kind[i] !== type)) continue;
      const words = [data.question[i], data.truth[i], a.answer[i], b.answer[i]];
      if (text && !words.some((word) => word.toLowerCase().includes(text))) continue;
      counted.push(i);
      if (kept.fixed(a.score[i], b.score[i])) fixed += 1;
      if (kept.broken(a.score[i], b.score[i])) broken += 1;
      if (keep(a.score[i], b.score[i])) found.push(i);
    }
    document.getElementById("count").textContent =
      `${found.length} of ${data.id.length} questions. ` +
      `From ${data.candidates[chosen[0]]} to ${data.candidates[chosen[1]]}: ${fixed} fixed, ${broken} broken.`;
    count(counted, chosen, a, b);
    found = mixed(found);
    list.replaceChildren();
    shown = 0;
    show();
  }

  // How many of these questions are answered right, by benchmark and by kind of answer.
  function count(places, chosen, a, b) {
    const groups = [
      ...Object.entries(data.tasks).map(([task, title]) => ["task", task, title, (i) => data.task[i] === task]),
      ...Object.entries(kinds).map(([type, title]) => ["kind", type, `answer: ${title}`, (i) => data.kind[i] === type]),
    ];
    const rows = groups.map(([name, value, title, holds]) => {
      const own = places.filter(holds);
      if (!own.length) return "";
      const row = element("tr");
      const head = element("th");
      const only = element("button", "only", title);
      only.type = "button";
      only.addEventListener("click", () => choose(name, field(name).value === value ? "" : value));
      head.scope = "row";
      head.append(only);
      const of = (keep) => own.filter((i) => keep(a.score[i], b.score[i])).length;
      const share = ({ score }) => {
        const asked = own.filter((i) => score[i] !== null);
        return asked.length ? ((100 * asked.filter((i) => right(score[i])).length) / asked.length).toFixed(1) : "";
      };
      const cells = [own.length, share(a), share(b), of(kept.fixed), of(kept.broken)];
      row.append(head, ...cells.map((cell) => element("td", "num", cell)));
      return row;
    });
    const named = chosen.map((index) => `Right, %: ${data.labels[index]}`);
    const heads = ["Benchmark, and kind of answer", "Questions", ...named, "Fixed", "Broken"];
    const top = element("tr");
    for (const [place, title] of heads.entries()) {
      const cell = element("th", place ? "num" : "", title);
      cell.scope = "col";
      top.append(cell);
    }
    const [first, body] = [element("thead"), element("tbody")];
    first.append(top);
    body.append(...rows);
    const table = element("table");
    table.append(element("caption", "", "Right answers of the questions asked for; a benchmark's own score may weigh them"), first, body);
    summary.replaceChildren(table);
  }

  function choose(name, value) {
    field(name).value = value;
    form.dispatchEvent(new Event("input"));
  }

  function show() {
    const chosen = [...new Set(["a", "b"].map((name) => Number(field(name).value)))];
    list.append(...found.slice(shown, shown + page).map((place) => card(place, chosen)));
    shown = Math.min(found.length, shown + page);
    more.hidden = shown >= found.length;
  }

  function card(place, chosen) {
    const item = element("li");
    item.append(picture(place), told(place), said(place, chosen));
    const others = data.candidates.map((_, index) => index).filter((index) => !chosen.includes(index));
    if (others.length) item.append(rest(place, others));
    return item;
  }

  function told(place) {
    const about = element("div", "about");
    about.append(
      element("span", "task", data.tasks[data.task[place]] ?? data.task[place]),
      element("p", "asked", data.question[place]),
      element("p", "truth", `Truth: ${data.truth[place]}`),
    );
    return about;
  }

  // What the candidates say that are not compared, asked for as they are shown.
  function rest(place, others) {
    const box = element("details", "others");
    const next = element("button", "more", "Show more");
    let listed = 0;
    async function fill() {
      const some = others.slice(listed, listed + few);
      listed += some.length;
      next.hidden = listed >= others.length;
      await Promise.all(some.map(given));
      next.before(said(place, some));
    }
    next.type = "button";
    next.addEventListener("click", fill);
    box.append(element("summary", "", others.length > 1 ? `The ${others.length} others` : "The other"), next);
    box.addEventListener("toggle", fill, { once: true });
    return box;
  }

  // An image, which opens large with what was asked and said.
  function picture(place) {
    if (!data.image[place]) return element("span", "blank");
    const box = element("button", "picture");
    box.type = "button";
    box.title = "Larger";
    box.append(image(place));
    box.addEventListener("click", () => enlarge(place));
    return box;
  }

  function image(place) {
    const made = element("img");
    const name = data.image[place];
    made.loading = "lazy";
    made.alt = `Image of question ${data.id[place]}`;
    made.src = images ? images[name] : `${report.root}images/${name}`;
    return made;
  }

  // One question at a time, large; the arrow keys lead to the next and the one before.
  function enlarge(place) {
    const dialog = document.createElement("dialog");
    dialog.className = "enlarged";
    dialog.setAttribute("aria-label", "One question, large");
    let at = found.indexOf(place);
    function fill() {
      const now = found[at];
      const close = element("button", "more", "Close");
      close.type = "button";
      close.addEventListener("click", () => dialog.close());
      const chosen = [...new Set(["a", "b"].map((name) => Number(field(name).value)))];
      dialog.replaceChildren(data.image[now] ? image(now) : element("span", "blank"), told(now), said(now, chosen), close);
      close.focus();
    }
    dialog.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key] ?? 0;
      if (!step || !(at + step in found)) return;
      at += step;
      fill();
    });
    dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    fill();
  }

  function said(place, indexes) {
    const rows = element("dl");
    for (const index of indexes) {
      const { answer, score } = answers.get(index);
      if (score[place] === null) continue; // it was not asked
      const row = element("div");
      const words = element("dd", "", `${answer[place]} `);
      const verdict = score[place] >= 1 ? "right" : score[place] > 0 ? "partly" : "wrong";
      words.append(element("span", `verdict ${verdict}`, verdict));
      const name = element("dt", "", data.labels[index]);
      name.title = data.candidates[index];
      row.append(name, words);
      rows.append(row);
    }
    return rows;
  }

  async function start() {
    const names = ["filters", "browser", "more", "summary"];
    [form, list, more, summary] = names.map((name) => document.getElementById(name));
    data = await report.piece("questions");
    data.kind = data.truth.map(kind);
    if (document.querySelector('script[data-piece="images"]')) images = await report.piece("images");
    for (const [name, chosen] of [["a", data.a], ["b", data.b]]) {
      field(name).append(...data.candidates.map((one, index) => new Option(one, index)));
      field(name).value = chosen;
    }
    field("task").append(...Object.entries(data.tasks).map(([task, title]) => new Option(title, task)));
    field("kind").append(...Object.entries(kinds).map(([type, title]) => new Option(title, type)));
    form.addEventListener("input", () => {
      const set = [...new FormData(form)].filter(([, value]) => value);
      history.replaceState(null, "", `#answers?${new URLSearchParams(set)}`);
      filter();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    more.addEventListener("click", show);
    form.hidden = list.hidden = summary.hidden = false;
    document.getElementById("fallback").hidden = true;
  }

  let started;
  report.entered.push(async (section, query) => {
    if (section.id !== "answers" || !section.querySelector("#fallback table")) return;
    await (started ??= start());
    for (const [name, value] of query) if (field(name)) field(name).value = value;
    filter();
  });
}
