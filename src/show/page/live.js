// Asks for this page again and again, and puts what is new in its place. Without it the page is the same, as of when it was asked for.
"use strict";
const PERIOD = 2000;
const stale = document.getElementById("stale");
let answered = new Date();
async function look() {
  if (document.hidden) return void setTimeout(look, PERIOD); // nobody looks
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const [was, is] = [document.getElementById("live"), page.getElementById("live")];
    if (!is) throw new Error("another page");
    const focused = was.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    if (was.innerHTML !== is.innerHTML) {
      was.replaceChildren(...is.childNodes);
      if (focused) was.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    }
    const [said, says] = [document.getElementById("says"), page.getElementById("says")];
    if (said.textContent !== says.textContent) said.textContent = says.textContent;
    said.className = says.className;
    document.title = page.title;
    document.getElementById("asof").textContent = page.getElementById("asof").textContent;
    answered = new Date();
    stale.hidden = true;
  } catch (why) {
    stale.textContent = `The reporter has not answered since ${answered.toISOString().slice(0, 19) + "Z"} (${why.message}): what you see is old, and says nothing of now.`;
    stale.hidden = false;
    // Whatever it said, it says no more.
    const says = document.getElementById("says");
    [says.className, says.textContent, document.title] = ["doubt", "Not known: the reporter does not answer", "Not known – guardprobe"];
  }
  setTimeout(look, PERIOD);
}
setTimeout(look, PERIOD);
