// The browser of answers. Everything shown is set as text, never as HTML.
"use strict";
{
  const data = JSON.parse(document.getElementById("answers-data").textContent);
  const form = document.getElementById("filters");
  const list = document.getElementById("browser");
  const more = document.getElementById("more");
  const page = 48;
  let found = [];
  let shown = 0;

  function element(tag, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  const field = (name) => form.elements.namedItem(name);
  for (const [name, chosen] of [["a", data.a], ["b", data.b]]) {
    data.candidates.forEach((one, index) => field(name).append(new Option(one, index)));
    field(name).value = chosen;
  }
  for (const [task, title] of Object.entries(data.tasks)) field("task").append(new Option(title, task));
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (field(name)) field(name).value = value; // a link from another page may set the filters
  }

  const right = (answer) => answer !== null && answer[1] >= 0.5;
  const kept = {
    all: () => true,
    fixed: (a, b) => !right(a) && right(b),
    broken: (a, b) => right(a) && !right(b),
    flipped: (a, b) => right(a) !== right(b),
    right: (a, b) => right(a) && right(b),
    wrong: (a, b) => !right(a) && !right(b),
  };

  function filter() {
    const [a, b] = [Number(field("a").value), Number(field("b").value)];
    const [task, keep] = [field("task").value, kept[field("show").value] ?? kept.all];
    const text = field("text").value.toLowerCase();
    const within = data.questions.filter((one) => {
      if (task && one.task !== task) return false;
      const words = [one.question, one.truth, one.answers[a]?.[0], one.answers[b]?.[0]];
      return !text || words.some((word) => word?.toLowerCase().includes(text));
    });
    found = within.filter((one) => keep(one.answers[a], one.answers[b]));
    const fixed = within.filter((one) => kept.fixed(one.answers[a], one.answers[b])).length;
    const broken = within.filter((one) => kept.broken(one.answers[a], one.answers[b])).length;
    document.getElementById("count").textContent =
      `${found.length} of ${data.questions.length} questions. ` +
      `From ${data.candidates[a]} to ${data.candidates[b]}: ${fixed} fixed, ${broken} broken.`;
    list.replaceChildren();
    shown = 0;
    show();
  }

  function show() {
    const chosen = [Number(field("a").value), Number(field("b").value)];
    list.append(...found.slice(shown, shown + page).map((one) => card(one, chosen)));
    shown = Math.min(found.length, shown + page);
    more.hidden = shown >= found.length;
  }

  function card(one, chosen) {
    const item = element("li");
    const image = element(one.image ? "img" : "span", one.image ? "" : "blank");
    if (one.image) {
      image.loading = "lazy";
      image.alt = `Image of question ${one.id}`;
      image.src = `images/${one.image}`;
    }
    const about = element("div", "about");
    about.append(
      element("span", "task", data.tasks[one.task] ?? one.task),
      element("p", "asked", one.question),
      element("p", "truth", `Truth: ${one.truth}`),
    );
    const everyone = one.answers.map((_, index) => index);
    const others = everyone.filter((index) => !chosen.includes(index) && one.answers[index]);
    item.append(image, about, answered(one, [...new Set(chosen)]));
    if (others.length) {
      const more = element("details");
      more.append(element("summary", "", `${others.length} others`));
      more.addEventListener("toggle", () => more.append(answered(one, others)), { once: true });
      item.append(more);
    }
    return item;
  }

  function answered(one, indexes) {
    const answers = element("dl");
    for (const index of indexes) {
      const answer = one.answers[index];
      if (answer === null) continue;
      const row = element("div");
      const said = element("dd", "", `${answer[0]} `);
      const verdict = answer[1] >= 1 ? "right" : answer[1] > 0 ? "partly" : "wrong";
      said.append(element("span", `verdict ${verdict}`, verdict));
      row.append(element("dt", "", data.candidates[index]), said);
      answers.append(row);
    }
    return answers;
  }

  form.hidden = list.hidden = false;
  document.getElementById("fallback").hidden = true;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", show);
  filter();
}
