// What every page needs: the theme, the shown section, and data in pieces.
"use strict";
const report = {
  root: document.body.dataset.root,
  entered: [], // called with each section that is shown, and the query behind its address
  waiting: new Map(),
  pieces: new Map(),

  // A piece of data by name: it lies in the page, or in a script beside it.
  piece(name) {
    if (!this.pieces.has(name)) this.pieces.set(name, this.fetch(name));
    return this.pieces.get(name);
  },

  fetch(name) {
    const here = [...document.querySelectorAll("script[data-piece]")].find((one) => one.dataset.piece === name);
    if (here) return Promise.resolve(JSON.parse(here.textContent));
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      this.waiting.set(name, resolve);
      script.src = `${this.root}data/${name}.js`;
      script.addEventListener("error", () => reject(new Error(`${script.src} is missing`)));
      document.head.append(script);
    });
  },

  take(name, value) {
    this.waiting.get(name)(value);
    this.waiting.delete(name);
  },
};

{
  const button = document.getElementById("theme");
  const names = { "": "Theme: system", light: "Theme: light", dark: "Theme: dark" };

  function choose(theme) {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    button.textContent = names[theme];
  }

  button.addEventListener("click", () => {
    const themes = Object.keys(names);
    const next = themes[(themes.indexOf(document.documentElement.dataset.theme ?? "") + 1) % themes.length];
    choose(next);
    try {
      localStorage.setItem("ablate-theme", next);
    } catch {
      // chosen for this page only
    }
  });
  choose(document.documentElement.dataset.theme ?? "");
  button.hidden = false;
}

// One section at a time, by the address behind the #. In a folder a file holds only one; in one file
// a section is mere text until it is shown for the first time.
report.show = () => {
  const [path, query] = location.hash.slice(1).split("?");
  const asleep = [...document.querySelectorAll("main > noscript")].find((one) => one.dataset.page === path);
  if (asleep) asleep.outerHTML = asleep.textContent;
  const sections = [...document.querySelectorAll("main > article")];
  const shown = sections.find((one) => one.id === path) ?? sections[0];
  if (document.querySelector("main.many")) {
    for (const one of sections) one.classList.toggle("shown", one === shown);
    for (const link of document.querySelectorAll(".bar nav a")) {
      if (link.hash === `#${shown.id}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = shown.dataset.title;
  }
  for (const enter of report.entered) enter(shown, new URLSearchParams(query ?? ""));
};

window.addEventListener("hashchange", () => {
  if (location.hash === "#main") return; // the link that skips to the content
  report.show();
  window.scrollTo(0, 0);
});
window.addEventListener("DOMContentLoaded", report.show);
