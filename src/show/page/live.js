// Asks for this page again and again, and puts what is new in its place. Without it the page is the same, as of when it was asked for.
"use strict";
const PERIOD = 2000;
const stale = document.getElementById("stale");
let answered = new Date();
async function look() {
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
    answered = new Date();
    stale.hidden = true;
  } catch (why) {
    stale.textContent = `The reporter has not answered since ${answered.toLocaleTimeString()} (${why.message}): what you see is old, and says nothing of now.`;
    stale.hidden = false;
    document.getElementById("says").className = "doubt"; // whatever it said was good, it says no more
  }
  setTimeout(look, PERIOD);
}
setTimeout(look, PERIOD);
