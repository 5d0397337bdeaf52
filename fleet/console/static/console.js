// Says whether the page is live, and lets its reader pause it. Pages work without this file.
"use strict";
(() => {
  const pulse = document.querySelector("[data-pulse]");
  const state = pulse.querySelector("[data-state]");
  const pause = pulse.querySelector("[data-pause]");
  let paused = false;
  const say = (word, mark) => {
    if (state.textContent !== word) state.textContent = word;
    pulse.className = `pulse ${mark}`;
  };
  const on = (name, act) => document.body.addEventListener(name, act);
  pulse.hidden = false;
  on("htmx:sse:before:message", (event) => (paused ? event.preventDefault() : say("live", "")));
  on("htmx:sse:after:connection", () => paused || say("live", ""));
  on("htmx:sse:error", () => paused || say("connection lost", "lost"));
  on("htmx:sse:close", (event) => event.detail.reason === "message" && say("up to date", "held"));
  pause.addEventListener("click", () => {
    // What came meanwhile was dropped: only the whole page shows the present again.
    if (paused) return location.reload();
    paused = true;
    pause.textContent = "Resume";
    say("paused", "held");
  });
})();
