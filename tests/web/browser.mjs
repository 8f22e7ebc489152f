// What the browser tests share: a Chromium of their own, and a page that notes every fault.
import { createRequire } from 'node:module'

const require = createRequire(new URL('../../dashboards/web/package.json', import.meta.url))
const { chromium } = require('playwright-core')

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** A browser with a new, empty profile, which goes when it closes. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CORRIDOR_CHROMIUM ?? '/usr/bin/chromium',
    args: FLAGS,
  })
}

/**
 * A page in a context of its own. `faults` holds console errors, exceptions, and violations of the content
 * security policy; the browser's own note that there is no session yet is none.
 */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options })
  await context.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) =>
      console.error(`policy violation: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`),
    )
  })
  const page = await context.newPage()
  const faults = []
  page.on('console', (message) => {
    if (message.type() !== 'error' && message.type() !== 'warning') return
    if (message.location().url.endsWith('/api/v1/session') && message.text().includes('401')) return
    faults.push(`${message.type()}: ${message.text()} (${message.location().url})`)
  })
  page.on('pageerror', (error) => faults.push(`exception: ${error.message}`))
  return { page, context, faults }
}

export async function logIn(page, { name = 'admin', password = 'corridor' } = {}) {
  await page.getByLabel('Name').fill(name)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByRole('navigation', { name: 'Pages' }).waitFor()
}

/** Wider than the screen is what makes a page scroll sideways. */
export function overflow(page) {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
}
