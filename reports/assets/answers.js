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

  let [form, list, more] = []; // of the page, which may not be there at first

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

  async function given(index) {
    if (!answers.has(index)) answers.set(index, await report.piece(`answers/${index + 1}`));
    return answers.get(index);
  }

  async function filter() {
    const mine = (turn += 1);
    const chosen = ["a", "b"].map((name) => Number(field(name).value));
    const [a, b] = await Promise.all(chosen.map(given));
    if (mine !== turn) return; // asked anew meanwhile
    const [task, keep] = [field("task").value, kept[field("show").value] ?? kept.all];
    const text = field("text").value.toLowerCase();
    let [fixed, broken] = [0, 0];
    found = [];
    for (let i = 0; i < data.id.length; i += 1) {
      if (task && data.task[i] !== task) continue;
      const words = [data.question[i], data.truth[i], a.answer[i], b.answer[i]];
      if (text && !words.some((word) => word.toLowerCase().includes(text))) continue;
      if (kept.fixed(a.score[i], b.score[i])) fixed += 1;
      if (kept.broken(a.score[i], b.score[i])) broken += 1;
      if (keep(a.score[i], b.score[i])) found.push(i);
    }
    document.getElementById("count").textContent =
      `${found.length} of ${data.id.length} questions. ` +
      `From ${data.candidates[chosen[0]]} to ${data.candidates[chosen[1]]}: ${fixed} fixed, ${broken} broken.`;
    list.replaceChildren();
    shown = 0;
    show();
  }

  function show() {
    const chosen = [...new Set(["a", "b"].map((name) => Number(field(name).value)))];
    list.append(...found.slice(shown, shown + page).map((place) => card(place, chosen)));
    shown = Math.min(found.length, shown + page);
    more.hidden = shown >= found.length;
  }

  function card(place, chosen) {
    const item = element("li");
    const about = element("div", "about");
    about.append(
      element("span", "task", data.tasks[data.task[place]] ?? data.task[place]),
      element("p", "asked", data.question[place]),
      element("p", "truth", `Truth: ${data.truth[place]}`),
    );
    item.append(picture(place), about, said(place, chosen));
    const others = data.candidates.map((_, index) => index).filter((index) => !chosen.includes(index));
    if (others.length) item.append(rest(place, others));
    return item;
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

  // An image, larger while it is open.
  function picture(place) {
    const name = data.image[place];
    if (!name) return element("span", "blank");
    const box = element("details", "picture");
    const hold = element("summary");
    const image = element("img");
    hold.title = "Larger or smaller";
    image.loading = "lazy";
    image.alt = `Image of question ${data.id[place]}`;
    image.src = images ? images[name] : `${report.root}images/${name}`;
    hold.append(image);
    box.append(hold);
    return box;
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
    [form, list, more] = ["filters", "browser", "more"].map((name) => document.getElementById(name));
    data = await report.piece("questions");
    if (document.querySelector('script[data-piece="images"]')) images = await report.piece("images");
    for (const [name, chosen] of [["a", data.a], ["b", data.b]]) {
      field(name).append(...data.candidates.map((one, index) => new Option(one, index)));
      field(name).value = chosen;
    }
    field("task").append(...Object.entries(data.tasks).map(([task, title]) => new Option(title, task)));
    form.addEventListener("input", () => {
      const set = [...new FormData(form)].filter(([, value]) => value);
      history.replaceState(null, "", `#answers?${new URLSearchParams(set)}`);
      filter();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    more.addEventListener("click", show);
    form.hidden = list.hidden = false;
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
