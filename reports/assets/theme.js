// Loaded before anything is drawn: the theme that was chosen here before, if the browser kept it.
"use strict";
document.documentElement.dataset.scripted = ""; // one file shows one page at a time
try {
  const chosen = localStorage.getItem("ablate-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  // pages from disk may have no storage: the system's theme, then
}
