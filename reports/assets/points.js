// What a point of a figure is, said as it is pointed at or reached by keyboard. Without this, a browser
// shows the title that it has.
"use strict";
{
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true"); // the same words name the point itself

  function show(event) {
    const point = event.target.closest?.("a.point");
    if (!point) return;
    point.querySelector("title")?.remove();
    tip.textContent = point.getAttribute("aria-label");
    tip.hidden = false;
    document.body.append(tip);
    const [at, own] = [point.getBoundingClientRect(), tip.getBoundingClientRect()];
    const left = Math.min(Math.max(8, (at.left + at.right - own.width) / 2), innerWidth - own.width - 8);
    const above = at.top - own.height - 4;
    tip.style.left = `${left}px`;
    tip.style.top = `${above < 4 ? at.bottom + 4 : above}px`;
  }

  function hide() {
    tip.hidden = true;
  }

  for (const name of ["pointerover", "focusin"]) document.addEventListener(name, show);
  for (const name of ["pointerout", "focusout"]) document.addEventListener(name, hide);
  window.addEventListener("hashchange", hide);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
}
