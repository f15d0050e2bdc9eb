// Keys for who has them; every page works without this file.
"use strict";
const questions = () => [...document.querySelectorAll("form[data-item] fieldset")];
const isAnswered = (question) => question.querySelector("input:checked") !== null;

function choose(key) {
  const open = questions().find((one) => !isAnswered(one)) ?? (questions().length === 1 ? questions()[0] : null);
  const input = open?.querySelector(`input[data-key="${key}"]`);
  if (!input) return;
  input.checked = true;
  input.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("textarea")) return;
  if (/^[0-9]$/.test(event.key)) choose(event.key);
  const form = document.querySelector("form[data-item]");
  if (event.key === "Enter" && form && !event.target.matches("button, a, input")) form.requestSubmit();
});

function show() {
  document.querySelectorAll(".keys").forEach((one) => { one.hidden = false; });
}
document.addEventListener("htmx:afterSettle", () => {
  show();
  if (document.querySelector("form[data-item]")) {
    window.scrollTo(0, 0);
    document.querySelector("h1").focus({ preventScroll: true });
  }
});
document.addEventListener("DOMContentLoaded", show);
if (document.readyState !== "loading") show();
