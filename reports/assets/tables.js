// Tables that sort, filter and hide columns, by DataTables. Each is a plain table before that.
"use strict";
{
  const many = 100; // rows, from which on a table is shown in parts
  const few = 4; // rows, up to which there is nothing to search

  function enliven(element) {
    const rows = element.tBodies[0].rows.length;
    const switches = document.createElement("details");
    const table = new DataTable(element, {
      autoWidth: false,
      order: [],
      paging: rows > many,
      pageLength: many,
      lengthChange: false,
      columnDefs: [
        { targets: "num", type: "num", orderSequence: ["desc", "asc", ""] },
        { targets: "drawn", orderable: false, searchable: false },
      ],
      layout: {
        topStart: rows > few ? "search" : null,
        topEnd: () => switches,
        bottomStart: rows > few ? "info" : null,
        bottomEnd: rows > many ? "paging" : null,
      },
      language: {
        search: "Filter",
        info: "_TOTAL_ rows",
        infoFiltered: "of _MAX_",
        infoEmpty: "No row",
        zeroRecords: "No row has these words.",
      },
    });
    fill(switches, table);
    // what scrolls is now the table alone, without its controls
    const [outer, inner] = [element.closest(".scroll"), element.closest(".dt-layout-row")];
    for (const { name, value } of [...outer.attributes]) {
      inner.setAttribute(name, name === "class" ? `${inner.className} ${value}` : value);
      outer.removeAttribute(name);
    }
    window.addEventListener("beforeprint", () => table.page.len(-1).draw(false));
    window.addEventListener("afterprint", () => table.page.len(many).draw(false));
  }

  // A switch for every column but the first.
  function fill(box, table) {
    const name = document.createElement("summary");
    const list = document.createElement("div");
    box.className = "columns";
    name.textContent = "Columns";
    box.append(name, list);
    table.columns().every(function () {
      const label = document.createElement("label");
      const input = document.createElement("input");
      input.type = "checkbox";
      input.checked = true;
      input.addEventListener("change", () => this.visible(input.checked));
      label.append(input, ` ${this.header().textContent.trim()}`);
      if (this.index() > 0) list.append(label);
    });
  }

  report.entered.push((section) => {
    for (const element of section.querySelectorAll("table.live")) {
      if (!DataTable.isDataTable(element)) enliven(element);
    }
  });
}
