const PER_PAGE = 96, SAID = { absent: "no picture", failed: "failed", unmeasured: "not measured", below: "below floor" };
const shownAs = { percent: (value) => `${(100 * value).toFixed(0)}%`, yes_no: (value) => ({ 0: "no", 1: "yes" })[value] ?? value.toFixed(3), number: (value) => value.toFixed(3) };
const recordOf = (item) => {
  const [prompt, ...notes] = [...item.querySelectorAll("b, small")].map((one) => one.textContent), kinds = [...item.querySelectorAll("[data-kind]")];
  const id = item.id.slice(item.id.indexOf("-") + 1), names = kinds.filter((one) => one.dataset.kind === "reference").map((one) => one.alt || "");
  return { id, anchor: item.id, prompt, told: [...notes.filter(Boolean), id].join(" · "), first: notes[0].split(" · ")[0], kinds,
    results: kinds.filter((one) => one.dataset.kind === "result"), text: [prompt, id, item.dataset.subjects, ...names].join(" ").toLowerCase(),
    marks: item.dataset.marks.split(" ").filter(Boolean), values: item.dataset.values.split(";").map((text) => text && Number(text)) };
};
const startIndex = (box) => {
  const list = new DOMParser().parseFromString(box.querySelector("noscript").textContent, "text/html");
  const records = [...list.querySelectorAll("li")].map(recordOf), tools = box.querySelector(".tools"), { find, sort, mark } = tools.elements;
  const grid = box.querySelector(".grid"), pager = box.querySelector(".pager"), number = pager.querySelector("input");
  let view = records, page = 0;
  const groupAt = (at) => ({ said: view[at].prompt, told: view[at].told, turn: (step) => groupAt((at + step + view.length) % view.length),
    pictures: view[at].kinds.filter((one) => one.alt).map((image) => ({ image, caption: image.alt, chosen: false })) });
  const cellOf = (record, at) => {
    const cell = document.createElement("li"), button = document.createElement("button"), face = document.importNode(record.results[0], true);
    const choice = sort?.selectedOptions[0], value = choice?.value ? record.values[choice.value] : "";
    const told = choice?.value ? (value === "" ? "not measured" : shownAs[choice.dataset.as](value)) : record.first;
    const more = record.results.length > 1 ? `${record.results.length} pictures` : "";
    const lines = [["span", record.prompt], ["small", [told, more].filter(Boolean).join(" · ")], ["small", record.marks.map((name) => SAID[name]).join(", ")]];
    cell.id = record.anchor;
    button.type = "button";
    button.onclick = () => enlarge(groupAt(at), button);
    if (face.alt) face.alt = "";
    button.append(face, ...lines.filter(([, text]) => text).map(([tag, text]) => Object.assign(document.createElement(tag), { textContent: text })));
    cell.append(button);
    return cell;
  };
  const draw = () => {
    const pages = Math.max(1, Math.ceil(view.length / PER_PAGE)), from = page * PER_PAGE, to = Math.min(view.length, from + PER_PAGE);
    grid.replaceChildren(...view.slice(from, to).map((record, k) => cellOf(record, from + k)));
    box.querySelector(".count").textContent = `${view.length} of ${records.length} cases` + (pages > 1 ? `, ${from + 1} to ${to} shown` : "");
    pager.hidden = pages === 1;
    Object.assign(number, { value: page + 1, max: pages });
    pager.querySelector("span").textContent = `of ${pages}`;
    pager.querySelectorAll("button").forEach((one) => { one.disabled = page + Number(one.dataset.step) < 0 || page + Number(one.dataset.step) >= pages; });
  };
  const choose = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean), choice = sort?.selectedOptions[0], key = choice?.value;
    view = records.filter((one) => words.every((word) => one.text.includes(word)) && (!mark?.value || one.marks.includes(mark.value)));
    if (key) view.sort((a, b) => (a.values[key] === "") - (b.values[key] === "") || (a.values[key] - b.values[key]) * choice.dataset.sign);
    page = 0;
    draw();
  };
  const turnTo = (wanted) => {
    page = Math.min(Math.max(0, wanted), Math.ceil(view.length / PER_PAGE) - 1);
    draw();
    box.scrollIntoView();
  };
  tools.hidden = false;
  tools.oninput = choose;
  tools.onsubmit = (event) => event.preventDefault();
  number.onchange = () => turnTo(Math.trunc(Number(number.value) || 1) - 1);
  pager.querySelectorAll("button").forEach((one) => { one.onclick = () => turnTo(page + Number(one.dataset.step)); });
  choose();
  return (anchor) => {
    if (!view.some((one) => one.anchor === anchor)) { tools.reset(); choose(); }
    const at = view.findIndex((one) => one.anchor === anchor);
    if (at < 0) return null;
    if (Math.floor(at / PER_PAGE) !== page) { page = Math.floor(at / PER_PAGE); draw(); }
    grid.querySelectorAll(".found").forEach((one) => one.classList.remove("found"));
    const cell = grid.children[at % PER_PAGE];
    cell.classList.add("found");
    return cell;
  };
};
const indexes = new Map();
const indexOf = (box) => {
  if (!indexes.has(box)) indexes.set(box, startIndex(box));
  return indexes.get(box);
};
const boxes = [...document.querySelectorAll("[data-index]")];
boxes.forEach((box) => box.addEventListener("toggle", () => { if (box.open) indexOf(box); }));
const inIndex = (anchor) => {
  const box = boxes.find((one) => anchor.startsWith(`${one.dataset.index}-`));
  return box ? indexOf(box)(anchor) : null;
};
