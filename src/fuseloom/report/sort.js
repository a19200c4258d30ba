"use strict";
// Turns the column heads of the leaderboard into buttons that sort it; without it the page reads the same.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = Array.from(table.tHead.rows[0].cells);
  const body = table.tBodies[0];
  const key = (row, column) => row.cells[column].dataset.sort;
  const compare = (one, other) => {
    const numbers = [Number(one), Number(other)];
    return numbers.some(Number.isNaN) ? one.localeCompare(other) : numbers[0] - numbers[1];
  };
  const sort = (column) => {
    const ascending = heads[column].getAttribute("aria-sort") !== "ascending";
    const rows = Array.from(body.rows);
    const empty = rows.filter((row) => key(row, column) === "");
    const full = rows.filter((row) => key(row, column) !== "");
    full.sort((a, b) => (ascending ? 1 : -1) * compare(key(a, column), key(b, column)));
    body.append(...full, ...empty);
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", ascending ? "ascending" : "descending");
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(column));
    head.append(button);
  });
}
