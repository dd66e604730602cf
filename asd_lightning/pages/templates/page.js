"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  headings.forEach((heading, column) => {
    heading.firstElementChild.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === (heading.classList.contains("n") ? null : "ascending");
      const value = (row) => {
        const cell = row.cells[column];
        return cell.dataset.sort === undefined ? cell.textContent.trim().toLowerCase() : Number(cell.dataset.sort);
      };
      const sign = descending ? -1 : 1;
      const rows = [...body.rows].sort((one, other) => {
        const [a, b] = [value(one), value(other)];
        // What has no number stays last, whichever way the column is sorted.
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
        return sign * (a < b ? -1 : a > b ? 1 : 0);
      });
      body.append(...rows);
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    });
  });
}
// Paper cannot be unfolded.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
