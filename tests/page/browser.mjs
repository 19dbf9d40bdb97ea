// Drives a real browser over the status page, for tests/page.rs: it writes one JSON line for each command that it reads from standard input.
//   open URL SCHEME WIDTH   opens a page, light or dark, that wide
//   text                    what a reader reads of it, its title and headline
//   until TEXT              waits until the headline has that text, without loading the page again; says after how many milliseconds
//   audit                   axe's findings, and what the browser complained of
//   picture FILE            takes a picture
//   plain URL               what a reader reads without JavaScript
//   press KEYS...           presses keys, and says what has the focus then
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: process.argv[2], args: flags });
let page, complaints;

const read = async (of) => ({ title: await of.title(), says: await of.textContent("#says"), text: await of.innerText("body") });

const commands = {
  async open(url, scheme, width) {
    const context = await browser.newContext({ colorScheme: scheme, viewport: { width: Number(width), height: 900 }, bypassCSP: false });
    page = await context.newPage();
    complaints = [];
    page.on("console", (said) => said.type() === "error" && complaints.push(said.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("request", (asked) => new URL(asked.url()).origin !== new URL(url).origin && complaints.push(`asked ${asked.url()}`));
    const began = Date.now();
    const answer = await page.goto(url);
    return { status: answer.status(), took: Date.now() - began, headers: answer.headers() };
  },
  text: () => read(page),
  async until(...words) {
    const began = Date.now();
    await page.evaluate(() => (window.sameDocument = true));
    await page.waitForFunction((text) => document.getElementById("says").textContent.includes(text), words.join(" "), { timeout: 60000 });
    return { took: Date.now() - began, same: await page.evaluate(() => window.sameDocument === true) };
  },
  async audit() {
    // By the page's own policy axe could not be put into it as a script: it is evaluated from outside.
    await page.evaluate(await (await import("node:fs/promises")).readFile(axe, "utf8"));
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    return { violations: violations.map((found) => `${found.id}: ${found.nodes[0].html}`), complaints };
  },
  async picture(file) {
    await page.screenshot({ path: file });
    return {};
  },
  async plain(url) {
    const context = await browser.newContext({ javaScriptEnabled: false });
    const other = await context.newPage();
    await other.goto(url);
    const found = await read(other);
    await context.close();
    return found;
  },
  async press(...keys) {
    for (const key of keys) await page.keyboard.press(key);
    const focus = () => page.evaluate(() => document.activeElement.outerHTML.slice(0, 200));
    // A key may have led to another page, which takes the place of this one meanwhile.
    const has = await focus().catch(() => page.waitForLoadState().then(focus));
    return { focus: has, url: page.url() };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = line.split("\t");
  let answer;
  try {
    answer = await commands[name](...args);
  } catch (error) {
    answer = { error: String(error) };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
