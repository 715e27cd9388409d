// What is wrong with how the page that is open looks, as a list of lines: what is cut, overlaps,
// wraps inside a cell, or is too small. Everything folded is opened first.
(() => {
  const SLACK = 1.5;  // Pixels: boxes lie at fractions of them.
  const found = [];
  const say = (what, element) => {
    const text = element.textContent.trim().replace(/\s+/g, " ").slice(0, 60);
    found.push(`${what}: <${element.tagName.toLowerCase()}> ${element.alt || text}`);
  };
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const box = (element) => element.getBoundingClientRect();
  const seen = (element) => element.getClientRects().length > 0;
  const lines = (element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    return [...range.getClientRects()].filter((each) => each.width > 0);
  };
  const scrollerOf = (element) => {
    const found = element.closest(".scroll");
    return found && getComputedStyle(found).overflowX === "auto" ? found : null;
  };
  const apart = (one, other) =>
    one.right <= other.left + SLACK || other.right <= one.left + SLACK ||
    one.bottom <= other.top + SLACK || other.bottom <= one.top + SLACK;

  all("details").forEach((each) => { each.open = true; });
  const screen = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > screen) found.push("the page itself scrolls sideways");

  // Text that ends beyond the screen, and is not reached by scrolling a table or figure.
  const texts = "h1, h2, h3, p, li, dt, dd, figcaption, summary, pre";
  all(texts).filter((each) => seen(each) && !scrollerOf(each)).forEach((each) => {
    const outside = lines(each).some((line) => line.right > screen + SLACK || line.left < 0);
    if (outside && getComputedStyle(each).overflowX !== "auto") say("cut by the screen", each);
  });

  // Blocks one over another.
  const blocks = (parent) => [...parent.children].filter(
    (each) => seen(each) && /^(block|grid|flex|table)$/.test(getComputedStyle(each).display));
  all("body, body *").filter((each) => !each.closest("svg")).forEach((parent) => {
    const inside = blocks(parent);
    inside.slice(1).forEach((each, i) => {
      if (!apart(box(inside[i]), box(each))) say("overlaps what is above", each);
    });
  });

  // Cells: on one line, and inside of their own box. Lines over all columns may wrap.
  const cells = all("th, td").filter((each) => seen(each) && each.colSpan === 1);
  cells.forEach((cell) => {
    const own = lines(cell);
    if (own.some((line) => Math.abs(line.top - own[0].top) > line.height / 2)) say("wraps", cell);
    if (own.some((line) => line.right > box(cell).right + SLACK)) say("beyond its cell", cell);
  });

  // A table that scrolls: the names of its rows stay, side by side, and the rest comes into view.
  all("table").filter(seen).forEach((table) => {
    const scroller = scrollerOf(table);
    if (!scroller) return say("cannot scroll", table);
    if (table.offsetWidth <= scroller.clientWidth) return;
    const still = all("tr", table).map((row) => [...row.children].filter(
      (cell) => seen(cell) && getComputedStyle(cell).position === "sticky"));
    const named = all(".named .wrap", table).filter(seen);
    const rows = all("tbody tr", table).filter((row) => !row.querySelector("[colspan]"));
    if (!rows.length || (!named.length && !still[0].length)) say("rows lose their names", table);
    if (named.length && named.length !== rows.length) say("a row lacks its name", table);
    scroller.scrollLeft = scroller.scrollWidth;
    const frame = box(scroller);
    named.concat(all(".section .wrap", table)).forEach((each) => {
      const outside = (line) =>
        line.left < frame.left - SLACK || line.right > frame.right + SLACK;
      if (lines(each).some(outside)) say("leaves the screen with the columns", each);
    });
    still.forEach((row) => row.forEach((cell, i) => {
      if (lines(cell).some((line) => line.left < frame.left - SLACK)) say("scrolls away", cell);
      if (i && lines(row[i - 1]).some((line) => line.right > box(cell).left + SLACK))
        say("covers the column before", cell);
    }));
    const width = still[0].reduce((sum, cell) => sum + box(cell).width, 0);
    if (!named.length && width > 0.7 * frame.width) say("names leave no room", table);
    if (box(table).right > frame.right + SLACK) say("does not scroll to its end", table);
    scroller.scrollLeft = 0;
  });

  // Figures: legible, undistorted, and whole.
  all("figure img, svg.marks").filter(seen).forEach((each) => {
    const { width, height } = box(each);
    if (width < 600) say(`only ${Math.round(width)} pixels wide`, each);
    const scroller = scrollerOf(each);
    if (!scroller || scroller.scrollWidth < width) say("cannot scroll", each);
    const shape = each.naturalWidth ? each.naturalWidth / each.naturalHeight : width / height;
    if (Math.abs(width / height / shape - 1) > 0.02) say("distorted", each);
  });
  return found;
})()
