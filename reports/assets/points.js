// Figures: kept as PNG, and what a point is, said as it is pointed at or reached by keyboard. Without this, a browser
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
  // A figure as it is on paper: the colours of its variables are those of the light theme.
  async function keep(button) {
    const drawn = button.closest("figure").querySelector("svg").cloneNode(true);
    for (const one of drawn.querySelectorAll(".room, title")) one.remove();
    const [width, height] = drawn.getAttribute("viewBox").split(" ").slice(2).map(Number);
    for (const [name, value] of [["width", width], ["height", height]]) drawn.setAttribute(name, value);
    const style = getComputedStyle(document.documentElement);
    const light = (name) => /light-dark\((.*?),/.exec(style.getPropertyValue(name))?.[1] ?? "#000";
    const text = new XMLSerializer().serializeToString(drawn).replace(/var\((--\w+)\)/g, (_, name) => light(name));
    const image = new Image();
    image.src = `data:image/svg+xml,${encodeURIComponent(text)}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [3 * width, 3 * height];
    const pen = canvas.getContext("2d");
    pen.fillStyle = light("--paper");
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    const link = document.createElement("a");
    link.download = button.dataset.file;
    link.href = canvas.toDataURL("image/png");
    link.click();
  }

  document.addEventListener("click", ({ target }) => {
    const button = target.closest?.("button.png");
    if (button) keep(button);
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
}
