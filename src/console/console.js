// What is pleasant, and nothing that is needed: a form is sent once, and who does nothing is told before being signed out.
"use strict";

for (const form of document.querySelectorAll("form.confirm")) {
  form.addEventListener("submit", () => {
    const button = form.querySelector("button");
    button.setAttribute("aria-disabled", "true");
    setTimeout(() => { button.disabled = true; });
  });
}
addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("form.confirm button")) {
    button.disabled = false;
    button.removeAttribute("aria-disabled");
  }
});

const idle = Number(document.body.dataset.idle) * 1000;
if (idle) {
  const notice = document.getElementById("idle");
  let warn, leave;
  const begin = () => {
    notice.hidden = true;
    clearTimeout(warn);
    clearTimeout(leave);
    warn = setTimeout(() => { notice.hidden = false; }, Math.max(idle - 60000, idle / 2));
    leave = setTimeout(() => {
      location.assign("/sign-in?over=1&next=" + encodeURIComponent(location.pathname + location.search));
    }, idle);
  };
  document.getElementById("stay").addEventListener("click", async () => {
    const answer = await fetch("/stay", { redirect: "manual" }).catch(() => null);
    if (answer && answer.ok) begin();
  });
  begin();
}
