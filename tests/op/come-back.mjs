// Signs a person in at the address that a program printed, and goes where the browser is sent back
// to. Usage: come-back.mjs URL PERSON
import { Browser } from './browser.mjs';

const [url, person] = process.argv.slice(2);
const callback = new URL(url).searchParams.get('redirect_uri');
const back = await new Browser(callback).signIn(url, person);
const answer = await fetch(back);
console.log(`${answer.status}`);
