// Asking the server: the one place that knows of the token, and of what can go wrong.
import {asked, by} from "./elements.js";

const KEPT = "asd-token";
// One question at a time, whoever waits for it.
let question = null;

/** What the server refuses, or that it is away, as a sentence to show. */
export class Refusal extends Error {
  constructor(reason, status = 0) {
    super(reason);
    this.status = status;
  }
}

/** The answer to a request, once it is a good one; asks for a token where the server wants one. */
export async function ask(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEPT);
    const headers = {...options.headers, ...(token ? {Authorization: `Bearer ${token}`} : {})};
    const answer = await reach(path, {...options, headers});
    if (answer.status !== 401) return answer.ok ? answer : refuse(answer);
    question ??= newToken(token).finally(() => (question = null));
    await question;
  }
}

export const askForJson = async (path, options) => (await ask(path, options)).json();

async function reach(path, options) {
  try {
    return await fetch(path, {...options, credentials: "omit", cache: "no-store"});
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    throw new Refusal("The server does not answer. Is asd serve still running, and is this computer connected to it?");
  }
}

async function refuse(answer) {
  const told = await answer.json().catch(() => ({}));
  const wait = Number(answer.headers.get("Retry-After"));
  const reason = told.error ? sentence(told.error) : `The server answered with ${answer.status}, and does not say why.`;
  const again = answer.status === 429 && wait ? ` Try again in ${wait} ${wait === 1 ? "second" : "seconds"}.` : "";
  throw new Refusal(reason + again, answer.status);
}

/** A reason with its full stop. */
const sentence = (reason) => `${reason}${/[.!?]$/.test(reason) ? "" : "."}`;

async function newToken(wrong) {
  if (wrong !== sessionStorage.getItem(KEPT)) return;
  if (wrong) by("entry-text").textContent = "The server does not take this token. Who started it chose one (--token, or ASD_TOKEN).";
  by("token").value = "";
  const given = (await asked(by("entry"))) ? by("token").value.trim() : "";
  if (!given) throw new Refusal("Nothing can be asked of this server without its token. Load the page again to give it.", 401);
  // Others would not fit into a header.
  sessionStorage.setItem(KEPT, /^[\x21-\x7e]+$/.test(given) ? given : "?");
}
