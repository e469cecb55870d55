// Sorting of tables marked "sortable": a button in each column heading, by number where all are.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const original = [...body.rows];
  heads.forEach((head, column) => {
    if ("unsorted" in head.dataset) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(head, column));
  });

  function sort(head, column) {
    const numeric = head.classList.contains("num");
    const first = numeric ? "descending" : "ascending";
    const second = numeric ? "ascending" : "descending";
    const before = head.getAttribute("aria-sort");
    const now = before === first ? second : before === second ? null : first;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    if (now) head.setAttribute("aria-sort", now);
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const sign = now === "ascending" ? 1 : -1;
    const rows = now
      ? [...original].sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          if (x === "" || y === "") return (x === "") - (y === ""); // unknown ones stay last
          return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y));
        })
      : original;
    body.append(...rows);
  }
}
